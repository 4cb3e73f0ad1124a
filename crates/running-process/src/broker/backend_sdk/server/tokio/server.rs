//! The asynchronous server: a task for each connection, and one for each request that is served.

use super::accept;
use super::context::Shared;
use super::handler::{AsyncHandler, Handling, LegacyHandler};
use super::introducing::Introducing;
use super::legacy::AsyncLegacyConnection;
use super::request::AsyncServerRequest;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
#[cfg(test)]
use crate::broker::backend_lifecycle::identity::IdentityError;
use crate::broker::backend_sdk::mux::LegacyClassification;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::server::builder::ServerBuilder;
use crate::broker::backend_sdk::server::callback::Callback;
use crate::broker::backend_sdk::server::config::{ServerConfig, ServeError};
use crate::broker::backend_sdk::server::error::ServerError;
use crate::broker::backend_sdk::server::handler::{Handler, HandlerError};
use crate::broker::backend_sdk::server::peer::{NotAuthorized, PeerCredentials};
use crate::broker::backend_sdk::server::shared_methods::{debug_server, shared_methods};
use crate::broker::backend_sdk::server::stop::ServerStop;
use crate::broker::backend_sdk::server::telemetry::stats::ServerStats;
use crate::broker::protocol::{Endpoint, FrameRef};
use crate::broker::runtime_clock::now;
use crate::transport::{AsyncListener, BindError, LocalListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

/// A daemon's endpoint on tokio: [`Server`](crate::broker::backend_sdk::Server) with tasks in the place of threads, and the same limits,
/// deadlines and answers.
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
    listener: LocalListener,
    setup: ServerBuilder<Handler<AsyncHandler>>,
    legacy: Option<LegacyHandler>,
    stop: ServerStop,
}

impl AsyncServer {
    shared_methods!();

    /// Serves requests of `payload_protocol`; what the future of `handler` gives is the [`Payload`] of the response.
    ///
    /// Each request has a task of its own, so a slow one holds up no other, and answers go out in the order in which they
    /// are ready. In a runtime of one thread, where a handler that does not wait holds up every task anyway, it has one only
    /// if it waits. An error or a panic is the answer to that request and nothing else.
    ///
    /// Once nobody waits for the answer any more, the future is dropped at its next `await`: the client sent a cancel or is
    /// gone, the request's deadline has passed, or the server was stopped and [`ServerConfig::drain_timeout`] is over. What
    /// is to end with it belongs into the future; what it spawned goes on.
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
        let handler = Arc::new(move |request| Box::pin(handler(request)) as Pin<Box<dyn Handling>>);
        self.setup.handlers.insert(payload_protocol, Handler::Concurrent(handler));
        self
    }

    /// Serves requests of `payload_protocol` in the task that reads the connection, without copying them: for handlers
    /// that never wait, which this makes faster. Until `handler` returns, nothing else happens on that
    /// connection, nor in that thread of the runtime.
    #[must_use]
    pub fn serve_inline<R: Into<Payload>>(
        mut self,
        payload_protocol: u32,
        handler: impl Fn(&FrameRef<'_>) -> Result<R, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        self.setup.handlers.insert(payload_protocol, Handler::inline(handler));
        self
    }

    /// Hands connections of the legacy wire over to `handler`. `detector` decides what starts with the framing byte;
    /// what starts with any other byte is legacy if the detector does not need more of it. The future of the handler is
    /// dropped if it has not ended when [`ServerConfig::drain_timeout`] is over.
    ///
    /// The connection is locked while `detector` looks at it, so that must not wait. If it panics its connection is ended; a
    /// panic of `handler` ends its connection as well, and both are told to the observer.
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
        self.setup.detector = Box::new(detector);
        self.legacy = Some(Box::new(move |connection| Box::pin(handler(connection))));
        self
    }

    /// Serves until stopped: then takes no more connections, answers what has been received, and removes the record and,
    /// if it is the server's own, the socket. If the future is dropped instead, all of it ends at once.
    ///
    /// It serves at once. Meanwhile this process is identified on a thread of its own, for which its executable is read
    /// unless its digests are remembered; then the identity file is written, and probes that came before that are answered.
    ///
    /// # Errors
    ///
    /// The server cannot start, identify this process, write its record or accept any more, or something was still at work
    /// [`ServerConfig::drain_timeout`] after it was stopped: [`ServerError::DrainTimedOut`] says what. This returns within half a
    /// second after that, if the runtime has a thread left to poll it: code that blocks one cannot be interrupted. In a
    /// runtime of one thread, or if the observer blocks the task that polls this, that code holds up the end as well.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that drives I/O and time.
    pub async fn run(self) -> Result<(), ServerError> {
        let Self { mut listener, mut setup, legacy, stop } = self;
        let _signals = setup.signals.take();
        setup.check_identity_file()?;
        let waited = setup.config.drain_timeout;
        let path = setup.endpoint.path.clone();
        let (service, registration) = setup.start(now);
        let presence = registration.presence();
        let shared = Arc::new(Shared::new(service, legacy));
        listener.watch_name();
        let mut listener = AsyncListener::new(listener).map_err(ServerError::Accept)?;
        let introducing = {
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            let register =
                move || registration.run(&stop, &shared.service.telemetry, || shared.ring_all());
            Introducing::spawn(register).map_err(ServerError::Accept)?
        };
        let stopping = Arc::clone(&shared);
        stop.when_stopped(move || stopping.stop());
        let mut connections = accept::Connections::new(shared);
        let accepted = connections.accept(&mut listener, &path).await;
        drop(presence);
        drop(listener);
        stop.stop();
        let deadline = now().checked_add(waited);
        let connections = connections.drain(deadline).await;
        let registered = introducing.wait_until(deadline).await;
        let mut callbacks = Vec::new();
        callbacks.extend(registered.is_none().then_some(Callback::OnReady));
        registered.unwrap_or(Ok(()))?;
        if connections > 0 || !callbacks.is_empty() {
            return Err(ServerError::DrainTimedOut { connections, callbacks, waited });
        }
        accepted.map_err(ServerError::Accept)
    }
}

debug_server!(AsyncServer);
