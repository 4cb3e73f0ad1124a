//! A Unix-domain socket that accepts connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::super::accepted::{Accepted, unprepared};
use super::super::error::BindError;
use super::claim::Claim;
use super::stop::StopEvent;
use super::stream::Stream;
use super::watch::Watch;
use crate::sys::wait_ready;

/// The system's part of [`LocalListener`](crate::transport::LocalListener), which documents the methods.
#[derive(Debug)]
pub(crate) struct Listener {
    claim: Claim,
    watch: Option<Watch>,
}

impl Listener {
    pub(crate) fn bind(path: &str) -> Result<Self, BindError> {
        Ok(Self { claim: Claim::new(path)?, watch: None })
    }

    pub(crate) fn inherited(path: &str) -> Result<Self, BindError> {
        Ok(Self { claim: Claim::inherited(path)?, watch: None })
    }

    pub(crate) fn watch_name(&mut self) {
        self.watch = self.claim.watch();
    }

    pub(crate) fn next(&self, stop: &StopEvent) -> io::Result<Accepted<Stream>> {
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

    /// Returns a descriptor that becomes readable when [`is_name_lost`](Self::is_name_lost) is to be called.
    pub(crate) fn name_events(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Returns whether the name was lost since the last call.
    pub(crate) fn is_name_lost(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_lost)
    }

    /// Returns whether changes from before the name was watched are still to be checked.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_newly_watched(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_new)
    }

    /// Accepts a connection that waits already, if there is one. The listener is as good as before after an error.
    pub(crate) fn accept_now(&self) -> io::Result<Option<Stream>> {
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
fn prepare(socket: OwnedFd) -> Result<Stream, Errno> {
    Ok(Stream::accepted(socket))
}

#[cfg(target_vendor = "apple")]
fn prepare(socket: OwnedFd) -> Result<Stream, Errno> {
    // Two steps on this system: a child that another thread forks in between inherits the socket.
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    Stream::new(socket)
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.claim.socket().as_fd()
    }
}
