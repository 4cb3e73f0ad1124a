//! A connected Unix-domain socket.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, ioctl_fionbio, retry_on_intr};
use rustix::net::sockopt::Timeout;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, connect, recv, send, sendmsg, shutdown,
};

use super::super::error::ConnectError;
use super::super::error::timed_out;
use super::super::incoming::Incoming;
use super::descriptors::{receive_with, send_with};
use super::name;
use super::socket::{SEND, denies_sockets, new_socket};
use super::timeouts::SocketTimeout;
use crate::sys::{self, Peer, PeerError, PeerEvidence, PeerUser, PidfdPolicy, wait_ready};

/// Maximum number of bytes written in one call that waits. The system reports no progress before it has taken all of them,
/// so a slow reader would look like none.
const MAX_BLOCKING_WRITE: usize = 128 * 1024;

/// The system's part of [`LocalStream`](crate::transport::LocalStream), which documents the methods.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: OwnedFd,
    timeouts: Arc<Timeouts>,
}

#[derive(Debug)]
struct Timeouts {
    read: SocketTimeout,
    write: SocketTimeout,
}

impl Stream {
    pub(crate) fn connect(path: &str) -> Result<Self, ConnectError> {
        Self::new(connected(path)?)
            .map_err(|error| ConnectError::Io { path: path.to_owned(), source: Arc::new(error.into()) })
    }

    /// Takes a connected socket that was made here, and puts it into blocking mode.
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Errno> {
        ioctl_fionbio(&socket, false)?;
        #[cfg(target_vendor = "apple")]
        rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
        Ok(Self::blocking(socket, SocketTimeout::unset))
    }

    /// Takes an accepted socket, which blocks.
    #[cfg(not(target_vendor = "apple"))]
    pub(super) fn accepted(socket: OwnedFd) -> Self {
        Self::blocking(socket, SocketTimeout::unset)
    }

