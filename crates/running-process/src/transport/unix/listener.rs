//! A Unix-domain socket that accepts connections.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};

use super::super::accepted::{Accepted, Republished, unprepared};
use super::super::error::BindError;
use super::super::instance_lock::HeldLock;
use super::claim::Claim;
use super::directory::FileIdentity;
use super::shared_socket::SharedSocket;
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

    pub(crate) fn bind_locked(path: &str, lock: HeldLock) -> Result<Self, BindError> {
        Ok(Self { claim: Claim::locked(path, lock)?, watch: None })
    }

    pub(crate) fn from_handover(
        path: &str,
        socket: OwnedFd,
        file: FileIdentity,
        lock: HeldLock,
    ) -> Result<Self, BindError> {
        Ok(Self { claim: Claim::from_handover(path, socket, file, lock)?, watch: None })
    }

    pub(crate) fn shared_socket(&self) -> Option<SharedSocket> {
        self.claim.shared_socket()
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.claim.is_borrowed()
    }

    pub(crate) fn inherited(path: &str) -> Result<Self, BindError> {
        Ok(Self { claim: Claim::inherited(path)?, watch: None })
    }

    pub(crate) fn passed(path: &str, socket: OwnedFd, lock: HeldLock) -> Result<Self, BindError> {
        Ok(Self { claim: Claim::passed(path, socket, lock)?, watch: None })
    }

    pub(crate) fn watch_name(&mut self, service: bool) -> io::Result<()> {
        self.watch = None;
        self.watch = self.claim.watch(service)?;
        Ok(())
    }

    pub(crate) fn publish_again(&mut self) -> Result<Republished<Stream>, BindError> {
        let (renewed, former) = self.claim.publish_again()?;
        let mut waiting = Vec::new();
        if let Some(former) = former {
            while let Ok(Some(stream)) = accept_from(&former) {
                waiting.push(stream);
            }
            let _ = shutdown(&former, Shutdown::Both);
        }
        Ok(Republished { renewed, waiting })
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

    pub(crate) fn close(&self) {
        self.claim.close();
    }

    pub(crate) fn end(&self) {
        self.claim.end();
    }

    pub(crate) fn accept_waiting(&self) -> io::Result<Option<Stream>> {
        if self.claim.is_of_another() {
            return Ok(None);
        }
        match self.accept_now() {
            // The socket was shut down, and no connection waits any more.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(None),
            accepted => accepted,
        }
    }

    /// Accepts a connection that waits already, if there is one. The listener is as good as before after an error.
    pub(crate) fn accept_now(&self) -> io::Result<Option<Stream>> {
        accept_from(self.claim.socket())
    }
}

fn accept_from(listening: &OwnedFd) -> io::Result<Option<Stream>> {
    loop {
        match accept(listening) {
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
