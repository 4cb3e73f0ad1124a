//! Unix-domain sockets for tokio.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use tokio::io::{Interest, unix::AsyncFd};

use super::super::accepted::Accepted;
use super::super::error::ConnectError;
use super::super::incoming::Incoming;
use super::arrived;
use super::descriptors::{receive_with, send_with};
use super::listener::Listener;
use super::socket::SEND;
use super::stream::{Stream, connected, is_hung_up};
use crate::sys::{self, Peer, PeerError, PidfdPolicy};

/// A connection that belongs to a task.
///
/// Write readiness is registered only once a write has had to wait. Otherwise the task would wake with every piece that
/// the peer has read.
#[derive(Debug)]
pub(crate) struct AsyncStream {
    /// `None` only after the runtime has refused the socket.
    watched: Option<AsyncFd<OwnedFd>>,
    pub(super) watches_writing: bool,
    /// The last write did not fit, and the runtime has reported no write readiness since.
    pub(super) full: bool,
}

impl AsyncStream {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let watched = Some(sys::watch_owned(socket, Interest::READABLE)?);
        Ok(Self { watched, watches_writing: false, full: false })
    }

    pub(super) fn watched(&self) -> io::Result<&AsyncFd<OwnedFd>> {
        self.watched.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Registers write readiness as well. A task that waits for a read polls it again.
    pub(super) fn watch_writing(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.watches_writing, true)
            && let Some(watched) = self.watched.take()
        {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.watched = Some(sys::watch_owned(watched.into_inner(), interest)?);
        }
        Ok(())
    }

    /// Calls `receive` once bytes have arrived, or the end of the stream. If they do not fill the `room`, read
    /// readiness is cleared, so that the next poll costs no system call.
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        room: usize,
        mut receive: impl FnMut(&OwnedFd) -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        self.poll_receive_until(context, |socket| receive(socket).map(|received| (received, received < room)))
    }

    /// Calls `receive` as [`poll_receive`](Self::poll_receive) does. It returns as well whether it has emptied the socket.
    fn poll_receive_until(
        &self,
        context: &mut Context<'_>,
        mut receive: impl FnMut(&OwnedFd) -> Result<(usize, bool), Errno>,
    ) -> Poll<io::Result<usize>> {
        let watched = self.watched()?;
        loop {
            let mut ready = ready!(watched.poll_read_ready(context))?;
            match receive(watched.get_ref()) {
                Ok((received, is_emptied)) => {
                    if received > 0 && is_emptied {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(Errno::WOULDBLOCK) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

/// Reads what has arrived into the start of `buf`, which is not empty; 0 is the end of the stream.
pub(in crate::transport) fn poll_read(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    stream.poll_receive(context, buf.len(), |socket| {
        recv(socket, &mut *buf, RecvFlags::empty()).map(|(_, received)| received)
    })
}

/// Appends what has arrived to `buffer`, which has spare capacity; 0 is the end of the stream.
pub(crate) fn poll_read_onto(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    stream.poll_receive(context, buffer.capacity() - buffer.len(), |socket| {
        recv(socket, spare_capacity(buffer), RecvFlags::empty()).map(|(_, received)| received)
    })
}

/// Reads as [`poll_read`] does, and takes the descriptors that come along.
pub(in crate::transport) fn poll_read_with(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buf: &mut [u8],
    incoming: &mut Incoming,
) -> Poll<io::Result<usize>> {
    let room = buf.len();
    stream.poll_receive_until(context, |socket| {
        let received = receive_with(socket, buf, RecvFlags::empty(), incoming)?;
        // A read ends at the bytes with descriptors, however much is there.
        Ok((received, received < room && !incoming.is_any()))
    })
}

/// Reads as [`read_arrived`] does, and takes the descriptors that come along.
pub(in crate::transport) fn read_arrived_with(
    stream: &AsyncStream,
    buf: &mut [u8],
    incoming: &mut Incoming,
) -> io::Result<usize> {
    let socket = stream.watched()?.get_ref();
    arrived::at_once(|| receive_with(socket, buf, RecvFlags::DONTWAIT, incoming))
}

/// Reads what has arrived into the start of `buf`, which is not empty, without asking the runtime. The runtime of a
/// process that was stopped finds that a deadline has passed before it asks the system what has arrived.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`] if nothing has arrived; otherwise the error of the system.
pub(in crate::transport) fn read_arrived(stream: &AsyncStream, buf: &mut [u8]) -> io::Result<usize> {
    let socket = stream.watched()?.get_ref();
    arrived::at_once(|| recv(socket, &mut *buf, RecvFlags::DONTWAIT).map(|(_, received)| received))
}

/// Reads as [`read_arrived`] does, and appends to `buffer`, which has spare capacity.
pub(crate) fn read_arrived_onto(stream: &AsyncStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let socket = stream.watched()?.get_ref();
    arrived::at_once(|| {
        recv(socket, spare_capacity(buffer), RecvFlags::DONTWAIT).map(|(_, received)| received)
    })
}

/// Makes the next [`poll_write`] try the system, without asking the runtime.
pub(in crate::transport) fn retry_write(stream: &mut AsyncStream) {
    stream.full = false;
}

/// Writes the start of `pieces`, of which at least one is not empty.
pub(crate) fn poll_write(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    poll_send(stream, context, |socket| match pieces {
        [piece] => send(socket, piece, SEND),
        pieces => sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), SEND),
    })
}

/// Writes as [`poll_write`] does, and sends copies of `descriptors` with the first byte.
pub(in crate::transport) fn poll_write_with(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
    descriptors: &[OwnedFd],
) -> Poll<io::Result<usize>> {
    let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    poll_send(stream, context, |socket| send_with(socket, pieces, &borrowed, SEND))
}

#[inline]
fn poll_send(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    write: impl Fn(&OwnedFd) -> Result<usize, Errno>,
) -> Poll<io::Result<usize>> {
    loop {
        let watched = stream.watched()?;
        if stream.full {
            ready!(watched.poll_write_ready(context))?.clear_ready();
        }
        let written = write(watched.get_ref());
        stream.full = written == Err(Errno::WOULDBLOCK);
        match written {
            Err(Errno::WOULDBLOCK) => stream.watch_writing()?,
            Err(Errno::INTR) => {}
            written => return Poll::Ready(Ok(written?)),
        }
    }
}

/// Connects as [`Stream::connect`] does, for tokio. It does not wait, so it is no async function.
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn connect_async(path: &str) -> Result<AsyncStream, ConnectError> {
    let socket = connected(path)?;
    #[cfg(target_vendor = "apple")]
    let _ = rustix::net::sockopt::set_socket_nosigpipe(&socket, true);
    AsyncStream::new(socket)
        .map_err(|error| ConnectError::Io { path: path.to_owned(), source: Arc::new(error) })
}

pub(crate) fn into_async(stream: Stream) -> io::Result<AsyncStream> {
    let socket = UnixStream::from(stream);
    socket.set_nonblocking(true)?;
    AsyncStream::new(socket.into())
}

/// A connection that is registered with the runtime for a while. It stays in its mode; no call on it blocks.
pub(crate) struct AsyncBorrow<'s>(AsyncFd<BorrowedFd<'s>>);

impl Stream {
    pub(crate) fn as_async(&self) -> io::Result<AsyncBorrow<'_>> {
        sys::watch(self.as_fd(), Interest::READABLE | Interest::WRITABLE).map(AsyncBorrow)
    }
}

impl AsyncBorrow<'_> {
    /// Writes all of `bytes`.
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

    /// Reads into `buf`, which is not empty, and returns the writer, as [`Stream::read_named_deadline`] does.
    pub(crate) async fn read_named(
        &self,
        buf: &mut [u8],
        pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        let flags = RecvFlags::DONTWAIT;
        let read = |socket: &BorrowedFd<'_>| {
            Ok(retry_on_intr(|| sys::recv_named(socket.as_fd(), buf, flags, pidfds))?)
        };
        self.0.async_io(Interest::READABLE, read).await
    }
}

