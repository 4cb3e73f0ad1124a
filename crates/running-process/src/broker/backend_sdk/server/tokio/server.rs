//! The asynchronous server: a task for each connection, and one for each request that is served.

use super::backend::Backend;
use super::legacy::{AsyncLegacyConnection, Legacy};
use super::request::{AsyncHandler, AsyncServerRequest, HandlerFuture};
use super::running::RunningAsyncServer;
use crate::broker::backend_sdk::server::builder::builder_methods;
use crate::broker::backend_sdk::server::driver_methods::driver_methods;
use crate::broker::backend_sdk::server::handler::Handler;
use crate::broker::backend_sdk::{
    HandlerError, LegacyClassification, LocalListener, Payload, ServerBuilder, ServerError,
};
use crate::broker::protocol::Endpoint;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// A daemon's endpoint on tokio. It is [`Server`](crate::broker::backend_sdk::Server) with tasks instead of threads, and has the
/// same limits, deadlines and answers.
///
/// ```no_run
/// # use running_process::broker::{protocol::Endpoint, backend_sdk::AsyncServer};
/// running_process::register_payload_protocol! { const SHOUT: u32 = 0xF00D; }
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// AsyncServer::bind(Endpoint::unix_socket("shout", "/run/user/1000/shout.sock")?)?
///     .identity_file("/run/user/1000/shout.json")
///     .serve(SHOUT, |request| async move { Ok(request.payload().to_ascii_uppercase()) })
///     .stop_on_signals()?
///     .run()
///     .await?;
/// # Ok(()) }
/// ```
pub struct AsyncServer {
    listener: Option<LocalListener>,
    builder: ServerBuilder<AsyncHandler>,
    legacy: Legacy,
}

impl AsyncServer {
    builder_methods!();
    driver_methods!(AsyncHandler);

    /// Returns a server that accepts no connections itself: the caller does, and
    /// [serves](RunningAsyncServer::serve_connection) each with the running server. `endpoint` is the one that the identity
    /// names.
    ///
    /// ```
    /// use running_process::broker::backend_sdk::{AsyncServer, PeerCredentials};
    /// use running_process::broker::protocol::{Endpoint, Frame, encode_framed, try_decode_framed};
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// const SHOUT: u32 = 0xF00D;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = AsyncServer::without_listener(Endpoint::unix_socket("shout", "/run/user/1000/shout.sock")?)
    ///     .serve(SHOUT, |request| async move { Ok(request.payload().to_ascii_uppercase()) })
    ///     .start()?;
    /// let (mut client, connection) = tokio::io::duplex(64 * 1024);
    /// tokio::spawn(server.serve_connection(connection, PeerCredentials::current_process()));
    ///
    /// client.write_all(&encode_framed(&Frame::request(SHOUT, b"hello".to_vec()))?).await?;
    /// let mut received = Vec::new();
    /// let response = loop {
    ///     client.read_buf(&mut received).await?;
    ///     if let Some(decoded) = try_decode_framed(&received)? {
    ///         break decoded.frame;
    ///     }
    /// };
    /// assert_eq!(response.payload, b"HELLO");
    /// server.shutdown().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn without_listener(endpoint: Endpoint) -> Self {
        Self { listener: None, builder: ServerBuilder::new(endpoint), legacy: Legacy::NotServed }
    }

    /// Serves requests of `payload_protocol`; the output of the future of `handler` is the [`Payload`] of the response.
    ///
    /// Each request has a task of its own, so a slow one delays no other, and answers are sent in the order in which they
    /// are ready. In a runtime of one thread the task of the connection polls each handler first, and a handler gets a task
    /// only if it waits. An error or a panic ends only its own request. The client learns that the handler failed, and the text only
    /// of a [`Refusal`](crate::broker::protocol::Refusal); the [observer](Self::observe) gets any other error.
    ///
    /// Once the client does not wait for the answer any more, the future is dropped at its next `await`: the client sent a
    /// cancel or is gone, the request's deadline has passed, or the server was stopped and
    /// [`drain_timeout`](crate::broker::backend_sdk::ServerConfig::drain_timeout) is over. Tasks that the future spawned
    /// go on.
    ///
    /// # Panics
    ///
    /// The protocol has a handler already, or its id is one that this library answers itself.
    #[must_use]
    pub fn serve<F, R>(
        mut self,
        payload_protocol: u32,
        handler: impl Fn(AsyncServerRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<R, HandlerError>> + Send + 'static,
        R: Into<Payload>,
    {
        let handler: Arc<AsyncHandler> =
            Arc::new(move |request| Box::pin(handler(request)) as Pin<Box<dyn HandlerFuture>>);
        self.builder.add_handler(payload_protocol, Handler::Concurrent(handler));
        self
    }

    /// Hands connections of the legacy wire over to `handler`. `detector` decides about those that start with the framing
    /// byte; one that starts with any other byte is legacy unless the detector needs more bytes. The future of the handler
    /// is dropped if it has not ended when
    /// [`drain_timeout`](crate::broker::backend_sdk::ServerConfig::drain_timeout) is over.
    ///
    /// `detector` runs under the lock of its connection and must not block. If it panics, its connection is ended; a panic of
    /// `handler` ends its connection as well, and the observer is told of both.
    ///
    /// Without this, legacy connections are closed.
    #[must_use]
    pub fn legacy<F>(
        mut self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        handler: impl Fn(AsyncLegacyConnection) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.builder.detector = Box::new(detector);
        self.legacy = Legacy::Handler(Box::new(move |connection| Box::pin(handler(connection))));
        self
    }

    /// Relays connections of the legacy wire to `backend`, also if that speaks first. `detector` decides as in
    /// [`legacy`](Self::legacy).
    #[must_use]
    pub(in crate::broker) fn relay(
        mut self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        backend: Arc<dyn Backend>,
    ) -> Self {
        self.builder.detector = Box::new(detector);
        self.legacy = Legacy::Relay(backend);
        self
    }

    /// Serves until stopped: [starts](Self::start) the server and [waits](RunningAsyncServer::wait) for its end.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start) and [`wait`](RunningAsyncServer::wait).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that drives I/O and time.
    pub async fn run(self) -> Result<(), ServerError> {
        self.start()?.wait().await
    }

    /// Starts the server, which serves at once. Connections to its listener, if it has one, are accepted while
    /// [`wait`](RunningAsyncServer::wait) is polled.
    ///
    /// Meanwhile this process is identified on a thread of its own, for which its executable is read unless its digests are
    /// remembered. Then the identity file is written, and probes that came before that are answered.
    ///
    /// # Errors
    ///
    /// The runtime or the system refuses the listener or the thread, or the identity file could not be written at its path.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that drives I/O and time.
    pub fn start(self) -> Result<RunningAsyncServer, ServerError> {
        RunningAsyncServer::start(self.listener, self.builder, self.legacy)
    }
}

impl fmt::Debug for AsyncServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AsyncServer").field("builder", &self.builder).finish_non_exhaustive()
    }
}
