//! The other places in which a service may have a daemon.

use super::definition::Service;
use super::paths::{ServicePaths, default_root};
use super::place_error::PlaceError;

impl Service {
    /// Returns this service in each other root of this user that has a directory for it: the user's own root, if
    /// [`ROOT_VARIABLE`](super::ROOT_VARIABLE) or [`below`](Self::below) names another one, and those of other machines that share the home directory, or of this
    /// machine by another id.
    ///
    /// # Errors
    ///
    /// As [`directory`](Self::directory).
    pub fn elsewhere(&self) -> Result<Vec<Self>, PlaceError> {
        let own = ServicePaths::of(self)?;
        // Without a home directory there is no other root.
        let Ok(default) = default_root() else { return Ok(Vec::new()) };
        let roots = default.parent().and_then(|roots| roots.read_dir().ok());
        let mut found = Vec::new();
        for root in roots.into_iter().flatten().flatten().map(|entry| entry.path()) {
            let elsewhere = self.clone().below(&root);
            let paths = ServicePaths::of(&elsewhere)?;
            if root != own.root() && paths.directory().is_dir() {
                found.push(elsewhere);
            }
        }
        Ok(found)
    }
}
