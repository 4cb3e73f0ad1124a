//! A daemon that outlives its starter.

use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::imp;
use super::plan::{ProcessEnd, SpawnPlan};
use crate::sys::process::ProcessHandle;

/// Starts the daemon of `plan`.
///
/// On Unix the daemon is the leader of a session of its own, all signals have their default effect and none is blocked, the
/// file mode creation mask is 022, the standard input is empty.
///
/// # Platform-specific behavior
///
/// On Linux from 6.15 nothing of this process is copied, and the system adopts the daemon at once. Elsewhere the daemon's parent
/// is a launcher, a process that this call forks and that only reports the daemon's end. The system adopts the daemon when the
/// [`Spawned`] is dropped, or when this process ends.
///
/// On Linux no SIGCHLD is sent, and only waits with `__WALL` or `__WCLONE` find the launcher. On macOS and FreeBSD the launcher is
/// an ordinary child. A process that asked to adopt orphans (`PR_SET_CHILD_SUBREAPER`) adopts the daemon, too.
///
/// # Errors
///
/// The error of executing the program, as the system returned it. Errors of an earlier step say which, and have that of the
/// system as their source. The daemon does not run after an error, unless that [is lost](super::lost::is_lost).
pub(crate) fn spawn_detached(plan: &SpawnPlan<'_>) -> io::Result<Spawned> {
    imp::spawn(plan).map(Spawned)
}

/// Starts the daemon as [`spawn_detached`] does where the system needs a launcher.
///
/// # Errors
///
/// As for [`spawn_detached`].
#[cfg(all(
    test,
    any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd")
))]
pub(crate) fn spawn_by_launcher(plan: &SpawnPlan<'_>) -> io::Result<Spawned> {
    imp::by_launcher(&super::daemon::Prepared::new(plan)?).map(Spawned)
}

/// A daemon that this process has started. Dropping it lets the daemon go on, and leaves no zombie.
#[derive(Debug)]
pub(crate) struct Spawned(imp::Spawned);

impl Spawned {
    /// Returns the process id of the daemon.
    pub(crate) fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Returns the handle to the daemon, which was opened while no other process could get its id.
    pub(crate) fn process(&self) -> &ProcessHandle {
        self.0.process()
    }

    /// Waits until the daemon has ended, and returns how; `None` if it has not at `deadline`. Returns the same again
    /// afterwards.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn end(&mut self, deadline: Option<Instant>) -> io::Result<Option<ProcessEnd>> {
        self.0.end(deadline)
    }
}

/// The descriptor becomes readable when the daemon has ended, and stays so.
#[cfg(unix)]
impl AsFd for Spawned {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
