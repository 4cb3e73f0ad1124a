//! Connections and listeners for tokio.

use super::accepted::Accepted;
use super::imp::{
    self, AsyncStream, AsyncWait, poll_read, poll_read_onto, poll_write, read_arrived, retry_write,
};
use super::listener::LocalListener;
use super::stream::LocalStream;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

/// Hands the connection to the runtime.
///
/// # Platform-specific behavior
///
/// On Unix the socket stops blocking, for clones as well, which then wait with poll(2). On Windows a pipe belongs to at
/// most one runtime, so its clones cannot follow.
///
/// # Panics
///
/// Outside a runtime that drives I/O.
pub(crate) fn into_async(stream: LocalStream) -> io::Result<AsyncStream> {
    imp::into_async(stream.0)
}

impl LocalStream {
    /// Lets a task use the connection until the result is dropped. The connection is bound to no runtime by that.
    ///
    /// # Errors
    ///
    /// The runtime does not watch the socket; none on Windows.
    ///
    /// # Panics
    ///
    /// Outside a runtime that drives I/O.
    pub(crate) fn as_async(&self) -> io::Result<imp::AsyncBorrow<'_>> {
        self.0.as_async()
    }
}

/// A [`LocalListener`] for tokio.
#[derive(Debug)]
pub(crate) struct AsyncListener(imp::AsyncListener);

impl AsyncListener {
    /// Hands the listener to the runtime.
    ///
    /// # Panics
    ///
    /// Outside a runtime that drives I/O.
    pub(crate) fn new(listener: LocalListener) -> io::Result<Self> {
        imp::AsyncListener::new(listener.0).map(Self)
    }

    /// Waits for the next connection, or until the name is lost.
    ///
    /// # Errors
    ///
    /// The error of the system. The listener is as good as before then, and the connection still waits.
    pub(crate) fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Accepted<LocalStream>>> {
        self.0.poll_accept(context).map_ok(|accepted| accepted.map(LocalStream))
    }
}

/// A connection that one task reads and writes.
#[derive(Debug)]
pub(crate) struct AcceptedStream {
    stream: AsyncStream,
    wait: AsyncWait,
}

impl AcceptedStream {
    /// Hands the connection to the runtime.
    ///
    /// # Panics
    ///
    /// Outside a runtime that drives I/O.
    pub(crate) fn new(stream: LocalStream) -> io::Result<Self> {
        Ok(Self { stream: into_async(stream)?, wait: AsyncWait::default() })
    }

    /// Reads what has arrived into the start of `buf`, at least one byte; 0 is the end of the stream.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = self.wait.room(buf.len());
        if room == 0 {
            return Poll::Ready(Ok(0));
        }
        let Poll::Ready(read) = poll_read(&mut self.stream, context, &mut buf[..room]) else {
            // Nothing has arrived. Where the system does not end reading, it ends here.
            ready!(self.wait.poll_interrupted(&self.stream, context));
            return Poll::Ready(Ok(0));
        };
        self.wait.has_read(*read.as_ref().unwrap_or(&0));
        Poll::Ready(read)
    }

    /// Reads as [`poll_read`](Self::poll_read) does and appends to `buffer`, which has spare capacity, unless reading
    /// was interrupted.
    pub(crate) fn poll_read_onto(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        poll_read_onto(&mut self.stream, context, buffer)
    }

    /// Reads what has arrived into the start of `buf`, which is not empty, without asking the runtime.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if nothing has arrived; otherwise the error of the system.
    pub(crate) fn read_arrived(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        read_arrived(&self.stream, buf)
    }

    /// Makes the next [`poll_write`](Self::poll_write) try the system, without asking the runtime.
    pub(crate) fn retry_write(&mut self) {
        retry_write(&mut self.stream);
    }

    /// Writes the start of `pieces`, of which at least one is not empty.
    pub(crate) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        poll_write(&mut self.stream, context, pieces)
    }

    /// Prepares the connection for two tasks, one that reads and one that writes.
    pub(crate) fn split(&mut self) {
        AsyncWait::split(&mut self.stream);
    }

    /// Ends reading: what was received before can still be read, then comes 0. A task that waits for a read polls it
    /// again.
    pub(crate) fn interrupt_reads(&mut self) {
        self.wait.interrupt(&self.stream);
    }

    /// Returns whether the peer, whose end of the stream was read, is gone for good. It may have only ended writing, or
    /// the reading was interrupted.
    pub(crate) fn is_gone(&self) -> bool {
        self.wait.is_gone(&self.stream)
    }

    /// Waits until the peer [is gone](Self::is_gone).
    pub(crate) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.wait.poll_gone(&mut self.stream, context)
    }

    /// Tells the peer that nothing more will be written, where that is possible.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        AsyncWait::shutdown_write(&self.stream)
    }
}
