//! Named pipes for tokio.

use std::io::{self, IoSlice};
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::windows::named_pipe::NamedPipeClient;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::super::accepted::Accepted;
use super::super::error::ConnectError;
use super::super::error::timed_out;
use super::listener::Listener;
use super::stop::StopEvent;
use super::stream::{Stream, connected, is_end, write_error};
use crate::sys::{Peer, PeerError, PidfdPolicy, windows_async, windows_pipe};

/// A connection that belongs to a task.
#[derive(Debug)]
pub(crate) struct AsyncStream {
    pipe: NamedPipeClient,
    /// The peer has closed its end. All that may still arrive is what the runtime had begun to read before.
    closed: bool,
}

impl AsyncStream {
    fn new(pipe: OwnedHandle) -> io::Result<Self> {
        Ok(Self { pipe: windows_pipe::asynchronous(pipe)?, closed: false })
    }

    /// Calls `poll` until it has read bytes, or the end of the stream.
    ///
    /// The runtime returns 0 both for the end and for an empty write of the peer, with which nothing has arrived and
    /// nothing has ended. So this asks the system. Because the runtime reads ahead, it polls once more after the system
    /// has reported the end.
    fn poll_receive(
        &mut self,
        mut poll: impl FnMut(Pin<&mut NamedPipeClient>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match ready!(poll(Pin::new(&mut self.pipe))) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Poll::Ready(Ok(0)),
                Ok(0) if self.closed => return Poll::Ready(Ok(0)),
                Ok(0) => self.closed = windows_pipe::arrived(self.pipe.as_handle()).is_err(),
                read => return Poll::Ready(read),
            }
        }
    }
}

/// Connects as [`Stream::connect`] does, for tokio. It does not wait, so it is no async function.
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn connect_async(path: &str) -> Result<AsyncStream, ConnectError> {
    AsyncStream::new(connected(path)?)
        .map_err(|error| ConnectError::Io { path: path.to_owned(), source: Arc::new(error) })
}

pub(crate) fn into_async(stream: Stream) -> io::Result<AsyncStream> {
    AsyncStream::new(stream.into_pipe()?)
}

/// Reads what has arrived into the start of `buf`, which is not empty; 0 is the end of the stream.
pub(in crate::transport) fn poll_read(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    stream.poll_receive(|pipe| {
        let mut buf = ReadBuf::new(buf);
        pipe.poll_read(context, &mut buf).map_ok(|()| buf.filled().len())
    })
}

/// Appends what has arrived to `buffer`, which has spare capacity; 0 is the end of the stream.
pub(crate) fn poll_read_onto(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    stream.poll_receive(|pipe| pin!(pipe.get_mut().read_buf(buffer)).poll(context))
}

/// Reads nothing: the runtime itself reads ahead, so nothing else has arrived.
///
/// # Errors
///
/// [`io::ErrorKind::TimedOut`].
pub(in crate::transport) fn read_arrived(_: &AsyncStream, _: &mut [u8]) -> io::Result<usize> {
    Err(timed_out())
}

/// Reads nothing, as [`read_arrived`].
pub(crate) fn read_arrived_onto(_: &AsyncStream, _: &mut Vec<u8>) -> io::Result<usize> {
    Err(timed_out())
}

/// Does nothing: [`poll_write`] asks the runtime in any case.
pub(in crate::transport) fn retry_write(_: &mut AsyncStream) {}

/// Writes the start of `pieces`, of which at least one is not empty.
pub(crate) fn poll_write(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
    Pin::new(&mut stream.pipe).poll_write(context, &first[..first.len().min(MAX_WRITE)])
}

/// A connection that a task uses for a while. It is bound to no runtime by that.
pub(crate) struct AsyncBorrow<'s>(BorrowedHandle<'s>);

impl Stream {
    #[allow(clippy::unnecessary_wraps, reason = "the portable type has errors")]
    pub(crate) fn as_async(&self) -> io::Result<AsyncBorrow<'_>> {
        Ok(AsyncBorrow(self.as_handle()))
    }
}

