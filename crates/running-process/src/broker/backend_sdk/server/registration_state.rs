//! The identity file of a server, and whether its registration has ended.

use super::error::ServerError;
use super::lifecycle::Lifecycle;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::identity_file::{
    remove_own_identity_file, write_daemon_identity_file, write_daemon_identity_file_after,
};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The identity file of a server, until the registration has ended.
#[derive(Debug, Default)]
pub(super) struct RegistrationState {
    pub(super) identity_file: Option<IdentityFile>,
    pub(super) ended: bool,
    /// The error of the system for which the server was stopped, if its files could not be made again.
    pub(super) not_renewed: Option<Arc<io::Error>>,
}

impl RegistrationState {
    /// Writes the identity file again by `lifecycle` if it is gone. Returns whether it was written.
    pub(super) fn write_again(&self, lifecycle: &dyn Lifecycle) -> io::Result<bool> {
        let Some(IdentityFile { path, daemon }) = &self.identity_file else { return Ok(false) };
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                lifecycle.write_again(&mut || write_daemon_identity_file(path, daemon))
            }
            found => found.map(|_| false),
        }
    }
}

pub(super) fn lock(state: &Mutex<RegistrationState>) -> MutexGuard<'_, RegistrationState> {
    // No code that can panic runs between two changes of it.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An identity file, removed when this is dropped if it is still this daemon's.
#[derive(Debug)]
pub(super) struct IdentityFile {
    path: PathBuf,
    daemon: DaemonProcess,
}

impl IdentityFile {
    /// Writes the file, and calls `publishes` when it is about to take its place. So a daemon that hands its endpoint over and its
    /// successor answer at one endpoint only as long as a renaming takes.
    pub(super) fn write(
        path: PathBuf,
        daemon: DaemonProcess,
        publishes: impl Fn() -> io::Result<()>,
    ) -> Result<Self, ServerError> {
        let mut may_be_published = true;
        let written = write_daemon_identity_file_after(&path, &daemon, &mut || {
            publishes().inspect_err(|_| may_be_published = false)
        });
        match written {
            Ok(()) => Ok(Self { path, daemon }),
            Err(source) if may_be_published => Err(ServerError::IdentityFile { path, source }),
            Err(error) => Err(ServerError::NotPublished(error)),
        }
    }
}

impl Drop for IdentityFile {
    fn drop(&mut self) {
        // A file that stays behind names a process that has ended, which every client notices.
        let _best_effort = remove_own_identity_file(&self.path, &self.daemon);
    }
}
