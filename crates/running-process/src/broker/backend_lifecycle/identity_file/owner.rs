//! The user of this process.

use super::error::IdentityFileError;
use crate::sys;

/// Returns the user of this process, if it can be told from others.
pub(super) fn own_user() -> Result<u32, IdentityFileError> {
    sys::own_user().map_err(|error| IdentityFileError::UnmappedUser { uid: error.uid })
}
