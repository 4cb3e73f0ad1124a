use super::conn::Link;
use super::context::Phase;
use crate::broker::backend_sdk::proto::recv_buffer::give_back;
use crate::transport::AcceptedStream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection of the legacy wire, as if the mux had never looked at it: reading gives every byte from the first one.
/// It reads and writes through tokio's `AsyncRead` and `AsyncWrite`, which it implements.
///
/// The connection closes when this is dropped. When the server is stopped, reading gives what has been received and then
/// the end of the stream.
///
/// # Platform-specific behavior
///
/// A Windows pipe has no half-closed state: shutting it down is an error of the kind `Unsupported`.
#[derive(Debug)]
pub struct AsyncLegacyConnection {
    buffered: Vec<u8>,
    /// What stands before it has been read; `start <= buffered.len()`.
    start: usize,
    stream: AcceptedStream,
    link: Arc<Link>,
}

impl AsyncLegacyConnection {
    pub(super) fn new(buffered: Vec<u8>, mut stream: AcceptedStream, link: Arc<Link>) -> Self {
        stream.split();
        Self { buffered, start: 0, stream, link }
    }

    /// What was received before the wire was known and has not been read yet.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.buffered[self.start..]
    }
}

impl AsyncRead for AsyncLegacyConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.start == this.buffered.len() {
            this.link.bell.listen(context.waker());
            if this.link.shared.phase() >= Phase::Stopping {
                this.stream.interrupt_reads();
            }
            let length = ready!(this.stream.poll_read(context, into.initialize_unfilled()))?;
            into.advance(length);
            return Poll::Ready(Ok(()));
        }
        let length = into.remaining().min(this.buffered().len());
        into.put_slice(&this.buffered()[..length]);
        this.start += length;
        if this.start == this.buffered.len() {
            give_back(std::mem::take(&mut this.buffered));
            this.start = 0;
            this.link.release_legacy();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AsyncLegacyConnection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream.poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown_write())
    }
}
