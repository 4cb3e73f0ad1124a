//! Connections of the legacy wire, for asynchronous handlers.

use super::backend::Backend;
use super::request::AsyncConn;
use crate::broker::backend_sdk::server::callback::{self, Guarded};
use crate::broker::backend_sdk::server::rewind::Rewind;
use crate::broker::backend_sdk::{Phase, ServeError};
use crate::transport::ServedTransport;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) type LegacyFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
/// The daemon's own handler of the legacy wire.
pub(super) type LegacyHandler = Box<dyn Fn(AsyncLegacyConnection) -> LegacyFuture + Send + Sync>;

/// The way in which a server serves the legacy wire.
pub(super) enum Legacy {
    NotServed,
    Handler(LegacyHandler),
    Relay(Arc<dyn Backend>),
}

/// Serves `connection` by `handler`, until that has ended or the connection is to end at once.
pub(super) async fn run(
    handler: &LegacyHandler,
    connection: AsyncLegacyConnection,
) -> Result<(), ServeError> {
    let conn = Arc::clone(&connection.conn);
    let future = callback::run(|| handler(connection)).ok_or(ServeError::HandlerPanicked)?;
    let mut future = Guarded::new(future);
    let ended = poll_fn(|context| {
        conn.driver.register(context.waker());
        match conn.phase() {
            None => Poll::Ready(Some(())),
            Some(_) => future.poll_by(|future| future.poll(context)),
        }
    });
    ended.await.ok_or(ServeError::HandlerPanicked)
}

/// A connection of the legacy wire, as if the mux had never looked at it: reading returns every byte from the first one.
/// It reads and writes through tokio's `AsyncRead` and `AsyncWrite`, which it implements.
///
/// The connection closes when this is dropped. When the server is stopped, reading returns what has been received and then
/// the end of the stream, unless the handler has asked for [`stopping`](Self::stopping).
///
/// # Platform-specific behavior
///
/// A Windows pipe has no half-closed state: shutting it down is an error of the kind `Unsupported`.
pub struct AsyncLegacyConnection {
    rewind: Rewind,
    stream: Box<dyn ServedTransport>,
    conn: Arc<AsyncConn>,
    /// The handler ends the connection of a stopped server.
    ends_itself: bool,
}

impl AsyncLegacyConnection {
    pub(super) fn new(start: Vec<u8>, mut stream: impl ServedTransport, conn: Arc<AsyncConn>) -> Self {
        stream.split();
        Self { rewind: Rewind::new(start), stream: Box::new(stream), conn, ends_itself: false }
    }

    /// Returns a future that is ready once the server is stopped or handed over, and leaves the end of the connection to the
    /// handler: reading goes on until the peer ends.
    ///
    /// That is for wires in which the end of input is the loss of the client, or on which a server says that it ends, such as
    /// HTTP/2. A handler that does not end within
    /// [`drain_timeout`](crate::broker::backend_sdk::ServerConfig::drain_timeout) of the stop is dropped.
    pub fn stopping(&mut self) -> impl Future<Output = ()> + Send + use<> {
        self.ends_itself = true;
        let conn = Arc::clone(&self.conn);
        async move { conn.once_stopping().await }
    }

    /// Returns the bytes that were received before the wire was known and have not been read yet.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        self.rewind.rest()
    }
}

impl AsyncRead for AsyncLegacyConnection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { rewind, stream, conn, ends_itself } = self.get_mut();
        let buf = into.initialize_unfilled();
        if buf.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let length = if rewind.rest().is_empty() {
            conn.legacy_reader.register(context.waker());
            if !*ends_itself && conn.phase().is_none_or(|phase| phase >= Phase::Draining) {
                stream.interrupt_reads();
            }
            ready!(stream.poll_read(context, buf))?
        } else {
            let length = rewind.read(buf);
            if rewind.rest().is_empty() {
                conn.session().release_legacy();
            }
            length
        };
        into.advance(length);
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
