//! The blocking server: a few threads for each connection, bounded.

pub(super) mod accept_errors;
mod background;
mod budget;
pub(super) mod builder;
pub(super) mod callback;
mod cancellation;
mod charges;
mod config;
mod drive;
mod introduction;
mod legacy;
mod link;
#[cfg(all(test, shuttle))]
mod model;
pub(super) mod observe;
pub(super) mod over_capacity;
mod peer;
mod pool;
mod request;
pub(super) mod service;
pub(super) mod session;
pub(super) mod setup;
mod shared;
mod stats;
mod stop;
mod sync;
mod turn;

pub use callback::Callback;
pub use cancellation::Cancellation;
pub use config::{ServerConfig, ServerTrouble};
pub use legacy::LegacyConnection;
pub use over_capacity::OVER_CAPACITY_CONNECTIONS;
pub use peer::{NotAuthorized, PeerCredentials};
pub use request::{IncomingRequest, ServerRequest};
pub use stats::ServerStats;
pub use stop::ServerStop;

use super::mux::LegacyClassification;
use super::payload::Payload;
use crate::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use crate::broker::protocol::{Endpoint, FrameRef};
use crate::transport::{BindError, LocalListener, StopSignal};
use background::Background;
use builder::{debug_server, shared_methods};
use setup::Setup;
use shared::Shared;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use stop::StopGuard;

/// Why a handler has no response. A [`Refusal`](crate::broker::protocol::Refusal) is sent as it is; any other error as
/// one with the reason `HandlerFailed` and its text.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

type ConcurrentHandler = dyn Fn(&ServerRequest) -> Result<Payload, HandlerError> + Send + Sync;
pub(super) type InlineHandler = dyn Fn(&FrameRef<'_>) -> Result<Payload, HandlerError> + Send + Sync;
type LegacyHandler = Box<dyn Fn(LegacyConnection) + Send + Sync>;

/// Serves one payload protocol; `C` is a handler that may take its time.
pub(super) enum Handler<C: ?Sized> {
    Concurrent(Arc<C>),
    Inline(Box<InlineHandler>),
    /// Answers with what the server has counted.
    Status,
}

impl<C: ?Sized> Handler<C> {
    pub(super) fn inline<R: Into<Payload>>(
        handler: impl Fn(&FrameRef<'_>) -> Result<R, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        Self::Inline(Box::new(move |request| handler(request).map(R::into)))
    }
}

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
    setup: Setup<Handler<ConcurrentHandler>>,
    legacy: Option<LegacyHandler>,
    stop: ServerStop,
}

/// Why a server could not start, or did not end as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The identity of this process could not be made.
    #[error("this process cannot identify itself")]
    Identity(#[from] IdentityError),
    /// The identity file could not be written.
    #[error("the identity file {} cannot be written", path.display())]
    Record {
        /// Where it was to be.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Connections cannot be accepted any more.
    #[error("connections cannot be accepted")]
    Accept(#[source] io::Error),
    /// The server was stopped, and something was still at work when its patience ended. Threads of the daemon's code go on
    /// until it returns or the process ends.
    #[error("still at work {} ms after the stop: {}", waited.as_millis(), Late(*connections, callbacks))]
    DrainTimedOut {
        /// Number of connections at whose requests or legacy wire handlers work.
        connections: usize,
        /// Closures of the daemon that have not returned: [`Callback::OnReady`], also while this process is still being
        /// identified, and [`Callback::Observe`], if it was told of something by the thread that accepts.
        callbacks: Vec<Callback>,
        /// How long they were waited for.
        waited: Duration,
    },
}

/// The connections and closures that were late, in words.
struct Late<'a>(usize, &'a [Callback]);

impl fmt::Display for Late<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(connections, callbacks) = *self;
        let connections = match connections {
            0 => None,
            1 => Some("1 connection".to_owned()),
            several => Some(format!("{several} connections")),
        };
        let late: Vec<_> = connections.into_iter().chain(callbacks.iter().map(Callback::to_string)).collect();
        formatter.write_str(&late.join(", "))
    }
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
    /// [`ServerConfig::drain`] after it was stopped: [`ServerError::DrainTimedOut`] says what. This returns within half a
    /// second after that, whatever code of the daemon does not.
    pub fn run(self) -> Result<(), ServerError> {
        let Self { mut listener, mut setup, legacy, stop } = self;
        let _signals = setup.signals.take();
        setup.check_record()?;
        let waited = setup.config.drain;
        let path = setup.endpoint.path.clone();
        let signal = StopSignal::new().map_err(ServerError::Accept)?;
        let (service, introduction) = setup.start(Instant::now);
        let presence = introduction.presence();
        let shared = Arc::new(Shared::new(service, legacy, signal));
        listener.watch_name();
        let listener = Arc::new(Mutex::new(Some(listener)));
        // This thread runs none of the daemon's code, so none of it keeps this from its deadline.
        let introducing = {
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            let introduce =
                move || introduction.run(&stop, &shared.service.observation, || shared.identified());
            Background::spawn(introduce).map_err(ServerError::Accept)?
        };
        let accepting = {
            let (shared, listener, stop) = (Arc::clone(&shared), Arc::clone(&listener), stop.clone());
            let accept = move || {
                let _stops = StopGuard::new(stop);
                drive::accept(&shared, &listener, &path)
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
        let (accepted, introduced) = (accepting.wait_until(deadline), introducing.wait_until(deadline));
        shared.pool.close();
        let mut callbacks = Vec::new();
        callbacks.extend(introduced.is_none().then_some(Callback::OnReady));
        callbacks.extend(accepted.is_none().then_some(Callback::Observe));
        introduced.unwrap_or(Ok(()))?;
        if connections > 0 || !callbacks.is_empty() {
            return Err(ServerError::DrainTimedOut { connections, callbacks, waited });
        }
        accepted.unwrap_or(Ok(())).map_err(ServerError::Accept)
    }
}

debug_server!(Server);