/// The state of waiting for the end of a connection: none, because the system ends it.
#[derive(Debug, Default)]
pub(in crate::transport) struct AsyncWait {}

#[allow(clippy::unused_self, reason = "pipes keep something here")]
impl AsyncWait {
    /// Ends reading through the system.
    pub(in crate::transport) fn interrupt(&mut self, stream: &AsyncStream) {
        // It fails only if the connection has ended by itself.
        let _ = stream.watched().map(|watched| shutdown(watched.get_ref(), Shutdown::Read));
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

    pub(in crate::transport) fn is_gone(&self, stream: &AsyncStream) -> bool {
        let hung_up =
            stream.watched().and_then(|watched| is_hung_up(watched.get_ref(), Some(Instant::now())));
        hung_up.unwrap_or(true)
    }

    pub(in crate::transport) fn poll_gone(
        &mut self,
        stream: &mut AsyncStream,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        // macOS does not report it, and write readiness would not end the wait.
        if cfg!(target_vendor = "apple") {
            return Poll::Pending;
        }
        // A hang-up is reported as write readiness.
        while !self.is_gone(stream) && stream.watch_writing().is_ok() {
            let Ok(watched) = stream.watched() else { break };
            let Ok(mut room) = ready!(watched.poll_write_ready(context)) else { break };
            room.clear_ready();
            if std::mem::take(&mut stream.full) {
                // A write waited for this.
                context.waker().wake_by_ref();
            }
        }
        Poll::Ready(())
    }

    /// Registers write readiness early: later, a read that waits in another task would not be polled again.
    pub(in crate::transport) fn split(stream: &mut AsyncStream) {
        // The next read or write returns the error.
        let _ = stream.watch_writing();
    }

    pub(in crate::transport) fn shutdown_write(stream: &AsyncStream) -> io::Result<()> {
        Ok(shutdown(stream.watched()?.get_ref(), Shutdown::Write)?)
    }
}

type Registered = AsyncFd<OwnedFd>;

/// Registers copies of the descriptors of `listener` and of the watch of its name, where the system has one.
fn registered(listener: &Listener) -> io::Result<(Registered, Option<Registered>)> {
    let watched = |fd: BorrowedFd<'_>| sys::watch_owned(fd.try_clone_to_owned()?, Interest::READABLE);
    let watch = listener.name_events().map(watched).transpose()?;
    Ok((watched(listener.as_fd())?, watch))
}

/// [`Listener`] for tokio.
#[derive(Debug)]
pub(crate) struct AsyncListener {
    /// Another descriptor of the same socket.
    ready: Registered,
    /// Another descriptor of the watch of the listener's name, where the system has one.
    watch: Option<Registered>,
    listener: Listener,
}

impl AsyncListener {
    pub(crate) fn new(listener: Listener) -> io::Result<Self> {
        let (ready, watch) = registered(&listener)?;
        Ok(Self { ready, watch, listener })
    }

    /// Returns the listener, to close it.
    #[expect(clippy::unnecessary_wraps, reason = "a thread may have it on Windows")]
    pub(crate) fn into_inner(self) -> Option<Listener> {
        Some(self.listener)
    }

    pub(crate) fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Accepted<Stream>>> {
        if self.listener.is_newly_watched() && self.listener.is_name_lost() {
            return Poll::Ready(Ok(Accepted::NameLost));
        }
        if let Some(watch) = &self.watch {
            while let Poll::Ready(Ok(mut ready)) = watch.poll_read_ready(context) {
                ready.clear_ready();
                if self.listener.is_name_lost() {
                    return Poll::Ready(Ok(Accepted::NameLost));
                }
            }
        }
        loop {
            let mut ready = ready!(self.ready.poll_read_ready(context))?;
            match self.listener.accept_now() {
                Ok(None) => ready.clear_ready(),
                Ok(Some(stream)) => return Poll::Ready(Ok(Accepted::Connection(stream))),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
