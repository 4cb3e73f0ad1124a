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
use super::super::timed_out;
use super::timeouts::SocketTimeout;
use super::{denies_sockets, name, new_socket};
use crate::sys::{self, Peer, PeerError, PeerEvidence, PeerUser, PidfdPolicy, wait_ready};

/// Writing to a closed connection is an error, never a signal to the process. Where the flag is missing the socket
/// carries an option that says the same.
#[cfg(not(target_vendor = "apple"))]
pub(super) const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(super) const SEND: SendFlags = SendFlags::empty();

/// Most bytes that are written in one call that waits: the system tells nothing of a slow reader before all of it is taken.
const WAITED_FOR: usize = 128 * 1024;

/// A connected local byte stream: a Unix-domain socket, or a named pipe on Windows.
///
/// Reads and writes block, up to a deadline where one is given. Clones share the connection, which closes with the
/// last of them. One thread may read while another writes.
///
/// # Platform-specific behavior
///
/// On Unix the socket is in blocking mode and a deadline is kept by the kernel: whoever takes the descriptor to
/// set another mode or another timeout should not use clones of the stream any more. A deadline is met within one
/// tick of the kernel's clock, at most 10 ms.
#[derive(Debug)]
pub struct LocalStream {
    socket: OwnedFd,
    timeouts: Arc<Timeouts>,
}

#[derive(Debug)]
struct Timeouts {
    read: SocketTimeout,
    write: SocketTimeout,
}

impl LocalStream {
    /// Connects to the endpoint at `path`, and never waits for it.
    ///
    /// # Platform-specific behavior
    ///
    /// On Unix `path` is the path of the socket. On Windows it is the bare name of the pipe, without `\\.\pipe\`, and
    /// the server may identify this user but not act as them.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says why: nobody there, nobody listening, a full backlog, or a name that cannot be one.
    pub fn connect(path: &str) -> Result<Self, ConnectError> {
        Self::new(connected(path)?)
            .map_err(|error| ConnectError::Io { path: path.to_owned(), source: error.into() })
    }

    /// A stream on a connected socket that was made here. It is put into blocking mode.
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Errno> {
        ioctl_fionbio(&socket, false)?;
        #[cfg(target_vendor = "apple")]
        rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
        Ok(Self::blocking(socket, SocketTimeout::unset))
    }

    /// A stream on an accepted socket that blocks.
    #[cfg(not(target_vendor = "apple"))]
    pub(super) fn accepted(socket: OwnedFd) -> Self {
        Self::blocking(socket, SocketTimeout::unset)
    }

    fn blocking(socket: OwnedFd, timeout: fn() -> SocketTimeout) -> Self {
        Self { socket, timeouts: Arc::new(Timeouts { read: timeout(), write: timeout() }) }
    }

