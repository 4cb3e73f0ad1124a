//! The surroundings of all services, each part of which is looked at once, however many services there are.

use super::listing::Listing;
use super::memo::Memo;
use running_process::broker::service::Roots;
use std::path::PathBuf;

/// The surroundings of all services.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// The roots of this user.
    pub(super) roots: Roots,
    /// The directories in which programs that know no services keep identity files.
    pub(super) identity_files: Vec<Listing>,
    /// The places of programs that are emptied from time to time, by the directories of the programs.
    pub(super) temporary: Memo<PathBuf, Option<String>>,
    /// The reasons why other users can write in directories of services' files, by their paths.
    pub(super) writable: Memo<PathBuf, Option<String>>,
}

impl Surroundings {
    /// Looks at what does not depend on a service.
    pub(crate) fn look() -> Self {
        Self {
            roots: Roots::look(),
            identity_files: Listing::all(),
            temporary: Memo::new(),
            writable: Memo::new(),
        }
    }
}
