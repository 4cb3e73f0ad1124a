//! A Unix-domain socket that accepts connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::super::Accepted;
use super::super::error::BindError;
use super::super::unprepared;
use super::claim::Claim;
use super::watch::Watch;
use super::{LocalStream, StopSignal};
use crate::sys::wait_ready;

/// The owner of a local endpoint, which accepts the connections made to it.
///
/// # Platform-specific behavior
///
/// On Unix the owner holds a lock on the file `PATH.lock`, which stays behind when the listener is dropped; the
/// socket is removed then, if it is still the listener's own. The socket and the lock have mode 0600. An
/// [inherited](Self::inherited) socket has no lock and stays. On Windows the
/// name vanishes with the last handle to the pipe, other machines are rejected, and only the same user may open it.
#[derive(Debug)]
pub struct LocalListener {
    claim: Claim,
    watch: Option<Watch>,
}

impl LocalListener {
    /// Takes the endpoint name `path` and listens there. From now on clients can connect.
    ///
    /// A socket that a daemon left behind is removed, and a new one bound under its name. A client that connects in between
    /// finds no endpoint instead of one without a listener. A socket that a process listens on, or anything that is not a
    /// socket, is left alone.
    ///
    /// # Platform-specific behavior
    ///
    /// On Unix `path` is the path of the socket, in a directory that exists, that belongs to this user or root, and that no
    /// other user can write unless it has the sticky bit, as `/tmp` has. A relative path is made absolute. On Windows it is the bare name of the
    /// pipe, without `\\.\pipe\`.
    ///
    /// # Errors
    ///
    /// [`BindError`] says why: the name has an owner, is not a socket, or cannot be a name here.
    pub fn bind(path: &str) -> Result<Self, BindError> {
        Ok(Self { claim: Claim::new(path)?, watch: None })
    }

    /// Takes the socket that listens at `path` and that a service manager passed to this process by the protocol of
    /// `sd_listen_fds(3)`: `LISTEN_PID` is this process, `LISTEN_FDS` the number of descriptors from 3 on. Their
    /// names, `LISTEN_FDNAMES`, are not looked at.
    ///
    /// `path` is the one that the service manager bound, not another way to the same file. The socket is the service
    /// manager's: there is no lock, and it goes on listening when this value is dropped. It is made not to block, for
    /// everyone who shares it.
    ///
    /// Of one process, each socket is taken once, even if its listener has been dropped. The variables stay in the
    /// environment; children see from `LISTEN_PID` that they are not meant. No other code of the process may take the
    /// same descriptors; if it marks them close-on-exec, as `sd_listen_fds(3)` does, that is noticed.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows has no such protocol. macOS does not tell whether a socket listens; one that does not is taken there,
    /// and accepting fails.
    ///
    /// # Errors
    ///
    /// [`BindError`] says why: nothing was passed, nothing that listens at `path`, or it has been taken.
    pub fn inherited(path: &str) -> Result<Self, BindError> {
        Ok(Self { claim: Claim::inherited(path)?, watch: None })
    }

    /// Waits for the next connection; `None` once `stop` has been given, which wins over connections that wait.
    ///
    /// # Errors
    ///
    /// What the system said, such as too many open files. The listener is as good as before then, and the connection
    /// still waits.
    pub fn accept(&self, stop: &StopSignal) -> io::Result<Option<LocalStream>> {
        loop {
            match self.next(stop)? {
                Accepted::Connection(stream) => return Ok(Some(stream)),
                Accepted::Stopped => return Ok(None),
                Accepted::NameLost => {}
            }
        }
    }

    /// From now on accepting also tells that the socket is not at its path any more, where the system has such a watch to give.
    pub(crate) fn watch_name(&mut self) {
        self.watch = self.claim.watch();
    }

    /// [`accept`](Self::accept) that tells, once, that the name is lost if it is [watched](Self::watch_name).
    pub(crate) fn next(&self, stop: &StopSignal) -> io::Result<Accepted> {
        if self.watch.as_ref().is_some_and(Watch::is_new) && self.is_name_lost() {
            return Ok(Accepted::NameLost);
        }
        loop {
            let watch = self.name_events();
            let mut ready = [
                PollFd::new(self, PollFlags::IN),
                PollFd::new(stop, PollFlags::IN),
                PollFd::from_borrowed_fd(watch.unwrap_or(stop.as_fd()), PollFlags::IN),
            ];
            wait_ready(&mut ready[..2 + usize::from(watch.is_some())], None)?;
            if stop.is_stopped() {
                return Ok(Accepted::Stopped);
            }
            if !ready[2].revents().is_empty() && self.is_name_lost() {
                return Ok(Accepted::NameLost);
            }
            if let Some(stream) = self.accept_now()? {
                return Ok(Accepted::Connection(stream));
            }
        }
    }

    /// Readable when [`is_name_lost`](Self::is_name_lost) is to be asked.
    pub(crate) fn name_events(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Returns whether the name was lost since the last call.
    pub(crate) fn is_name_lost(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_lost)
    }

    /// Returns whether changes from before the name was watched are still to be asked for.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_newly_watched(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_new)
    }

    /// Takes a connection that waits already, if there is one.
    ///
    /// # Errors
    ///
    /// As for [`accept`](Self::accept).
    pub(crate) fn accept_now(&self) -> io::Result<Option<LocalStream>> {
        loop {
            match accept(self.claim.socket()) {
                Ok(socket) => {
                    return prepare(socket).map(Some).map_err(|errno| unprepared(errno.into()));
                }
                // The connection was gone before it was accepted.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn accept(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC)
}

#[cfg(target_vendor = "apple")]
fn accept(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    rustix::net::accept(listener)
}

#[cfg(not(target_vendor = "apple"))]
#[expect(clippy::unnecessary_wraps, reason = "it fails on macOS")]
fn prepare(socket: OwnedFd) -> Result<LocalStream, Errno> {
    Ok(LocalStream::accepted(socket))
}

#[cfg(target_vendor = "apple")]
fn prepare(socket: OwnedFd) -> Result<LocalStream, Errno> {
    // Not one step on this system: a child forked at this very moment by another thread inherits the socket.
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    LocalStream::new(socket)
}

/// Ready for reading when a connection waits. The socket does not block.
impl AsFd for LocalListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.claim.socket().as_fd()
    }
}
