//! Unix-domain sockets for tokio.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, send, sendmsg, shutdown};
use tokio::io::{Interest, unix::AsyncFd};

use super::super::error::ConnectError;
use super::stream::SEND;
use super::{LocalListener, LocalStream, stream};
use crate::sys::{self, Newest, Peer, PeerError};

/// What tokio drives.
pub(crate) type AsyncStream = tokio::net::UnixStream;

/// [`LocalStream::connect`] for tokio, with the same errors. It does not wait either, so it is no async function.
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn connect_async(path: &str) -> Result<AsyncStream, ConnectError> {
    let socket = stream::connected(path)?;
    #[cfg(target_vendor = "apple")]
    let _ = rustix::net::sockopt::set_socket_nosigpipe(&socket, true);
    AsyncStream::from_std(socket.into()).map_err(|source| ConnectError::Io { path: path.to_owned(), source })
}

/// The connection for tokio. The socket stops blocking, for clones as well, which then wait with poll(2).
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn into_async(stream: LocalStream) -> io::Result<AsyncStream> {
    let socket = UnixStream::from(stream);
    socket.set_nonblocking(true)?;
    AsyncStream::from_std(socket)
}

/// A connection that the runtime watches for a while. It stays in its mode; no call on it blocks.
pub(crate) struct Lent<'s>(AsyncFd<BorrowedFd<'s>>);

impl LocalStream {
    /// The connection for a task, until the result is dropped.
    ///
    /// # Panics
    ///
    /// Outside a runtime that drives I/O.
    pub(crate) fn lend(&self) -> io::Result<Lent<'_>> {
        sys::watch(self.as_fd(), Interest::READABLE | Interest::WRITABLE).map(Lent)
    }
}

impl Lent<'_> {
    /// [`LocalStream::write_all_before`] without a deadline.
    pub(crate) async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let flags = SEND | SendFlags::DONTWAIT;
        let mut rest = bytes;
        while !rest.is_empty() {
            let write = |socket: &BorrowedFd<'_>| Ok(retry_on_intr(|| send(socket, rest, flags))?);
            let written = self.0.async_io(Interest::WRITABLE, write).await?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// [`LocalStream::read_named_before`] without a deadline, into a `buf` that is not empty.
    pub(crate) async fn read_named(
        &self,
        buf: &mut [u8],
        newest: Newest,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        let flags = RecvFlags::DONTWAIT;
        let read = |socket: &BorrowedFd<'_>| {
            Ok(retry_on_intr(|| sys::recv_named(socket.as_fd(), buf, flags, newest))?)
        };
        self.0.async_io(Interest::READABLE, read).await
    }
}

/// How the end of a connection is waited for.
#[derive(Debug, Default)]
pub(in crate::transport) struct AsyncWait {
    /// The runtime was told that the socket is not ready to write, which nobody has tried.
    denied: bool,
}

#[allow(clippy::unused_self, reason = "pipes keep something here")]
impl AsyncWait {
    /// The system ends the reading.
    pub(in crate::transport) fn interrupt(&mut self, stream: &AsyncStream) {
        // It fails only if the connection has ended by itself.
        let _ = shutdown(stream, Shutdown::Read);
    }

    pub(in crate::transport) fn poll_interrupted(
        &mut self,
        _: &AsyncStream,
        _: &mut Context<'_>,
    ) -> Poll<()> {
        Poll::Pending
    }

    pub(in crate::transport) fn room(&self, room: usize) -> usize {
        room
    }

    pub(in crate::transport) fn has_read(&mut self, _: usize) {}

    pub(in crate::transport) fn piece(bytes: &[u8]) -> &[u8] {
        bytes
    }

    pub(in crate::transport) fn is_gone(&self, stream: &AsyncStream) -> bool {
        stream::is_hung_up(stream, Some(Instant::now())).unwrap_or(true)
    }

    pub(in crate::transport) fn poll_gone(
        &mut self,
        stream: &AsyncStream,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        // There it is not seen, and being ready to write would end no wait.
        if cfg!(target_vendor = "apple") {
            return Poll::Pending;
        }
        loop {
            // A hang-up makes the socket ready to write, which it is anyway unless that is denied.
            let gone = stream.try_io(Interest::WRITABLE, || {
                if self.is_gone(stream) { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
            });
            if gone.is_ok() {
                return Poll::Ready(());
            }
            self.denied = true;
            if ready!(stream.poll_write_ready(context)).is_err() {
                return Poll::Ready(());
            }
        }
    }

    /// Writes without asking the runtime, if it would not know.
    pub(in crate::transport) fn try_write(
        &mut self,
        stream: &AsyncStream,
        pieces: &[IoSlice<'_>],
    ) -> Option<io::Result<usize>> {
        if !self.denied {
            return None;
        }
        match sendmsg(stream, pieces, &mut SendAncillaryBuffer::default(), SEND) {
            // Now the runtime learns when that changes.
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                self.denied = false;
                None
            }
            written => Some(written.map_err(Into::into)),
        }
    }

    pub(in crate::transport) fn shutdown_write(stream: &AsyncStream) -> io::Result<()> {
        Ok(shutdown(stream, Shutdown::Write)?)
    }
}

/// [`LocalListener`] for tokio.
#[derive(Debug)]
pub(crate) struct AsyncListener {
    /// Another descriptor of the same socket.
    ready: AsyncFd<OwnedFd>,
    listener: LocalListener,
}

impl AsyncListener {
    /// # Panics
    ///
    /// Outside a runtime that drives I/O.
    pub(crate) fn new(listener: LocalListener) -> io::Result<Self> {
        let ready = sys::watch_owned(listener.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        Ok(Self { ready, listener })
    }

    /// Waits for the next connection. After an error the listener is as good as before, and the connection still waits.
    pub(crate) fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<LocalStream>> {
        loop {
            let mut ready = ready!(self.ready.poll_read_ready(context))?;
            match self.listener.accept_now() {
                Ok(None) => ready.clear_ready(),
                Ok(Some(stream)) => return Poll::Ready(Ok(stream)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