    /// A second owner of the same connection.
    ///
    /// # Errors
    ///
    /// What the system said, such as too many open files.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, timeouts: Arc::clone(&self.timeouts) })
    }

    /// Reads what has arrived into the start of `buf`, waiting for at least one byte; `Ok(0)` is the end of the stream
    /// (or an empty `buf`).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] once `deadline` has passed, also when it had before the call; otherwise what the
    /// system said. An interrupted call goes on.
    pub fn read_deadline(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.receive_deadline(deadline, |flags| {
            recv(&self.socket, &mut *buf, flags).map(|(_, received)| received)
        })
    }

    /// [`read_deadline`](Self::read_deadline) into the room that `buffer` has behind its end, of which there is some.
    pub(crate) fn read_onto(&self, buffer: &mut Vec<u8>, deadline: Option<Instant>) -> io::Result<usize> {
        self.receive_deadline(deadline, |flags| {
            recv(&self.socket, spare_capacity(buffer), flags).map(|(_, received)| received)
        })
    }

    /// Calls `receive` until it has something, or fails, or `deadline` has passed.
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

    pub(in crate::transport) fn write_some(
        &self,
        bytes: &[u8],
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(timed_out());
        }
        self.write_vectored(&[IoSlice::new(bytes)], || deadline)
    }

    /// Writes what the connection takes of `pieces`, of which one at least is not empty: what it takes at once if that is
    /// anything, else the beginning of the first, or as much of that as it takes until `deadline`.
    ///
    /// # Errors
    ///
    /// As [`write_all_deadline`](Self::write_all_deadline).
    pub(crate) fn write_vectored(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<usize> {
        let mut flags = SendFlags::DONTWAIT;
        loop {
            let written = if flags.is_empty() {
                let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
                self.write_with(&[IoSlice::new(&first[..first.len().min(WAITED_FOR)])], flags)
            } else {
                self.write_with(pieces, flags)
            };
            if let Some(written) = written? {
                return Ok(written);
            }
            let deadline = deadline();
            if flags.is_empty() || self.before(deadline, Timeout::Send, &self.timeouts.write).is_err() {
                // The kernel's timeout has fired, which says nothing of the deadline; or the deadline has passed, and there may
                // be room by now.
                self.wait(PollFlags::OUT, deadline)?;
                flags = SendFlags::DONTWAIT;
            } else {
                flags = SendFlags::empty();
            }
        }
    }

    /// [`write_vectored`](Self::write_vectored) that waits for what arrives as well, which is `None`: whoever is at the other
    /// end may read on only once that is read.
    ///
    /// # Errors
    ///
    /// As [`write_all_deadline`](Self::write_all_deadline).
    pub(crate) fn write_unless_readable(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<Option<usize>> {
        loop {
            if let Some(written) = self.write_with(pieces, SendFlags::DONTWAIT)? {
                return Ok(Some(written));
            }
            if self.wait(PollFlags::IN | PollFlags::OUT, deadline())?.contains(PollFlags::IN) {
                return Ok(None);
            }
        }
    }

    /// Writes what the connection takes of `pieces` at once; `None` is nothing.
    ///
    /// # Errors
    ///
    /// The write failed.
    pub(crate) fn write_now(&self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        self.write_with(pieces, SendFlags::DONTWAIT)
    }

    /// Writes what the connection takes, in the way of `flags`; `None` is nothing.
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

    /// Makes the next call on the socket return by `deadline`, roughly; an error if that has passed.
    fn before(&self, deadline: Option<Instant>, which: Timeout, timeout: &SocketTimeout) -> io::Result<()> {
        let left = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => return Err(timed_out()),
            left => left,
        };
        Ok(timeout.fit(self.socket.as_fd(), which, left)?)
    }

    /// Waits until the socket is ready for some of `events`; gives for which. A read that comes here has seen the kernel's
    /// timeout fire, or somebody has put the socket into non-blocking mode; both are told apart from the deadline by waiting
    /// for exactly that.
    fn wait(&self, events: PollFlags, deadline: Option<Instant>) -> io::Result<PollFlags> {
        let mut ready = [PollFd::new(&self.socket, events)];
        if wait_ready(&mut ready, deadline)? { Ok(ready[0].revents()) } else { Err(timed_out()) }
    }

    /// The process that listens at the other end of this connection, which [`connect`](Self::connect) made. Of an
    /// accepted connection it is the process that connected.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux and FreeBSD name the process that called `listen`, also when another one inherited the listener and accepts;
    /// macOS names the process that last used the other end; Windows names the one that made the pipe.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why the process cannot be named.
    pub(crate) fn peer(&self, pidfds: PidfdPolicy) -> Result<Peer, PeerError> {
        sys::peer_of(self.socket.as_fd(), pidfds)
    }

    /// From now on the system notes who writes what arrives on this connection, for
    /// [`read_named_deadline`](Self::read_named_deadline). What was written before stays without a name, so a client calls
    /// this before it sends anything. Other reads go on as before. The result says how writers will be named.
    ///
    /// # Platform-specific behavior
    ///
    /// Only Linux names writers.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where the system does not name writers; otherwise what it said.
    pub(crate) fn name_writers(&self, pidfds: PidfdPolicy) -> io::Result<PeerEvidence> {
        sys::name_writers(self.socket.as_fd(), pidfds)
    }

    /// Ends what [`name_writers`](Self::name_writers) began: whoever gets the connection next finds it as it was made.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn forget_writers(&self) -> io::Result<()> {
        sys::forget_writers(self.socket.as_fd())
    }

    /// Reads like [`read_deadline`](Self::read_deadline), and says who wrote the bytes: all of them were written by that one
    /// process. `None` stands for no bytes, at the end of the stream.
    ///
    /// The process may have exited since, which its handle tells. [`name_writers`](Self::name_writers) comes first.
    ///
    /// # Errors
    ///
    /// As for [`read_deadline`](Self::read_deadline). That the writer of the bytes cannot be named is no error of the read:
    /// [`PeerError`] says why.
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

    /// Who made this connection, which was accepted.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why the system does not tell.
    pub(crate) fn user(&self) -> Result<PeerUser, PeerError> {
        sys::user_of(self.socket.as_fd())
    }

    /// Waits until the other side is gone for good, which is `true`, or until `deadline`. A side that has only ended
    /// writing is not gone.
    ///
    /// # Platform-specific behavior
    ///
    /// macOS does not tell the two apart, so there nobody is seen to go: the next write tells.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn wait_hang_up(&self, deadline: Option<Instant>) -> io::Result<bool> {
        is_hung_up(&self.socket, deadline)
    }

    /// Ends the connection in both directions, from any thread: whoever reads, writes or
    /// [waits](Self::wait_hang_up) returns.
    pub(crate) fn disconnect(&self) {
        // It fails only if the connection has ended by itself.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    /// Ends reading on this connection, from any thread: a blocked [`read_deadline`](Self::read_deadline) returns, and
    /// so does every later one. What was received before can still be read, then comes `Ok(0)`.
    ///
    /// # Platform-specific behavior
    ///
    /// On Unix the other side's writes fail from then on, and macOS and FreeBSD drop what was received and not yet
    /// read.
    pub(crate) fn interrupt_reads(&self) {
        // It fails only if the connection has ended by itself, and then nothing blocks.
        let _ = shutdown(&self.socket, Shutdown::Read);
    }

    /// Tells the other side that nothing more will be written; it reads the end of the stream after what is on the way.
    /// Reading goes on.
    ///
    /// # Platform-specific behavior
    ///
    /// A Windows pipe has no half-closed state: [`io::ErrorKind::Unsupported`] there.
    ///
    /// # Errors
    ///
    /// What the system said, such as that the connection has ended.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(shutdown(&self.socket, Shutdown::Write)?)
    }
}

