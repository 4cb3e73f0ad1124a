//! A connected named pipe.

use std::io::{self, IoSlice};
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_BROKEN_PIPE, ERROR_FILE_NOT_FOUND, ERROR_NO_DATA, ERROR_PIPE_BUSY,
    ERROR_PIPE_NOT_CONNECTED,
};

use super::super::error::ConnectError;
use super::super::timed_out;
use super::{is, name};
use crate::sys::windows_pipe::{self, Transfer};
use crate::sys::windows_wait::{Event, wait_any};
use crate::sys::{Peer, PeerError, PeerEvidence, PeerUser, PidfdPolicy};

/// A connected local byte stream: a named pipe, or a Unix-domain socket on Unix.
///
/// Reads and writes block, up to a deadline where one is given. Clones share the connection, which closes with the
/// last of them. One thread may read while another writes.
///
/// # Platform-specific behavior
///
/// On Windows every operation is overlapped, and one that has not ended by its deadline is cancelled. A second reader
/// or writer waits for the first, whatever its own deadline.
#[derive(Debug)]
pub struct LocalStream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pipe: OwnedHandle,
    // One event for each direction, held for as long as its operation lasts.
    reading: Mutex<Reading>,
    writing: Mutex<Event>,
    // A read has found that the other side is gone.
    ended: AtomicBool,
    // Once both are set, the event last, reads give what has arrived and no longer wait.
    stopped: AtomicBool,
    interrupted: Event,
    disconnected: Event,
}

#[derive(Debug)]
struct Reading {
    event: Event,
    // How much of what had arrived when reading was stopped is still to be read; `None` until it is first asked for.
    left: Option<usize>,
}

impl LocalStream {
    /// Connects to the endpoint at `path`, and never waits for it.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows `path` is the bare name of the pipe, without `\\.\pipe\`, and the server may identify this user but
    /// not act as them. On Unix it is the path of the socket.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says why: nobody there, a full backlog, or a name that cannot be one.
    pub fn connect(path: &str) -> Result<Self, ConnectError> {
        Self::try_from(connected(path)?).map_err(|source| ConnectError::Io { path: path.to_owned(), source })
    }