impl AsyncBorrow<'_> {
    /// Writes all of `bytes`.
    pub(crate) async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = windows_async::write(self.0, rest).await.map_err(write_error)?;
            rest = &rest[written..];
        }
        Ok(())
    }

    /// Reads into `buf`, which is not empty, and returns the writer, as [`Stream::read_named_deadline`] does.
    pub(crate) async fn read_named(
        &self,
        buf: &mut [u8],
        _pidfds: PidfdPolicy,
    ) -> io::Result<(usize, Option<Result<Peer, PeerError>>)> {
        loop {
            match windows_async::read(self.0, buf.len()).await {
                // An empty write of the peer: nothing has arrived and nothing has ended.
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    buf[..bytes.len()].copy_from_slice(&bytes);
                    return Ok((bytes.len(), Some(Err(PeerError::Unsupported))));
                }
                Err(error) if is_end(&error) => return Ok((0, None)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Time without input after which an interrupted connection counts as ended. What was written before is on its way
/// through the runtime, which does not tell when the last of it has come.
const END_AFTER_QUIET: Duration = Duration::from_millis(50);

/// Upper bound of what the runtime reads ahead, in bytes.
const READ_AHEAD: usize = 64 * 1024;

/// Maximum number of bytes in one write: the runtime copies all that it is given, however slow the reader is.
const MAX_WRITE: usize = 64 * 1024;

/// The state of waiting for the end of a connection.
#[derive(Debug, Default)]
pub(in crate::transport) struct AsyncWait {
    interrupted: bool,
    /// Maximum number of bytes still to be read after reading was interrupted: the peer may go on to write.
    left: usize,
    quiet: Option<Pin<Box<Sleep>>>,
}

impl AsyncWait {
    pub(in crate::transport) fn interrupt(&mut self, stream: &AsyncStream) {
        if !std::mem::replace(&mut self.interrupted, true) {
            // An error means that the connection has ended.
            self.left = windows_pipe::arrived(stream.pipe.as_handle()).unwrap_or(0) + READ_AHEAD;
        }
    }

    /// Returns how many of `room` bytes may be read.
    pub(in crate::transport) fn room(&self, room: usize) -> usize {
        if self.interrupted { room.min(self.left) } else { room }
    }

    /// Waits until nothing has arrived for a while since reading was interrupted.
    pub(in crate::transport) fn poll_interrupted(
        &mut self,
        _: &AsyncStream,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if !self.interrupted {
            return Poll::Pending;
        }
        self.quiet.get_or_insert_with(|| Box::pin(tokio::time::sleep(END_AFTER_QUIET))).as_mut().poll(context)
    }

    pub(in crate::transport) fn has_read(&mut self, length: usize) {
        self.left = self.left.saturating_sub(length);
        self.quiet = None;
    }

    /// Returns whether reading was not interrupted: a client cannot half-close its end, so the end of the stream means
    /// that it is gone.
    pub(in crate::transport) fn is_gone(&self, _: &AsyncStream) -> bool {
        !self.interrupted
    }

    /// Waits for ever: a pipe that no task reads does not tell; the next write does.
    #[allow(clippy::unused_self, reason = "sockets tell")]
    pub(in crate::transport) fn poll_gone(&mut self, _: &mut AsyncStream, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    pub(in crate::transport) fn split(_: &mut AsyncStream) {}

    pub(in crate::transport) fn shutdown_write(_: &AsyncStream) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a named pipe cannot be closed in one direction"))
    }
}

/// [`Listener`] for tokio: a thread accepts, because one call waits for the events of all instances.
#[derive(Debug)]
pub(crate) struct AsyncListener {
    accepted: mpsc::Receiver<io::Result<Stream>>,
    stop: Arc<StopEvent>,
    /// Returns the listener, and the connection that was not taken.
    thread: Option<thread::JoinHandle<(Listener, Option<Stream>)>>,
}

impl AsyncListener {
    pub(crate) fn new(listener: Listener) -> io::Result<Self> {
        let stop = Arc::new(StopEvent::new()?);
        // One at a time: a connection that the task does not take yet waits in the pipe's own backlog.
        let (sender, accepted) = mpsc::channel(1);
        let stopped = Arc::clone(&stop);
        let accept = move || loop {
            let connection = match listener.next(&stopped) {
                Ok(Accepted::Connection(stream)) => Ok(stream),
                Ok(Accepted::NameLost) => continue,
                Ok(Accepted::Stopped) => return (listener, None),
                Err(error) => Err(error),
            };
            if let Err(refused) = sender.blocking_send(connection) {
                return (listener, refused.0.ok());
            }
        };
        let thread = thread::Builder::new().name("running-process-accept".to_owned()).spawn(accept)?;
        Ok(Self { accepted, stop, thread: Some(thread) })
    }

    /// Returns the listener, to close it; `None` if the thread has panicked.
    pub(crate) fn into_inner(mut self) -> Option<Listener> {
        let (listener, last) = self.end()?;
        while let Ok(accepted) = self.accepted.try_recv() {
            listener.keep(accepted.ok());
        }
        listener.keep(last);
        Some(listener)
    }

    fn end(&mut self) -> Option<(Listener, Option<Stream>)> {
        self.stop.stop();
        self.accepted.close();
        // A panic of the thread makes no difference any more.
        self.thread.take().and_then(|thread| thread.join().ok())
    }

    pub(crate) fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Accepted<Stream>>> {
        let ended = || Err(io::Error::other("the thread that accepts has ended"));
        let connection = self.accepted.poll_recv(context);
        connection.map(|connection| connection.unwrap_or_else(ended).map(Accepted::Connection))
    }
}

/// The endpoint is free once the listener is gone.
impl Drop for AsyncListener {
    fn drop(&mut self) {
        drop(self.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tests::pair;

    /// Returns the result of a read for which the runtime gives `polls`, one after the other.
    fn receive(stream: &mut AsyncStream, polls: &[Poll<usize>]) -> Poll<usize> {
        let mut polls = polls.iter();
        let read = stream.poll_receive(|_| polls.next().expect("it asks no further").map(Ok));
        assert_eq!(polls.len(), 0, "it did not ask for all");
        read.map(|read| read.expect("nothing fails"))
    }

    #[test]
    fn nothing_read_is_the_end_only_once_the_other_side_has_closed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let (client, server) = pair();
        let mut stream = into_async(client.0).expect("the runtime takes it");
        let [nothing, three] = [Poll::Ready(0), Poll::Ready(3)];
        assert_eq!(receive(&mut stream, &[nothing, nothing, three]), three);
        assert_eq!(receive(&mut stream, &[nothing, Poll::Pending]), Poll::Pending);
        drop(server);
        // The runtime had begun this read before.
        assert_eq!(receive(&mut stream, &[nothing, three]), three);
        assert_eq!(receive(&mut stream, &[nothing]), nothing);
    }
}
