//! The blocking server: a few threads for each connection, bounded.

use super::background::Background;
use super::conn_loop;
use super::context::Shared;
use super::handler::{ConcurrentHandler, LegacyHandler};
use super::legacy::LegacyConnection;
use super::request::ServerRequest;
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
use crate::broker::backend_sdk::server::stop::{ServerStop, StopGuard};
use crate::broker::backend_sdk::server::telemetry::stats::ServerStats;
use crate::broker::protocol::{Endpoint, FrameRef};
use crate::transport::{BindError, LocalListener, StopSignal};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

/// A daemon's endpoint: answers probes, serves requests, steps aside for the legacy wire, cleans up behind itself.
///
/// ```no_run
/// # use running_process::broker::{protocol::Endpoint, backend_sdk::{LegacyClassification, Server}};
/// # use std::io::{Read, Write};
/// running_process::register_payload_protocol! { const SHOUT: u32 = 0xF00D; }
///
/// Server::bind(Endpoint::unix_socket("shout", "/run/user/1000/shout.sock")?)?
///     .record("/run/user/1000/shout.json")
///     .serve(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
///     .legacy(
///         |_| LegacyClassification::NotLegacy, // no legacy message starts with the framing byte
///         |mut connection| {
///             let mut line = [0; 1024];
///             while let Ok(length @ 1..) = connection.read(&mut line) {
///                 if connection.write_all(&line[..length]).is_err() { break }
///             }
///         },
///     )
///     .stop_on_signals()?
///     .run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    listener: LocalListener,
    setup: ServerBuilder<Handler<ConcurrentHandler>>,
    legacy: Option<LegacyHandler>,
    stop: ServerStop,
}

impl Server {
    shared_methods!();

    /// Serves requests of `payload_protocol`; what `handler` returns is the [`Payload`] of the response.
    ///
    /// Each request has a thread for as long as its handler takes, so a slow one holds up no other, and answers go out in
    /// the order in which they are ready. An error or a panic is the answer to that request and nothing else.
    #[must_use]
    pub fn serve<R: Into<Payload>>(
        mut self,
        payload_protocol: u32,
        handler: impl Fn(&ServerRequest) -> Result<R, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        let handler = Arc::new(move |request: &ServerRequest| handler(request).map(R::into));
        self.setup.handlers.insert(payload_protocol, Handler::Concurrent(handler));
        self
    }

    /// Serves requests of `payload_protocol` on the thread that reads the connection, without copying them: for handlers
    /// that never wait, to which this is several times faster. The connection is locked while `handler` runs: until it returns,
    /// nothing else happens there, no deadline and no cancel included.
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
    /// what starts with any other byte is legacy if the detector does not need more of it.
    ///
    /// The connection is locked while `detector` looks at it, so that must not wait. If it panics its connection is ended; a
    /// panic of `handler` ends its connection as well, and both are told to the observer.
    ///
    /// Without this, legacy connections are closed.
    #[must_use]
    pub fn legacy(
        mut self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        handler: impl Fn(LegacyConnection) + Send + Sync + 'static,
    ) -> Self {
        self.setup.detector = Box::new(detector);
        self.legacy = Some(Box::new(handler));
        self
    }

    /// Serves until stopped: then takes no more connections, answers what has been received, and removes the record and,
    /// if it is the server's own, the socket.
    ///
    /// It serves at once. Meanwhile this process is identified, for which its executable is read unless its digests are
    /// remembered; then the record is written, and whoever has sent a probe before that is answered.
    ///
    /// # Errors
    ///
    /// The server cannot start, identify this process, write its record or accept any more, or something was still at work
    /// [`ServerConfig::drain_timeout`] after it was stopped: [`ServerError::DrainTimedOut`] says what. This returns within half a
    /// second after that, whatever code of the daemon does not.
    pub fn run(self) -> Result<(), ServerError> {
        let Self { mut listener, mut setup, legacy, stop } = self;
        let _signals = setup.signals.take();
        setup.check_identity_file()?;
        let waited = setup.config.drain_timeout;
        let path = setup.endpoint.path.clone();
        let signal = StopSignal::new().map_err(ServerError::Accept)?;
        let (service, registration) = setup.start(Instant::now);
        let presence = registration.presence();
        let shared = Arc::new(Shared::new(service, legacy, signal));
        listener.watch_name();
        let listener = Arc::new(Mutex::new(Some(listener)));
        // This thread runs none of the daemon's code, so none of it keeps this from its deadline.
        let introducing = {
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            let register =
                move || registration.run(&stop, &shared.service.telemetry, || shared.identified());
            Background::spawn(register).map_err(ServerError::Accept)?
        };
        let accepting = {
            let (shared, listener, stop) = (Arc::clone(&shared), Arc::clone(&listener), stop.clone());
            let accept = move || {
                let _stops = StopGuard::new(stop);
                conn_loop::accept(&shared, &listener, &path)
            };
            Background::spawn(accept).map_err(ServerError::Accept)?
        };
        let (stopping, (ending, is_ending)) = (Arc::clone(&shared), mpsc::channel());
        stop.when_stopped(move || {
            stopping.stop();
            // This is waited for until it comes.
            let _ = ending.send(());
        });
        let _ = is_ending.recv();
        let deadline = Instant::now().checked_add(waited);
        drop(presence);
        drop(listener.lock().unwrap_or_else(PoisonError::into_inner).take());
        let connections = shared.drain(deadline);
        let (accepted, registered) = (accepting.wait_until(deadline), introducing.wait_until(deadline));
        shared.pool.close();
        let mut callbacks = Vec::new();
        callbacks.extend(registered.is_none().then_some(Callback::OnReady));
        callbacks.extend(accepted.is_none().then_some(Callback::Observe));
        registered.unwrap_or(Ok(()))?;
        if connections > 0 || !callbacks.is_empty() {
            return Err(ServerError::DrainTimedOut { connections, callbacks, waited });
        }
        accepted.unwrap_or(Ok(())).map_err(ServerError::Accept)
    }
}

debug_server!(Server);