    /// A second owner of the same connection.
    ///
    /// # Errors
    ///
    /// None on Windows.
    // The portable shape has errors here.
    #[allow(clippy::unnecessary_wraps)]
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(Arc::clone(&self.0)))
    }

    /// Reads what has arrived into the start of `buf`, waiting for at least one byte; `Ok(0)` is the end of the stream
    /// (or an empty `buf`).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] once `deadline` has passed, also when it had before the call; otherwise what the
    /// system said.
    pub fn read_deadline(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        check(deadline)?;
        self.read(buf, deadline)
    }

    /// Reads what has arrived into the start of `buf`, which is not empty, and does not wait; `Ok(0)` is the end of the stream.
    ///
    /// For a loop whose deadline has passed: what the peer sent in time has arrived, also if this process was stopped
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if nothing has arrived; otherwise what the system said.
    pub fn read_arrived(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read(buf, Some(Instant::now()))
    }

    /// Reads what has arrived, or what arrives until `deadline`.
    fn read(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let shared = &*self.0;
        let pipe = shared.pipe.as_handle();
        let mut reading = shared.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Reading { event, left } = &mut *reading;
        loop {
            let mut room = buf.len();
            if shared.stopped.load(Ordering::Acquire) {
                // That it cannot be told means that the connection has ended.
                let left = *left.get_or_insert_with(|| windows_pipe::arrived(pipe).unwrap_or(0));
                room = room.min(left);
            }
            if room == 0 {
                return Ok(0);
            }
            match windows_pipe::read(pipe, &mut buf[..room], event, &shared.interrupted, deadline) {
                // An empty write of the other side: nothing has come and nothing has ended.
                Ok(Transfer::Done(0)) => check(deadline)?,
                Ok(Transfer::Done(received)) => {
                    *left = left.map(|left| left.saturating_sub(received));
                    return Ok(received);
                }
                Ok(Transfer::Interrupted) => return Ok(0),
                Ok(Transfer::TimedOut) => return Err(timed_out()),
                Err(error) if is_end(&error) => {
                    shared.ended.store(true, Ordering::Release);
                    return Ok(0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// [`read_deadline`](Self::read_deadline) into the room that `buffer` has behind its end, of which there is some.
    pub(crate) fn read_onto(&self, buffer: &mut Vec<u8>, deadline: Option<Instant>) -> io::Result<usize> {
        onto(buffer, |room| self.read_deadline(room, deadline))
    }

    /// [`read_onto`](Self::read_onto) that does not wait.
    ///
    /// # Errors
    ///
    /// As for [`read_arrived`](Self::read_arrived).
    pub(crate) fn read_arrived_onto(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        onto(buffer, |room| self.read_arrived(room))
    }

    pub(in crate::transport) fn write_some(
        &self,
        bytes: &[u8],
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let shared = &*self.0;
        let mut event = shared.writing.lock().unwrap_or_else(PoisonError::into_inner);
        check(deadline)?;
        match windows_pipe::write(shared.pipe.as_handle(), bytes, &mut event, deadline) {
            Ok(Transfer::Done(written)) => Ok(written),
            Ok(Transfer::Interrupted | Transfer::TimedOut) => Err(timed_out()),
            Err(error) => Err(write_error(error)),
        }
    }

    /// Writes what the connection takes of the first of `pieces` that is not empty: pipes have no vectored write.
    ///
    /// # Errors
    ///
    /// As [`write_all_deadline`](Self::write_all_deadline).
    pub(crate) fn write_vectored(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<usize> {
        let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        self.write_some(first, deadline())
    }

    /// [`write_vectored`](Self::write_vectored): a write to a pipe and a read from it are not waited for together, so it is
    /// never `None`.
    ///
    /// # Errors
    ///
    /// As [`write_all_deadline`](Self::write_all_deadline).
    pub(crate) fn write_unless_readable(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<Option<usize>> {
        self.write_vectored(pieces, deadline).map(Some)
    }

    /// Writes nothing: a pipe that is full may take a part of a message whose write is given up.
    ///
    /// # Errors
    ///
    /// None on Windows.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the portable surface has both")]
    pub(crate) fn write_now(&self, _pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        Ok(None)
    }

    /// The process that made this pipe. Of either end it is the server, also when another process inherited the pipe.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux and FreeBSD name the process that called `listen`, macOS the one that last used the other end.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why the process cannot be named.
    pub(crate) fn peer(&self, _pidfds: PidfdPolicy) -> Result<Peer, PeerError> {
        windows_pipe::server(self.0.pipe.as_handle())
    }

    /// On Linux: from now on the system notes who writes what arrives on this connection.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] on Windows.
    // The portable shape has a receiver here.
    #[allow(clippy::unused_self)]
    pub(crate) fn name_writers(&self, _pidfds: PidfdPolicy) -> io::Result<PeerEvidence> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "Windows does not name the writers of bytes"))
    }

    /// Ends what [`name_writers`](Self::name_writers) did not begin.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "the portable surface has both")]
    pub(crate) fn forget_writers(&self) -> io::Result<()> {
        Ok(())
    }

    /// Reads like [`read_deadline`](Self::read_deadline), and says that the writer of the bytes, if there are any, is not
    /// known.
    ///
    /// # Errors
    ///
    /// As for [`read_deadline`](Self::read_deadline).
    pub(crate) fn read_named_deadline(
        &self,
        buf: &mut [u8],
        deadline: Option<Instant>,
        _pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        Ok(unnamed(self.read_deadline(buf, deadline)?))
    }

    /// [`read_named_deadline`](Self::read_named_deadline) that does not wait.
    ///
    /// # Errors
    ///
    /// As for [`read_arrived`](Self::read_arrived).
    pub(crate) fn read_named_arrived(
        &self,
        buf: &mut [u8],
        _pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        Ok(unnamed(self.read_arrived(buf)?))
    }

    /// Who made this connection, which was accepted.
    ///
    /// # Errors
    ///
    /// [`PeerError`] says why the system does not tell.
    pub(crate) fn user(&self) -> Result<PeerUser, PeerError> {
        windows_pipe::client(self.0.pipe.as_handle())
    }

    /// Waits until the other side is gone, which is `true`, or until `deadline`.
    ///
    /// # Platform-specific behavior
    ///
    /// A pipe that nobody reads does not tell: on Windows this knows what a read has seen, and else waits for
    /// [`disconnect`](Self::disconnect) alone.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn wait_hang_up(&self, deadline: Option<Instant>) -> io::Result<bool> {
        // A client's end cannot be half open: whoever has read to its end has seen it go.
        if self.0.ended.load(Ordering::Acquire) {
            return Ok(true);
        }
        Ok(wait_any(&[self.0.disconnected.as_handle()], deadline)?.is_some())
    }

    /// Ends reading, and the [wait](Self::wait_hang_up) for the other side to go; the pipe itself ends with its last
    /// owner.
    pub(crate) fn disconnect(&self) {
        self.interrupt_reads();
        self.0.disconnected.set();
    }

    /// Ends reading on this connection, from any thread: a blocked [`read_deadline`](Self::read_deadline) returns, and
    /// so does every later one. What was received before can still be read, then comes `Ok(0)`.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows the other side does not notice, and goes on to write until the connection ends.
    pub(crate) fn interrupt_reads(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.interrupted.set();
    }

    /// The pipe alone; a second handle to it if the connection has other owners.
    #[cfg(feature = "tokio")]
    pub(super) fn into_pipe(self) -> io::Result<OwnedHandle> {
        match Arc::try_unwrap(self.0) {
            Ok(shared) => Ok(shared.pipe),
            Err(shared) => shared.pipe.try_clone(),
        }
    }

    /// Tells the other side that nothing more will be written, where that is possible.
    ///
    /// # Platform-specific behavior
    ///
    /// A Windows pipe has no half-closed state; a Unix-domain socket has.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] on Windows.
    // The portable shape has a receiver here.
    #[allow(clippy::unused_self)]
    pub fn shutdown_write(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a named pipe cannot be closed in one direction"))
    }
}

/// The client's end of the pipe `path`, opened at identification level for overlapped operation.
pub(super) fn connected(path: &str) -> Result<OwnedHandle, ConnectError> {
    let full = name::path(path)?;
    let path = path.to_owned();
    windows_pipe::open(&full).map_err(|error| match error {
        error if is(&error, ERROR_FILE_NOT_FOUND) => ConnectError::NotFound { path },
        error if is(&error, ERROR_PIPE_BUSY) => ConnectError::BacklogFull { path },
        source if is(&source, ERROR_ACCESS_DENIED) => ConnectError::PermissionDenied { path, source },
        source => ConnectError::Io { path, source },
    })
}

/// Whether a read failed because the other side has closed.
pub(super) fn is_end(error: &io::Error) -> bool {
    is(error, ERROR_BROKEN_PIPE) || is(error, ERROR_PIPE_NOT_CONNECTED)
}

/// The other side having closed is one error of every write.
pub(super) fn write_error(error: io::Error) -> io::Error {
    if is(&error, ERROR_NO_DATA) || is_end(&error) {
        io::Error::new(io::ErrorKind::BrokenPipe, error)
    } else {
        error
    }
}

/// Reads into the room that `buffer` has behind its end.
fn onto(buffer: &mut Vec<u8>, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    let end = buffer.len();
    buffer.resize(buffer.capacity(), 0);
    let received = read(&mut buffer[end..]);
    buffer.truncate(end + received.as_ref().map_or(0, |received| *received));
    received
}

/// So many bytes, whose writer is not known.
fn unnamed(received: usize) -> (usize, Option<Result<Peer, PeerError>>) {
    (received, (received > 0).then_some(Err(PeerError::Unsupported)))
}

fn check(deadline: Option<Instant>) -> io::Result<()> {
    if deadline.is_some_and(|at| at <= Instant::now()) { Err(timed_out()) } else { Ok(()) }
}

/// A stream on a pipe from elsewhere. Deadlines are kept only if the pipe was opened for overlapped operation.
impl TryFrom<OwnedHandle> for LocalStream {
    type Error = io::Error;

    fn try_from(pipe: OwnedHandle) -> io::Result<Self> {
        let reading = Mutex::new(Reading { event: Event::new()?, left: None });
        let writing = Mutex::new(Event::new()?);
        let (ended, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        let (interrupted, disconnected) = (Event::new()?, Event::new()?);
        Ok(Self(Arc::new(Shared { pipe, reading, writing, ended, stopped, interrupted, disconnected })))
    }
}

impl AsHandle for LocalStream {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.pipe.as_handle()
    }
}
