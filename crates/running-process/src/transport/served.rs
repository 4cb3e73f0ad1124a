//! Reading and writing for tokio, and an accepted connection.

use super::imp::{AsyncStream, AsyncWait, LocalStream, into_async};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A connection that one task reads and writes.
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

    /// Reads what has arrived into the start of `buf`, at least one byte; 0 is the end of the stream.
    pub(crate) fn poll_read(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let room = self.wait.room(buf.len());
        if room == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut buf = ReadBuf::new(&mut buf[..room]);
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, &mut buf) else {
            // Nothing is there. Where the system does not end the reading, it ends here.
            ready!(self.wait.poll_interrupted(&self.stream, context));
            return Poll::Ready(Ok(0));
        };
        let read = end_is_no_error(read.map(|()| buf.filled().len()));
        self.wait.has_read(*read.as_ref().unwrap_or(&0));
        Poll::Ready(read)
    }

    /// [`poll_read`](Self::poll_read) into the room that `buffer` has behind its end, of which there is some, unless
    /// reading was interrupted.
    pub(crate) fn poll_read_onto(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        poll_read_onto(&mut self.stream, context, buffer)
    }

    /// Writes the start of `pieces`, of which one at least is not empty.
    pub(crate) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.wait.try_write(&self.stream, pieces) {
            Some(written) => Poll::Ready(written),
            None => poll_write(&mut self.stream, context, pieces),
        }
    }

    /// Ends reading: what was received before can still be read, then comes 0. A read that waits is to be polled again.
    pub(crate) fn interrupt_reads(&mut self) {
        self.wait.interrupt(&self.stream);
    }

    /// Whether the other side, whose end of the stream was read, is gone for good. It may have only ended writing, or
    /// the reading was interrupted.
    pub(crate) fn is_gone(&self) -> bool {
        self.wait.is_gone(&self.stream)
    }

    /// Waits until the other side [is gone](Self::is_gone).
    pub(crate) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.wait.poll_gone(&self.stream, context)
    }

    /// Tells the other side that nothing more will be written, where that is possible.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        AsyncWait::shutdown_write(&self.stream)
    }
}

/// Reads what has arrived into the room that `buffer` has behind its end, of which there is some; 0 is the end of the
/// stream. The runtime notes that nothing more is there if that does not fill the room, so asking again is free.
pub(crate) fn poll_read_onto(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    pin!(stream.read_buf(buffer)).poll(context).map(end_is_no_error)
}

/// Writes the start of `pieces`, of which one at least is not empty.
pub(crate) fn poll_write(
    stream: &mut AsyncStream,
    context: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let first = pieces.iter().find(|piece| !piece.is_empty()).map_or(&[][..], |piece| piece);
    if pieces.len() > 1 && stream.is_write_vectored() {
        Pin::new(stream).poll_write_vectored(context, pieces)
    } else {
        Pin::new(stream).poll_write(context, AsyncWait::piece(first))
    }
}

/// A read from a Windows pipe says so where the other side has closed.
fn end_is_no_error(read: io::Result<usize>) -> io::Result<usize> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        read => read,
    }
}
