//! Connections of the legacy wire in the hands of asynchronous handlers.

use super::conn::Conn;
use super::request::AsyncHandler;
use crate::broker::backend_sdk::proto::recv_buffer::recycle;
use crate::broker::backend_sdk::server::session::Phase;
use crate::transport::ServedTransport;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) type LegacyFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(super) type LegacyHandler = Box<dyn Fn(AsyncLegacyConnection) -> LegacyFuture + Send + Sync>;

/// A connection of the legacy wire, as if the mux had never looked at it: reading returns every byte from the first one.
/// It reads and writes through tokio's `AsyncRead` and `AsyncWrite`, which it implements.
///
/// The connection closes when this is dropped. When the server is stopped, reading returns what has been received and then
/// the end of the stream.
///
/// # Platform-specific behavior
///
/// A Windows pipe has no half-closed state: shutting it down is an error of the kind `Unsupported`.
pub struct AsyncLegacyConnection {
    buffered: Vec<u8>,
    /// Bytes of `buffered` that have been read; `start <= buffered.len()`.
    start: usize,
    stream: Box<dyn ServedTransport>,
    conn: Arc<Conn<AsyncHandler>>,
}

impl AsyncLegacyConnection {
    pub(super) fn new(
        buffered: Vec<u8>,
        mut stream: impl ServedTransport,
        conn: Arc<Conn<AsyncHandler>>,
    ) -> Self {
        stream.split();
        Self { buffered, start: 0, stream: Box::new(stream), conn }
    }

    /// Returns what was received before the wire was known and has not been read yet.
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
            this.conn.legacy_reader.register(context.waker());
            if this.conn.phase() >= Phase::Draining {
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
            recycle(std::mem::take(&mut this.buffered));
            this.start = 0;
            this.conn.session().release_legacy();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AsyncLegacyConnection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream.poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_shutdown(context)
    }
}

impl fmt::Debug for AsyncLegacyConnection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AsyncLegacyConnection").field("conn", &self.conn).finish_non_exhaustive()
    }
}
