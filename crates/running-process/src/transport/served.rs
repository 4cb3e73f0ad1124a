//! An accepted connection for tokio.

use super::imp::{AsyncStream, AsyncWait, LocalStream, into_async};
use std::io;
use std::task::{Context, Poll, ready};

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
        loop {
            let Poll::Ready(ready) = self.stream.poll_read_ready(context) else {
                // Nothing is there. Where the system does not end the reading, it ends here.
                ready!(self.wait.poll_interrupted(&self.stream, context));
                return Poll::Ready(Ok(0));
            };
            match ready.and_then(|()| self.stream.try_read(&mut buf[..room])) {
                Err(error) if is_passing(&error) => {}
                // The end of a Windows pipe; no other read says so.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Poll::Ready(Ok(0)),
                read => {
                    self.wait.has_read(*read.as_ref().unwrap_or(&0));
                    return Poll::Ready(read);
                }
            }
        }
    }

    /// Writes the start of `bytes`.
    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(written) = self.wait.try_write(&self.stream, bytes) {
            return Poll::Ready(written);
        }
        loop {
            let ready = ready!(self.stream.poll_write_ready(context));
            match ready.and_then(|()| self.stream.try_write(AsyncWait::piece(bytes))) {
                Err(error) if is_passing(&error) => {}
                written => return Poll::Ready(written),
            }
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

/// Whether to try again once the system says that it is ready.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
