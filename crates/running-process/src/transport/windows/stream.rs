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
use super::super::error::timed_out;
use super::error::is;
use super::name;
use crate::sys::windows_pipe::{self, Transfer};
use crate::sys::windows_wait::{Event, wait_any};
use crate::sys::{Peer, PeerError, PeerEvidence, PeerUser, PidfdPolicy};

/// The system's part of [`LocalStream`](crate::transport::LocalStream), which documents the methods.
#[derive(Debug)]
pub(crate) struct Stream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pipe: OwnedHandle,
    // One event for each direction, held for as long as its operation lasts.
    reading: Mutex<Reading>,
    writing: Mutex<Event>,
    // A read has found that the peer is gone.
    ended: AtomicBool,
    // Once both are set, the event last, reads return what has arrived and do not wait.
    stopped: AtomicBool,
    interrupted: Event,
    disconnected: Event,
}

#[derive(Debug)]
struct Reading {
    event: Event,
    // Number of bytes that had arrived when reading was stopped and are still to be read; `None` until it is needed.
    left: Option<usize>,
}

#[allow(
    clippy::unused_self,
    clippy::unnecessary_wraps,
    reason = "the portable type has receivers and errors"
)]
impl Stream {
    pub(crate) fn connect(path: &str) -> Result<Self, ConnectError> {
        Self::try_from(connected(path)?)
            .map_err(|error| ConnectError::Io { path: path.to_owned(), source: Arc::new(error) })
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(Arc::clone(&self.0)))
    }

    pub(crate) fn read_deadline(&self, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        check(deadline)?;
        self.read(buf, deadline)
    }

    pub(crate) fn read_arrived(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.read(buf, Some(Instant::now()))
    }

    /// Reads what has arrived or arrives until `deadline`.
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
                // An error means that the connection has ended.
                let left = *left.get_or_insert_with(|| windows_pipe::arrived(pipe).unwrap_or(0));
                room = room.min(left);
            }
            if room == 0 {
                return Ok(0);
            }
            match windows_pipe::read(pipe, &mut buf[..room], event, &shared.interrupted, deadline) {
                // An empty write of the peer: nothing has arrived and nothing has ended.
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

    pub(crate) fn read_onto(&self, buffer: &mut Vec<u8>, deadline: Option<Instant>) -> io::Result<usize> {
        onto(buffer, |room| self.read_deadline(room, deadline))
    }

    pub(crate) fn read_arrived_onto(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        onto(buffer, |room| self.read_arrived(room))
    }

    pub(crate) fn write_some(&self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
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

    pub(crate) fn write_vectored(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<usize> {
        let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
        self.write_some(first, deadline())
    }

    pub(crate) fn write_unless_readable(
        &self,
        pieces: &[IoSlice<'_>],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<Option<usize>> {
        self.write_vectored(pieces, deadline).map(Some)
    }

    pub(crate) fn write_now(&self, _pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        Ok(None)
    }

    pub(crate) fn peer(&self, _pidfds: PidfdPolicy) -> Result<Peer, PeerError> {
        windows_pipe::server(self.0.pipe.as_handle())
    }

    pub(crate) fn name_writers(&self, _pidfds: PidfdPolicy) -> io::Result<PeerEvidence> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "Windows does not name the writers of bytes"))
    }

    pub(crate) fn forget_writers(&self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn read_named_deadline(
        &self,
        buf: &mut [u8],
        deadline: Option<Instant>,
        _pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        Ok(with_unknown_writer(self.read_deadline(buf, deadline)?))
    }

    pub(crate) fn read_named_arrived(
        &self,
        buf: &mut [u8],
        _pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        Ok(with_unknown_writer(self.read_arrived(buf)?))
    }

    pub(crate) fn user(&self) -> Result<PeerUser, PeerError> {
        windows_pipe::client(self.0.pipe.as_handle())
    }

    pub(crate) fn wait_hang_up(&self, deadline: Option<Instant>) -> io::Result<bool> {
        // A client cannot half-close its end: a read that found the end of the stream has seen the client go.
        if self.0.ended.load(Ordering::Acquire) {
            return Ok(true);
        }
        Ok(wait_any(&[self.0.disconnected.as_handle()], deadline)?.is_some())
    }

    pub(crate) fn disconnect(&self) {
        self.interrupt_reads();
        self.0.disconnected.set();
    }

    pub(crate) fn interrupt_reads(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.interrupted.set();
    }

    /// Returns the pipe, or a second handle to it if the connection has other owners.
    #[cfg(feature = "tokio")]
    pub(super) fn into_pipe(self) -> io::Result<OwnedHandle> {
        match Arc::try_unwrap(self.0) {
            Ok(shared) => Ok(shared.pipe),
            Err(shared) => shared.pipe.try_clone(),
        }
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a named pipe cannot be closed in one direction"))
    }
}

/// Opens the client's end of the pipe `path` for overlapped operation, at identification level.
pub(super) fn connected(path: &str) -> Result<OwnedHandle, ConnectError> {
    let full = name::path(path)?;
    let path = path.to_owned();
    windows_pipe::open(&full).map_err(|error| match error {
        error if is(&error, ERROR_FILE_NOT_FOUND) => ConnectError::NotFound { path },
        error if is(&error, ERROR_PIPE_BUSY) => ConnectError::BacklogFull { path },
        error if is(&error, ERROR_ACCESS_DENIED) => {
            ConnectError::PermissionDenied { path, source: Arc::new(error) }
        }
        error => ConnectError::Io { path, source: Arc::new(error) },
    })
}

/// Returns whether a read failed because the peer has closed its end.
pub(super) fn is_end(error: &io::Error) -> bool {
    is(error, ERROR_BROKEN_PIPE) || is(error, ERROR_PIPE_NOT_CONNECTED)
}

/// Makes one error of all that mean that the peer has closed its end.
pub(super) fn write_error(error: io::Error) -> io::Error {
    if is(&error, ERROR_NO_DATA) || is_end(&error) {
        io::Error::new(io::ErrorKind::BrokenPipe, error)
    } else {
        error
    }
}

/// Reads into the spare capacity of `buffer`.
fn onto(buffer: &mut Vec<u8>, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    let end = buffer.len();
    buffer.resize(buffer.capacity(), 0);
    let received = read(&mut buffer[end..]);
    buffer.truncate(end + received.as_ref().map_or(0, |received| *received));
    received
}

/// Returns so many received bytes with a writer that is not known.
fn with_unknown_writer(received: usize) -> (usize, Option<Result<Peer, PeerError>>) {
    (received, (received > 0).then_some(Err(PeerError::Unsupported)))
}

/// Fails if `deadline` has passed.
fn check(deadline: Option<Instant>) -> io::Result<()> {
    if deadline.is_some_and(|at| at <= Instant::now()) { Err(timed_out()) } else { Ok(()) }
}

impl TryFrom<OwnedHandle> for Stream {
    type Error = io::Error;

    fn try_from(pipe: OwnedHandle) -> io::Result<Self> {
        let reading = Mutex::new(Reading { event: Event::new()?, left: None });
        let writing = Mutex::new(Event::new()?);
        let (ended, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        let (interrupted, disconnected) = (Event::new()?, Event::new()?);
        Ok(Self(Arc::new(Shared { pipe, reading, writing, ended, stopped, interrupted, disconnected })))
    }
}

impl AsHandle for Stream {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.pipe.as_handle()
    }
}