/// The socket is put into blocking mode.
impl From<UnixStream> for LocalStream {
    fn from(stream: UnixStream) -> Self {
        // Neither fails on an open socket. If the mode could not be set, reads and writes would wait with poll(2).
        let _ = stream.set_nonblocking(false);
        #[cfg(target_vendor = "apple")]
        let _ = rustix::net::sockopt::set_socket_nosigpipe(&stream, true);
        Self::blocking(stream.into(), SocketTimeout::unknown)
    }
}

/// The socket is in blocking mode and has no timeouts.
impl From<LocalStream> for UnixStream {
    fn from(stream: LocalStream) -> Self {
        stream.timeouts.read.clear(stream.socket.as_fd(), Timeout::Recv);
        stream.timeouts.write.clear(stream.socket.as_fd(), Timeout::Send);
        stream.socket.into()
    }
}

impl AsFd for LocalStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Waits until the other side of `socket` is gone for good, which is `true`, or until `deadline`.
pub(super) fn is_hung_up(socket: &impl AsFd, deadline: Option<Instant>) -> io::Result<bool> {
    let mut ready = [PollFd::new(socket, PollFlags::empty())];
    Ok(wait_ready(&mut ready, deadline)? && !cfg!(target_vendor = "apple"))
}

/// A new socket that does not block, connected to `path`.
pub(super) fn connected(path: &str) -> Result<OwnedFd, ConnectError> {
    let address = name::address(path)?;
    // The socket does not block while it connects: a full backlog is an answer, not a wait.
    let socket = new_socket().map_err(|error| match error {
        error if denies_sockets(error) => ConnectError::Unavailable { source: error.into() },
        error => ConnectError::Io { path: path.to_owned(), source: error.into() },
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
    let source = error.into();
    let path = path.to_owned();
    match error {
        Errno::NOENT => ConnectError::NotFound { path },
        Errno::AGAIN => ConnectError::BacklogFull { path },
        Errno::PROTOTYPE | Errno::NOTSOCK => ConnectError::NotASocket { path },
        // Linux says "refused" of anything that is not a socket.
        Errno::CONNREFUSED if exists_as_something_else(&path) => ConnectError::NotASocket { path },
        Errno::CONNREFUSED => ConnectError::Refused { path },
        Errno::ACCESS | Errno::PERM => ConnectError::PermissionDenied { path, source },
        _ => ConnectError::Io { path, source },
    }
}

fn exists_as_something_else(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket())
}
