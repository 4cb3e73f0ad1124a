//! A start or a drain under way, announced by a socket at which others wait for its end.
//!
//! No connection is accepted there. All of them are closed at once when the socket is, also by the death of its process: so one
//! event wakes every waiting client, and nothing polls.

use super::deadline::Deadline;
use super::files::remove_if_present;
use crate::sys::PidfdPolicy;
use crate::transport::{LocalStream, listen_only};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A start or a drain by this process. Dropping it wakes all that wait for its end.
#[derive(Debug)]
pub(super) struct Operation {
    #[cfg_attr(not(test), expect(dead_code, reason = "it is only to be closed"))]
    socket: OwnedFd,
    path: PathBuf,
}

impl Operation {
    /// Announces the operation at `path`. The caller holds the service's lock, so no other process announces one there.
    pub(super) fn announce(path: PathBuf) -> io::Result<Self> {
        remove_if_present(&path)?;
        Ok(Self { socket: listen_only(&path)?, path })
    }

    /// Takes the name away, while the caller still holds the lock: later it could be another process's.
    pub(super) fn withdraw(&self) {
        // A file that stays behind refuses connections, and the next operation replaces it.
        let _stale = std::fs::remove_file(&self.path);
    }

    /// Returns once a process waits for the end.
    #[cfg(test)]
    pub(super) fn await_waiter(&self) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec { tv_sec: 60, tv_nsec: 0 };
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        assert_eq!(poll(&mut sockets, Some(&timeout)), Ok(1), "no process waits");
    }
}

/// The wait for an operation of another process.
#[derive(Debug)]
pub(super) struct OperationWait(LocalStream);

impl OperationWait {
    /// Begins to wait for the operation that is announced at `path`; `None` if there is none.
    pub(super) fn at(path: &Path) -> Option<Self> {
        // To connect costs more than to see that there is nothing to connect to.
        path.symlink_metadata().ok()?;
        LocalStream::connect(path.to_str()?).ok().map(Self)
    }

    /// Returns the process of the operation, as the kernel names it.
    pub(super) fn process(&self) -> Option<u32> {
        Some(self.0.peer(PidfdPolicy::Use).ok()?.process.pid())
    }

    /// Waits until the operation ends, and returns `true`, or until `deadline`, and returns `false`.
    pub(super) fn ends(&self, deadline: Deadline) -> bool {
        let read = self.0.read_deadline(&mut [0], deadline.instant());
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::TimedOut)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_operation_is_found_until_its_name_is_taken_away_and_awaited_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("starting");
        assert!(OperationWait::at(&path).is_none());
        let operation = Operation::announce(path.clone()).unwrap();
        let waiting = OperationWait::at(&path).unwrap();
        assert_eq!(waiting.process(), Some(std::process::id()));
        operation.withdraw();
        assert!(!path.exists() && OperationWait::at(&path).is_none());
        assert!(!waiting.ends(Deadline::after(Duration::from_millis(20))), "it goes on");
        drop(operation);
        assert!(waiting.ends(Deadline::after(Duration::from_mins(1))));
    }
}
