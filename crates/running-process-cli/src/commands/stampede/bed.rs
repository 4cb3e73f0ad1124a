//! The root in which the crowd's service lives, and which ends with the command.

use super::outcome::Process;
use super::{leftover, processes};
use crate::failure::Failure;
use crate::failure::advice::service as advice;
use crate::services::no_place;
use running_process::BackendHandle;
use running_process::broker::service::{Deadline, Service, StopError};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Longest time of a stop, after which what is left is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// The same for a command that is interrupted.
const INTERRUPTED_STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes of the log that are shown.
const MAX_LOG: usize = 2048;

/// A root of its own for one service. Dropping it ends the daemons in it and removes it.
pub(super) struct Bed {
    // Ended before the directory is removed.
    daemons: Daemons,
    directory: TempDir,
    owner: File,
}

/// All processes of the service. Dropping it ends them.
struct Daemons {
    service: Service,
    root: PathBuf,
}

/// A daemon that was proven, and that the command may kill.
pub(super) struct Daemon(BackendHandle);

impl Daemon {
    pub(super) fn process(&self) -> Process {
        let daemon = &self.0.daemon_process;
        Process { pid: daemon.pid, start_time: daemon.origin.as_ref().map(|origin| origin.start_time) }
    }

    pub(super) fn kill(&self) -> Result<(), Failure> {
        self.0.force_kill().map_err(|error| Failure::negative(error).context("the daemon was not killed"))
    }
}

impl Bed {
    pub(super) fn new(service: &Service, start_timeout: Duration) -> Result<Self, Failure> {
        let made = directory().and_then(|directory| Ok((leftover::mark(directory.path())?, directory)));
        let (owner, directory) = made.map_err(|error| {
            Failure::from(error).context("no private directory can be created").hint("make /tmp writable")
        })?;
        let service = service.clone().below(directory.path()).start_timeout(start_timeout);
        let daemons = Daemons { service, root: directory.path().to_owned() };
        Ok(Self { daemons, directory, owner })
    }

    pub(super) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the daemon that runs; starts one if none does.
    pub(super) fn daemon(&self, timeout: Duration) -> Result<Daemon, Failure> {
        let daemon = self.daemons.service.ensure(Deadline::after(timeout));
        daemon.map(Daemon).map_err(|error| {
            let advice = advice::ensure(&error, "");
            Failure::new(error, advice).context("no daemon runs before the crowd comes")
        })
    }

    /// Stops the daemon, if one runs.
    pub(super) fn stop(&self) -> Result<(), StopError> {
        self.daemons.stop(STOP_TIMEOUT)
    }

    /// Returns how often the daemon was started.
    pub(super) fn starts(&self) -> Result<u64, Failure> {
        self.daemons.service.examine().map(|examined| examined.starts).map_err(no_place)
    }

    /// Returns the daemons that run, those without a lock or an identity file included; `None` if the system does not tell.
    pub(super) fn running(&self) -> Result<Option<Vec<u32>>, Failure> {
        Ok(processes::daemons(self.root())?)
    }

    /// Returns the end of the daemon's log.
    pub(super) fn log(&self) -> Option<String> {
        let log = std::fs::read(self.daemons.service.log_file().ok()?).ok()?;
        let end = &log[log.len().saturating_sub(MAX_LOG)..];
        Some(String::from_utf8_lossy(end).trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Ends the daemon, removes the root, and returns the processes of the service that outlived its stop. They have been killed.
    pub(super) fn end(self) -> Result<Vec<u32>, Failure> {
        let Self { daemons, directory, owner: _owner } = self;
        let left = daemons.end(STOP_TIMEOUT)?;
        drop(daemons);
        directory.close().map(|()| left).map_err(|error| {
            Failure::from(error).context("the directory of the crowd's service cannot be removed")
        })
    }
}

impl Daemons {
    fn stop(&self, timeout: Duration) -> Result<(), StopError> {
        self.service.stop(Deadline::after(timeout)).map(drop)
    }

    /// Stops the daemon, kills what is left of the service, and returns that.
    fn end(&self, timeout: Duration) -> io::Result<Vec<u32>> {
        // Leave what cannot be stopped.
        let _left = self.stop(timeout);
        processes::kill(&self.root)
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        // The command has failed, or was interrupted.
        let _best_effort = self.end(INTERRUPTED_STOP_TIMEOUT);
    }
}

/// Returns the failure of a command whose daemon was not stopped.
pub(super) fn not_stopped(error: StopError) -> Failure {
    let advice = advice::stop(&error, "");
    Failure::new(error, advice).context("the daemon was not stopped")
}

/// Makes a private directory with a short path, because a socket's path is short.
fn directory() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(leftover::PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o700));
        builder.tempdir_in("/tmp")
    }
    #[cfg(not(unix))]
    builder.tempdir()
}
