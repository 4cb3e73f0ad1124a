//! The socket at which a daemon is asked for its endpoint.

use crate::broker::service::files::remove_if_present;
use crate::sys::wait_ready;
use crate::transport::{LocalStream, StopSignal};
use rustix::event::{PollFd, PollFlags};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Time between two attempts to accept when one has failed.
const PAUSE: Duration = Duration::from_millis(100);
/// Descriptors that are left for others: connections of clients, watches for removed files, and what the daemon itself opens.
const SPARE: usize = 4;

/// The socket of this daemon for handovers, until it is stopped.
#[derive(Debug)]
pub(super) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket's file.
    file: Option<(u64, u64)>,
    stop: StopSignal,
}

impl ControlSocket {
    /// Listens at `path`, in the place of what another process left there. The caller holds the service's lock.
    ///
    /// # Errors
    ///
    /// The error of the system; also if it leaves this process no descriptors for clients.
    pub(super) fn bind(path: PathBuf) -> io::Result<Self> {
        let stop = StopSignal::new()?;
        // Before any file is changed: the daemon looks again after each change of its directory.
        leaves_room(&stop)?;
        remove_if_present(&path)?;
        let listener = UnixListener::bind(&path)?;
        // Its directory keeps other users away before that.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let file = identity(&path);
        Ok(Self { listener, path, file, stop })
    }

    /// Waits for the next connection; `None` once the socket was stopped.
    pub(super) fn accept(&self) -> Option<LocalStream> {
        loop {
            let mut ready =
                [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            let waited = wait_ready(&mut ready, None);
            if self.stop.is_stopped() {
                return None;
            }
            match waited.and_then(|_| self.listener.accept()) {
                Ok((stream, _)) => return Some(stream.into()),
                // No descriptor is left, or the connection has ended since.
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    /// Returns the signal that ends [accepting](Self::accept).
    pub(super) fn stop_signal(&self) -> &StopSignal {
        &self.stop
    }

    /// Returns whether the socket's file is the one at its path.
    pub(super) fn is_in_place(&self) -> bool {
        self.file.is_some() && identity(&self.path) == self.file
    }

    /// Ends accepting, and removes the file if it still is that of this socket. The caller holds the service's lock.
    pub(super) fn end(&self) {
        self.stop.stop();
        if self.is_in_place() {
            // A file that stays behind refuses connections, and the next daemon replaces it.
            let _stale = fs::remove_file(&self.path);
        }
    }
}

/// Fails if this process cannot open [`SPARE`] descriptors besides one of the socket.
fn leaves_room(stop: &StopSignal) -> io::Result<()> {
    let copies: io::Result<Vec<_>> = (0..=SPARE).map(|_| stop.as_fd().try_clone_to_owned()).collect();
    copies.map(drop)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()))
}
