//! Any byte stream of tokio's as an accepted connection.

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::imp::AsyncStream;
use super::served::ServedTransport;
use super::timed_out;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// Time without a byte after which an interrupted reading has ended: the stream does not tell how much is on its way.
const QUIET: Duration = Duration::from_millis(50);

/// Most bytes that are read after an interruption: the other side may send on and on.
const MAX_INTERRUPTED_BYTES: usize = 256 * 1024;

/// A byte stream that a caller accepted.
#[derive(Debug)]
pub(crate) struct ServedIo<T> {
    io: T,
    /// Bytes that were written and not flushed; they do not count as written yet.
    unflushed: usize,
    split: bool,
    interrupted: Option<Interrupted>,
}

#[derive(Debug)]
struct Interrupted {
    /// Bytes that are still read at most.
    left: usize,
    quiet: Option<Pin<Box<Sleep>>>,
}

impl<T> ServedIo<T> {
    pub(crate) fn new(io: T) -> Self {
        Self { io, unflushed: 0, split: false, interrupted: None }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> ServedTransport for ServedIo<T> {
    fn poll_read(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { io, interrupted, .. } = self;
        let room = interrupted.as_ref().map_or(buf.len(), |interrupted| interrupted.left.min(buf.len()));
        if room == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut buf = ReadBuf::new(&mut buf[..room]);
        let Some(interrupted) = interrupted else {
            ready!(Pin::new(io).poll_read(context, &mut buf))?;
            return Poll::Ready(Ok(buf.filled().len()));
        };
        // A task that has used up its budget would find nothing there.
        let read =
            unconstrained(std::future::poll_fn(|context| Pin::new(&mut *io).poll_read(context, &mut buf)));
        match pin!(read).poll(context) {
            Poll::Ready(read) => read?,
            Poll::Pending => {
                let quiet = interrupted.quiet.get_or_insert_with(|| Box::pin(tokio::time::sleep(QUIET)));
                ready!(quiet.as_mut().poll(context));
            }
        }
        interrupted.left -= buf.filled().len();
        interrupted.quiet = None;
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn poll_read_onto(&mut self, context: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        pin!(self.io.read_buf(buffer)).poll(context)
    }

    fn read_arrived(&mut self, context: &mut Context<'_>, buf: &mut [u8]) -> io::Result<usize> {
        match self.poll_read(context, buf) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(timed_out()),
        }
    }

    fn retry_write(&mut self) {}

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.unflushed == 0 {
            let written = ready!(Pin::new(&mut self.io).poll_write_vectored(context, slices))?;
            if self.split {
                return Poll::Ready(Ok(written));
            }
            self.unflushed = written;
        }
        ready!(self.poll_flush(context))?;
        Poll::Ready(Ok(std::mem::take(&mut self.unflushed)))
    }

    fn interrupt_reads(&mut self) {
        self.interrupted.get_or_insert(Interrupted { left: MAX_INTERRUPTED_BYTES, quiet: None });
    }

    /// A stream does not tell whether its other side has only ended writing. The next write does.
    fn is_gone(&self) -> bool {
        false
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn split(&mut self) {
        self.split = true;
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn socket(&mut self) -> Option<&mut AsyncStream> {
        None
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
