//! The entry of a cache.

use super::key::FileKey;
use crate::broker::backend_lifecycle::identity::ExeDigests;

/// Digests that are valid for their key as long as the wall clock is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: FileKey,
    /// The [offset](super::rule::Moment::offset) at which the key was taken.
    pub(super) offset: i64,
    pub(super) digests: ExeDigests,
}
