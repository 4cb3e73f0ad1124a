//! A connected local byte stream.

use std::io::{self, IoSlice, Read, Write};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(windows)]
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::time::Instant;

use super::error::ConnectError;
use super::imp;
use crate::sys::{Peer, PeerError, PeerEvidence, PeerUser, PidfdPolicy};

/// A connected local byte stream: a Unix-domain socket, or a named pipe on Windows.
///
/// Reads and writes block, up to a deadline where one is given. Clones share the connection, which closes with the
/// last of them. One thread may read while another writes.
///
/// ```
/// # #[cfg(unix)] {
/// use running_process::broker::backend_sdk::LocalStream;
/// use std::os::unix::net::UnixStream;
/// use std::time::{Duration, Instant};
///
/// let [one, other] = UnixStream::pair().map(|(one, other)| [one, other].map(LocalStream::from))?;
/// let soon = || Some(Instant::now() + Duration::from_secs(5));
/// one.write_all_deadline(b"ping", soon())?;
/// let mut buffer = [0; 8];
/// let length = other.read_deadline(&mut buffer, soon())?;
/// assert_eq!(&buffer[..length], b"ping");
///
/// let silent = other.read_deadline(&mut buffer, Some(Instant::now()));
/// assert_eq!(silent.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # Platform-specific behavior
///
/// On Unix the socket is in blocking mode, and the kernel keeps the deadline: a call returns within one tick of the
/// kernel's clock after it, at most 10 ms. Code that takes the descriptor and changes its mode or its timeouts must not
/// go on to use clones of the stream.
///
/// On Windows every operation is overlapped, and the system cancels one that has not ended by its deadline. A second
/// reader or writer waits for the first, whatever its own deadline.
#[derive(Debug)]
pub struct LocalStream(pub(super) imp::Stream);

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
    /// [`ConnectError`] says why: there is no endpoint, no process listens there, the backlog is full, or the name
    /// cannot be an endpoint's.
    pub fn connect(path: &str) -> Result<Self, ConnectError> {
        imp::Stream::connect(path).map(Self)
    }

    /// Returns a second owner of the same connection.
    ///
    /// # Errors
    ///
    /// The error of the system, such as too many open files; none on Windows.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Waits until at least one byte has arrived, and reads what has into the start of `buf`. Returns `Ok(0)` at the end of
    /// the stream, and at once for an empty `buf`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] once `deadline` has passed, also when it had before the call; otherwise the error of
    /// the system. A read that a signal interrupts goes on.
    #[inline]
    pub fn read_deadline(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        self.0.read_deadline(buf, deadline)
    }

    /// Reads what has arrived into the start of `buf`, which is not empty, without waiting. Returns `Ok(0)` at the end of
    /// the stream.
    ///
    /// It is for a loop whose deadline has passed: if this process was stopped until then, what the peer sent in time
    /// has arrived all the same.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if nothing has arrived; otherwise the error of the system.
    #[inline]
    pub fn read_arrived(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_arrived(buf)
    }

    /// Reads as [`read_deadline`](Self::read_deadline) does, and appends to `buffer`, which has spare capacity.
    #[inline]
    pub(crate) fn read_onto(&self, buffer: &mut Vec<u8>, deadline: Option<Instant>) -> io::Result<usize> {
        self.0.read_onto(buffer, deadline)
    }

    /// Reads as [`read_arrived`](Self::read_arrived) does, and appends to `buffer`, which has spare capacity.
    ///
    /// # Errors
    ///
    /// As for [`read_arrived`](Self::read_arrived).
    #[inline]
    pub(crate) fn read_arrived_onto(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.0.read_arrived_onto(buffer)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] once `deadline` has passed, also when it had before the call;
    /// [`io::ErrorKind::BrokenPipe`] if the peer is gone; otherwise the error of the system. After an error it is
    /// unknown how many bytes were written, so the connection is of no further use for writing.
    pub fn write_all_deadline(&self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.0.write_some(rest, deadline)?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// Writes the start of `pieces`, of which at least one is not empty, and returns how many bytes the connection took.
    ///
    /// It takes what fits at once. If nothing does, this waits until a part of the first piece fits, up to `deadline`, which
    /// is asked for only then.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows pipes have no vectored write: only the first piece that is not empty is written.
    ///
    /// # Errors
    ///
    /// As for [`write_all_deadline`](Self::write_all_deadline).
    #[inline]
    pub(crate) fn write_vectored(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<usize> {
        self.0.write_vectored(pieces, deadline)
    }

    /// Writes as [`write_vectored`](Self::write_vectored) does, and returns `None` if bytes arrive while nothing fits: the
    /// peer may read on only once those are read.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows does not wait for both at once, and never returns `None`.
    ///
    /// # Errors
    ///
    /// As for [`write_all_deadline`](Self::write_all_deadline).
    #[inline]
    pub(crate) fn write_unless_readable(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<Option<usize>> {
        self.0.write_unless_readable(pieces, deadline)
    }

    /// Writes what fits of `pieces` without waiting, and returns `None` if nothing does.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows writes nothing: a pipe that is full may take a part of a message whose write is given up.
    ///
    /// # Errors
    ///
    /// The error of the system; none on Windows.
    #[inline]
    pub(crate) fn write_now(&self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        self.0.write_now(pieces)
    }

    /// Returns the process that listens at the other end of this connection, which [`connect`](Self::connect) made. Of an
    /// accepted connection it is the process that connected.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux and FreeBSD name the process that called `listen`, also when another one inherited the listener and accepts.
    /// macOS names the process that last used the other end. Windows names the process that made the pipe, at either end.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why the process cannot be named.
    pub(crate) fn peer(&self, pidfds: PidfdPolicy) -> Result<Peer, PeerError> {
        self.0.peer(pidfds)
    }

    /// Makes the system note the writer of what arrives from now on, for [`read_named_deadline`](Self::read_named_deadline).
    /// Returns how writers will be named.
    ///
    /// Bytes that were written before have no name, so a client calls this before it sends anything. Other reads are not affected.
    ///
    /// # Platform-specific behavior
    ///
    /// Only Linux names writers.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] where the system does not name writers; otherwise the error of the system.
    pub(crate) fn name_writers(&self, pidfds: PidfdPolicy) -> io::Result<PeerEvidence> {
        self.0.name_writers(pidfds)
    }

    /// Ends what [`name_writers`](Self::name_writers) began, so that the next owner finds the connection as it was made.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn forget_writers(&self) -> io::Result<()> {
        self.0.forget_writers()
    }

    /// Reads as [`read_deadline`](Self::read_deadline) does, and returns which process wrote the bytes: one process wrote all of
    /// them. The writer is `None` where there are no bytes.
    ///
    /// Call [`name_writers`](Self::name_writers) first. The process may have exited since, which its handle tells.
    ///
    /// # Errors
    ///
    /// As for [`read_deadline`](Self::read_deadline). A writer that cannot be named is no error of the read: [`PeerError`] says
    /// why.
    pub(crate) fn read_named_deadline(
        &self,
        buf: &mut [u8],
        deadline: Option<Instant>,
        pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        self.0.read_named_deadline(buf, deadline, pidfds)
    }

    /// Reads as [`read_named_deadline`](Self::read_named_deadline) does, without waiting, into a `buf` that is not empty.
    ///
    /// # Errors
    ///
    /// As for [`read_arrived`](Self::read_arrived).
    pub(crate) fn read_named_arrived(
        &self,
        buf: &mut [u8],
        pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        self.0.read_named_arrived(buf, pidfds)
    }

    /// Returns the process and the user that made this connection, which was accepted.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why the system does not tell.
    pub(crate) fn user(&self) -> Result<PeerUser, PeerError> {
        self.0.user()
    }

    /// Waits until the peer is gone for good, and returns `true`, or until `deadline`, and returns `false`. A peer that has
    /// only ended writing is not gone.
    ///
    /// # Platform-specific behavior
    ///
    /// macOS does not tell the two apart, so this waits until `deadline` there: the next write finds out. A Windows pipe
    /// that no thread reads does not tell either: this knows what a read has found, and otherwise waits for
    /// [`disconnect`](Self::disconnect) alone.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn wait_hang_up(&self, deadline: Option<Instant>) -> io::Result<bool> {
        self.0.wait_hang_up(deadline)
    }

    /// Ends the connection from any thread: each thread that reads, writes or [waits](Self::wait_hang_up) returns.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows it ends reading and waiting; the pipe itself ends with its last owner.
    pub(crate) fn disconnect(&self) {
        self.0.disconnect();
    }

    /// Ends reading on this connection, from any thread: a blocked [`read_deadline`](Self::read_deadline) returns, and so does
    /// every later one. What was received before can still be read, then comes `Ok(0)`.
    ///
    /// # Platform-specific behavior
    ///
    /// On Unix the peer's writes fail from then on, and macOS and FreeBSD drop what was received and not yet read. On
    /// Windows the peer does not notice, and can write until the connection ends.
    pub(crate) fn interrupt_reads(&self) {
        self.0.interrupt_reads();
    }

    /// Tells the peer that nothing more will be written: it reads the end of the stream after what is on the way. Reading
    /// goes on.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] on Windows, whose pipes have no half-closed state; otherwise the error of the system,
    /// such as that the connection has ended.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.0.shutdown_write()
    }
}

/// Reads without a deadline.
impl Read for &LocalStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_deadline(buf, None)
    }
}

/// Writes without a deadline.
impl Write for &LocalStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_some(bytes, None)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for LocalStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for LocalStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts the socket into blocking mode.
#[cfg(unix)]
impl From<UnixStream> for LocalStream {
    fn from(stream: UnixStream) -> Self {
        Self(stream.into())
    }
}

/// Returns the socket in blocking mode and without timeouts.
#[cfg(unix)]
impl From<LocalStream> for UnixStream {
    fn from(stream: LocalStream) -> Self {
        stream.0.into()
    }
}

#[cfg(unix)]
impl AsFd for LocalStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Takes a pipe from elsewhere. Deadlines are kept only if the pipe was opened for overlapped operation.
#[cfg(windows)]
impl TryFrom<OwnedHandle> for LocalStream {
    type Error = io::Error;

    fn try_from(pipe: OwnedHandle) -> io::Result<Self> {
        imp::Stream::try_from(pipe).map(Self)
    }
}

#[cfg(windows)]
impl AsHandle for LocalStream {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}