    fn blocking(socket: OwnedFd, timeout: fn() -> SocketTimeout) -> Self {
        Self { socket, timeouts: Arc::new(Timeouts { read: timeout(), write: timeout() }) }
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, timeouts: Arc::clone(&self.timeouts) })
    }

    pub(crate) fn read_deadline(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.receive_deadline(deadline, |flags| {
            recv(&self.socket, &mut *buf, flags).map(|(_, received)| received)
        })
    }

    pub(crate) fn read_onto(&self, buffer: &mut Vec<u8>, deadline: Option<Instant>) -> io::Result<usize> {
        self.receive_deadline(deadline, |flags| {
            recv(&self.socket, spare_capacity(buffer), flags).map(|(_, received)| received)
        })
    }

    pub(crate) fn read_with(
        &self,
        buf: &mut [u8],
        deadline: Option<Instant>,
        incoming: &mut Incoming,
    ) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.receive_deadline(deadline, |flags| receive_with(&self.socket, buf, flags, incoming))
    }

    /// Calls `receive` until it returns bytes or fails, or `deadline` has passed.
    fn receive_deadline<T>(
        &self,
        deadline: Option<Instant>,
        mut receive: impl FnMut(RecvFlags) -> Result<T, Errno>,
    ) -> io::Result<T> {
        let mut flags = RecvFlags::empty();
        loop {
            self.before(deadline, Timeout::Recv, &self.timeouts.read)?;
            match receive(flags) {
                Ok(received) => return Ok(received),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    self.wait(PollFlags::IN, deadline)?;
                    flags = RecvFlags::DONTWAIT;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn write_some(&self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(timed_out());
        }
        self.write_vectored(&[IoSlice::new(bytes)], || deadline)
    }

    pub(crate) fn write_vectored(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<usize> {
        let mut flags = SendFlags::DONTWAIT;
        loop {
            let written = if flags.is_empty() {
                let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
                self.write_with(&[IoSlice::new(&first[..first.len().min(MAX_BLOCKING_WRITE)])], flags)
            } else {
                self.write_with(pieces, flags)
            };
            if let Some(written) = written? {
                return Ok(written);
            }
            let deadline = deadline();
            if flags.is_empty() || self.before(deadline, Timeout::Send, &self.timeouts.write).is_err() {
                // Either the kernel's timeout has fired, which says nothing of the deadline, or the deadline has passed and
                // there may be room by now.
                self.wait(PollFlags::OUT, deadline)?;
                flags = SendFlags::DONTWAIT;
            } else {
                flags = SendFlags::empty();
            }
        }
    }

    pub(crate) fn write_unless_readable(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<Option<usize>> {
        self.unless_readable(|| self.write_with(pieces, SendFlags::DONTWAIT), deadline)
    }

    pub(crate) fn write_unless_readable_with(
        &self,
        pieces: &[IoSlice<'_>],
        descriptors: &[OwnedFd],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<Option<usize>> {
        self.unless_readable(|| self.write_now_with(pieces, descriptors), deadline)
    }

    /// Calls `write` until it returns bytes, or bytes have arrived while it returns none.
    fn unless_readable(
        &self,
        write: impl Fn() -> io::Result<Option<usize>>,
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<Option<usize>> {
        loop {
            if let Some(written) = write()? {
                return Ok(Some(written));
            }
            if self.wait(PollFlags::IN | PollFlags::OUT, deadline())?.contains(PollFlags::IN) {
                return Ok(None);
            }
        }
    }

    pub(crate) fn write_now(&self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        self.write_with(pieces, SendFlags::DONTWAIT)
    }

    pub(crate) fn write_now_with(
        &self,
        pieces: &[IoSlice<'_>],
        descriptors: &[OwnedFd],
    ) -> io::Result<Option<usize>> {
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        match send_with(&self.socket, pieces, &borrowed, SEND | SendFlags::DONTWAIT) {
            Ok(written) => Ok(Some(written)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what the connection takes, as `flags` say; `None` is nothing.
    fn write_with(&self, pieces: &[IoSlice<'_>], flags: SendFlags) -> io::Result<Option<usize>> {
        let flags = SEND | flags;
        let written = retry_on_intr(|| match pieces {
            [piece] => send(&self.socket, piece, flags),
            pieces => sendmsg(&self.socket, pieces, &mut SendAncillaryBuffer::default(), flags),
        });
        match written {
            Ok(written) => Ok(Some(written)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the next call on the socket return by `deadline`, roughly. Fails if that has passed.
    fn before(&self, deadline: Option<Instant>, which: Timeout, timeout: &SocketTimeout) -> io::Result<()> {
        let left = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => return Err(timed_out()),
            left => left,
        };
        Ok(timeout.fit(self.socket.as_fd(), which, left)?)
    }

    /// Waits until the socket is ready for some of `events`, and returns which.
    ///
    /// A call that comes here has returned early: the kernel's timeout fired, or other code has put the socket into
    /// non-blocking mode. Waiting for exactly the deadline tells either from that.
    fn wait(&self, events: PollFlags, deadline: Option<Instant>) -> io::Result<PollFlags> {
        let mut ready = [PollFd::new(&self.socket, events)];
        if wait_ready(&mut ready, deadline)? { Ok(ready[0].revents()) } else { Err(timed_out()) }
    }

    pub(crate) fn peer(&self, pidfds: PidfdPolicy) -> Result<Peer, PeerError> {
        sys::peer_of(self.socket.as_fd(), pidfds)
    }

    pub(crate) fn name_writers(&self, pidfds: PidfdPolicy) -> io::Result<PeerEvidence> {
        sys::name_writers(self.socket.as_fd(), pidfds)
    }

    pub(crate) fn forget_writers(&self) -> io::Result<()> {
        sys::forget_writers(self.socket.as_fd())
    }

    pub(crate) fn read_named_deadline(
        &self,
        buf: &mut [u8],
        deadline: Option<Instant>,
        pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        if buf.is_empty() {
            return Ok((0, None));
        }
        self.receive_deadline(deadline, |flags| sys::recv_named(self.socket.as_fd(), buf, flags, pidfds))
    }

    pub(crate) fn user(&self) -> Result<PeerUser, PeerError> {
        sys::user_of(self.socket.as_fd())
    }

    pub(crate) fn wait_hang_up(&self, deadline: Option<Instant>) -> io::Result<bool> {
        is_hung_up(&self.socket, deadline)
    }

    pub(crate) fn disconnect(&self) {
        // This fails only if the connection has ended by itself.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    pub(crate) fn interrupt_reads(&self) {
        // This fails only if the connection has ended by itself, and then nothing blocks.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        Ok(shutdown(&self.socket, Shutdown::Write)?)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        // Neither call fails on an open socket. If the mode could not be set, reads and writes would wait with poll(2).
        let _ = stream.set_nonblocking(false);
        #[cfg(target_vendor = "apple")]
        let _ = rustix::net::sockopt::set_socket_nosigpipe(&stream, true);
        Self::blocking(stream.into(), SocketTimeout::unknown)
    }
}

impl From<Stream> for UnixStream {
    fn from(stream: Stream) -> Self {
        stream.timeouts.read.clear(stream.socket.as_fd(), Timeout::Recv);
        stream.timeouts.write.clear(stream.socket.as_fd(), Timeout::Send);
        stream.socket.into()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits until the peer of `socket` is gone for good, and returns `true`, or until `deadline`, and returns `false`.
pub(super) fn is_hung_up(socket: &impl AsFd, deadline: Option<Instant>) -> io::Result<bool> {
    let mut ready = [PollFd::new(socket, PollFlags::empty())];
    Ok(wait_ready(&mut ready, deadline)? && !cfg!(target_vendor = "apple"))
}

/// Returns a new socket that does not block, connected to `path`.
pub(super) fn connected(path: &str) -> Result<OwnedFd, ConnectError> {
    let address = name::address(path)?;
    // The socket does not block while it connects, so that a full backlog is an error, not a wait.
    let socket = new_socket().map_err(|error| match error {
        error if denies_sockets(error) => ConnectError::Unavailable { source: Arc::new(error.into()) },
        error => ConnectError::Io { path: path.to_owned(), source: Arc::new(error.into()) },
    })?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(error) => return Err(connect_error(path, error)),
        }
    }
}

fn connect_error(path: &str, error: Errno) -> ConnectError {
    let source = Arc::new(error.into());
    let path = path.to_owned();
    match error {
        Errno::NOENT => ConnectError::NotFound { path },
        Errno::AGAIN => ConnectError::BacklogFull { path },
        Errno::PROTOTYPE | Errno::NOTSOCK => ConnectError::NotASocket { path },
        // Linux returns "refused" for any file that is not a socket.
        Errno::CONNREFUSED if exists_as_something_else(&path) => ConnectError::NotASocket { path },
        Errno::CONNREFUSED => ConnectError::Refused { path },
        Errno::ACCESS | Errno::PERM if may_connect(&path) => ConnectError::Sandboxed { path, source },
        Errno::ACCESS | Errno::PERM => ConnectError::PermissionDenied { path, source },
        _ => ConnectError::Io { path, source },
    }
}

/// Returns whether modes and owners let this user write to the socket at `path`, which is what connecting needs.
fn may_connect(path: &str) -> bool {
    let own = rustix::fs::AtFlags::EACCESS;
    rustix::fs::accessat(rustix::fs::CWD, path, rustix::fs::Access::WRITE_OK, own).is_ok()
}

fn exists_as_something_else(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket())
}
