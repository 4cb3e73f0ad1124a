//! Accepted connections for tokio.

use super::asynchronous::{into_async, poll_read_with, poll_write_with, read_arrived_with};
use super::imp::{AsyncStream, AsyncWait, poll_read, poll_read_onto, poll_write, read_arrived, retry_write};
use super::incoming::Incoming;
use super::stream::LocalStream;
use crate::descriptor::{Descriptor, PASSES_DESCRIPTORS};
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

/// A connection that one task reads and writes.
pub(crate) trait ServedTransport: Send + 'static {
    /// Reads what has arrived into the start of `buf`, at least one byte; 0 is the end of the stream.
    fn poll_read(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// [`poll_read`](Self::poll_read) into the room that `buffer` has behind its end, of which there is some, unless
    /// reading was interrupted.
    fn poll_read_onto(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>>;

    /// Reads what has arrived into the start of `buf`, which is not empty, even if the runtime has not noticed it yet.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if nothing has arrived; otherwise the error of the system.
    fn read_arrived(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> io::Result<usize>;

    /// Makes the next [`poll_write`](Self::poll_write) try whether there is room, even if the runtime has not noticed any.
    fn retry_write(&mut self);

    /// Writes the start of `slices`, of which one at least is not empty. After `Pending`, the slices of the next call begin
    /// with the same bytes.
    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Returns whether descriptors come and go with the bytes.
    fn passes_descriptors(&self) -> bool {
        false
    }

    /// [`poll_read`](Self::poll_read), with the descriptors that come along.
    fn poll_read_with(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut [u8],
        _: &mut Incoming,
    ) -> Poll<io::Result<usize>> {
        self.poll_read(context, buf)
    }

    /// [`read_arrived`](Self::read_arrived), with the descriptors that come along.
    fn read_arrived_with(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut [u8],
        _: &mut Incoming,
    ) -> io::Result<usize> {
        self.read_arrived(context, buf)
    }

    /// [`poll_write`](Self::poll_write), with copies of `descriptors`, which go with the first byte. There are none unless it
    /// [passes descriptors](Self::passes_descriptors).
    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        descriptors: &[Descriptor],
    ) -> Poll<io::Result<usize>> {
        debug_assert!(descriptors.is_empty(), "no descriptors pass here");
        self.poll_write(context, slices)
    }

    /// Ends reading: what was received before can still be read, then comes 0. A read that waits is to be polled again.
    fn interrupt_reads(&mut self);

    /// Returns whether the other side, whose end of the stream was read, is gone for good. It may have only ended writing, or
    /// the reading was interrupted.
    fn is_gone(&self) -> bool;

    /// Waits until the other side [is gone](Self::is_gone).
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()>;

    /// Allows that two tasks use the connection from now on, one to read and one to write. What a write takes is then flushed
    /// by [`poll_flush`](Self::poll_flush) only, and slices may differ after `Pending`.
    fn split(&mut self);

    /// Returns the socket, if it is one of this system's own kind.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn socket(&mut self) -> Option<&mut AsyncStream>;

    /// Flushes what was written.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells the other side that nothing more will be written, where that is possible.
    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A connection of this system's own kind.
#[derive(Debug)]
pub(crate) struct ServedStream {
    stream: AsyncStream,
    wait: AsyncWait,
}

impl ServedStream {
    /// # Panics
    ///
    /// Outside a runtime that drives I/O.
    pub(crate) fn new(stream: LocalStream) -> io::Result<Self> {
        Ok(Self { stream: into_async(stream)?, wait: AsyncWait::default() })
    }
}

impl ServedStream {
    #[inline]
    fn poll_read_by(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut [u8],
        read: impl FnOnce(&mut AsyncStream, &mut Context<'_>, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let room = self.wait.room(buf.len());
        if room == 0 {
            return Poll::Ready(Ok(0));
        }
        let Poll::Ready(read) = read(&mut self.stream, context, &mut buf[..room]) else {
            // Nothing is there. Where the system does not end the reading, it ends here.
            ready!(self.wait.poll_interrupted(&self.stream, context));
            return Poll::Ready(Ok(0));
        };
        self.wait.has_read(*read.as_ref().unwrap_or(&0));
        Poll::Ready(read)
    }
}

impl ServedTransport for ServedStream {
    fn poll_read(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read_by(context, buf, poll_read)
    }

    fn poll_read_onto(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        poll_read_onto(&mut self.stream, context, buffer)
    }

    fn read_arrived(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> io::Result<usize> {
        read_arrived(&self.stream, buf)
    }

    fn retry_write(&mut self) {
        retry_write(&mut self.stream);
    }

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        poll_write(&mut self.stream, context, slices)
    }

    fn passes_descriptors(&self) -> bool {
        PASSES_DESCRIPTORS
    }

    fn poll_read_with(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut [u8],
        incoming: &mut Incoming,
    ) -> Poll<io::Result<usize>> {
        self.poll_read_by(context, buf, |stream, context, buf| poll_read_with(stream, context, buf, incoming))
    }

    fn read_arrived_with(
        &mut self,
        _: &mut Context<'_>,
        buf: &mut [u8],
        incoming: &mut Incoming,
    ) -> io::Result<usize> {
        read_arrived_with(&self.stream, buf, incoming)
    }

    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        descriptors: &[Descriptor],
    ) -> Poll<io::Result<usize>> {
        poll_write_with(&mut self.stream, context, slices, descriptors)
    }

    fn interrupt_reads(&mut self) {
        self.wait.interrupt(&self.stream);
    }

    fn is_gone(&self) -> bool {
        self.wait.is_gone(&self.stream)
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.wait.poll_gone(&mut self.stream, context)
    }

    fn split(&mut self) {
        AsyncWait::split(&mut self.stream);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn socket(&mut self) -> Option<&mut AsyncStream> {
        Some(&mut self.stream)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(AsyncWait::shutdown_write(&self.stream))
    }
}
