//! The other places in which a service may have a daemon.

use super::definition::Service;
use super::paths::{ServicePaths, default_root};
use super::place_error::PlaceError;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

/// The roots of this user with the names in them, as one look at the disk finds them: that of this machine, and those of other
/// machines that share the home directory, or of this machine by another id.
#[derive(Debug, Default)]
pub struct Roots(Vec<(PathBuf, HashSet<OsString>)>);

impl Roots {
    /// Looks at all roots. A root that cannot be read has no names, and without a home directory there is no root.
    #[must_use]
    pub fn look() -> Self {
        let roots = default_root().ok().and_then(|default| default.parent()?.read_dir().ok());
        let roots = roots.into_iter().flatten().flatten().map(|entry| entry.path()).map(|root| {
            let entries = root.read_dir().into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name()).collect();
            (root, names)
        });
        Self(roots.collect())
    }
}

impl Service {
    /// Returns this service in each of `roots` that has a directory for it, but for its own root: if
    /// [`ROOT_VARIABLE`](super::ROOT_VARIABLE) or [`below`](Self::below) names another one, that is not among them.
    ///
    /// # Errors
    ///
    /// As [`directory`](Self::directory).
    pub fn elsewhere(&self, roots: &Roots) -> Result<Vec<Self>, PlaceError> {
        let (own, name) = (ServicePaths::of(self)?, OsString::from(self.directory_name()));
        let others = roots.0.iter().filter(|(root, names)| root != own.root() && names.contains(&name));
        let services = others.map(|(root, _)| self.clone().below(root));
        Ok(services.filter(|service| service.directory().is_ok_and(|found| found.is_dir())).collect())
    }
}
