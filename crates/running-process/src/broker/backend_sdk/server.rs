//! The blocking server driver: a thread for each connection, bounded.

mod config;
mod drive;
mod legacy;
mod shared;

pub use config::{ServerConfig, ServerTrouble};
pub use legacy::LegacyConnection;
pub use shared::ServerStop;

use super::connection::Request;
use super::identity_file::{
    try_read_daemon_identity_file, try_remove_daemon_identity_file, write_daemon_identity_file,
};
use super::mux::{BackendEndpointMux, LegacyClassification};
use crate::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use crate::broker::protocol::Endpoint;
use crate::transport::{BindError, LocalListener};
use shared::Shared;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Why a handler has no response; the request's connection is ended.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type Handler = Box<dyn Fn(&Request<'_>) -> Result<Vec<u8>, HandlerError> + Send + Sync>;
pub(super) type Detector = Box<dyn Fn(&[u8]) -> LegacyClassification + Send + Sync>;
pub(super) type LegacyHandler = Box<dyn Fn(LegacyConnection) + Send + Sync>;
type ReadyHook = Box<dyn FnOnce(&DaemonProcess) + Send>;
pub(super) type Observer = Box<dyn Fn(&ServerTrouble) + Send + Sync>;

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
///     .run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    endpoint: Endpoint,
    listener: LocalListener,
    /// A service manager made the socket.
    inherited: bool,
    record: Option<PathBuf>,
    handlers: BTreeMap<u32, Handler>,
    detector: Detector,
    legacy: Option<LegacyHandler>,
    ready: ReadyHook,
    observer: Observer,
    config: ServerConfig,
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
    /// The server was stopped, and connections were still at work when its patience ended; their threads go on until
    /// they are done or the process ends.
    #[error("{connections} connections are still at work after {} ms", waited.as_millis())]
    DrainTimedOut {
        /// How many.
        connections: usize,
        /// How long they were waited for.
        waited: Duration,
    },
}

impl Server {
    /// Takes `endpoint`. Clients can connect from now on and are served once [`run`](Self::run) is called.
    ///
    /// # Errors
    ///
    /// Another daemon owns the endpoint, or something that is not a socket stands there.
    pub fn bind(endpoint: Endpoint) -> Result<Self, BindError> {
        let listener = LocalListener::bind(&endpoint.path)?;
        Self::on(listener, endpoint, false)
    }

    /// Takes the socket that listens at `endpoint` and that a service manager, such as systemd, passed to this process:
    /// see [`LocalListener::inherited`]. The socket stays when the server ends, and the identity says that somebody else
    /// made it.
    ///
    /// # Errors
    ///
    /// Nothing was passed to this process, nothing that listens at the endpoint's path, or it has been taken before.
    /// On Windows always [`BindError::NotInheritable`].
    pub fn bind_inherited(endpoint: Endpoint) -> Result<Self, BindError> {
        let listener = LocalListener::inherited(&endpoint.path)?;
        Self::on(listener, endpoint, true)
    }

    fn on(listener: LocalListener, endpoint: Endpoint, inherited: bool) -> Result<Self, BindError> {
        let stop =
            ServerStop::new().map_err(|source| BindError::Io { path: endpoint.path.clone(), source })?;
        Ok(Self {
            endpoint,
            listener,
            inherited,
            record: None,
            handlers: BTreeMap::new(),
            detector: Box::new(|_| LegacyClassification::NotLegacy),
            legacy: None,
            ready: Box::new(|_| {}),
            observer: Box::new(|_| {}),
            config: ServerConfig::default(),
            stop,
        })
    }

    /// Writes the identity file at `path` once the server runs, and removes it when it ends.
    #[must_use]
    pub fn record(mut self, path: impl Into<PathBuf>) -> Self {
        self.record = Some(path.into());
        self
    }

    /// Serves requests of `payload_protocol`; what `handler` returns is the payload of the response.
    ///
    /// A connection's requests are handled one after the other. An error or a panic of the handler ends that
    /// connection and no other.
    #[must_use]
    pub fn serve(
        mut self,
        payload_protocol: u32,
        handler: impl Fn(&Request<'_>) -> Result<Vec<u8>, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.insert(payload_protocol, Box::new(handler));
        self
    }

    /// Hands connections of the legacy wire over to `handler`. `detector` decides what starts with the framing byte;
    /// what starts with any other byte is legacy if the detector does not need more of it.
    ///
    /// Without this, legacy connections are closed.
    #[must_use]
    pub fn legacy(
        mut self,
        detector: impl Fn(&[u8]) -> LegacyClassification + Send + Sync + 'static,
        handler: impl Fn(LegacyConnection) + Send + Sync + 'static,
    ) -> Self {
        self.detector = Box::new(detector);
        self.legacy = Some(Box::new(handler));
        self
    }

    /// Limits and deadlines.
    #[must_use]
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Calls `ready` once clients can find this daemon: it listens and its record is written.
    #[must_use]
    pub fn on_ready(mut self, ready: impl FnOnce(&DaemonProcess) + Send + 'static) -> Self {
        self.ready = Box::new(ready);
        self
    }

    /// Tells `observer` of every connection that did not end well. Default: nobody is told.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&ServerTrouble) + Send + Sync + 'static) -> Self {
        self.observer = Box::new(observer);
        self
    }

    /// What ends [`run`](Self::run) from another thread.
    #[must_use]
    pub fn stop_handle(&self) -> ServerStop {
        self.stop.clone()
    }

    /// Serves until stopped: then takes no more connections, answers what has been received, and removes the record and,
    /// if it is the server's own, the socket.
    ///
    /// # Errors
    ///
    /// The server cannot start, cannot accept any more, or connections were still at work
    /// [`ServerConfig::drain`] after it was stopped.
    pub fn run(self) -> Result<(), ServerError> {
        let Self {
            endpoint,
            listener,
            inherited,
            record,
            handlers,
            detector,
            legacy,
            ready,
            observer,
            config,
            stop,
        } = self;
        let mut daemon = DaemonProcess::current_process(endpoint, None)?;
        if inherited {
            daemon = daemon.with_inherited_listener();
        }
        let served: Vec<u32> = handlers.keys().copied().collect();
        let mux = Arc::new(BackendEndpointMux::new(daemon.clone(), &served, detector));
        let record = record.map(|path| Record::write(path, daemon)).transpose()?;
        ready(mux.daemon());
        let shared = Arc::new(Shared { mux, handlers, legacy, observer, config, stop });
        let accepted = drive::accept(&shared, &listener);
        // Only while the socket is still owned, or the service manager starts no second daemon, can the record at the path be no other daemon's but an older one's.
        drop(record);
        drop(listener);
        shared.stop.stop();
        shared.drain()?;
        accepted.map_err(ServerError::Accept)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Server")
            .field("endpoint", &self.endpoint)
            .field("record", &self.record)
            .field("served", &self.handlers.keys())
            .finish_non_exhaustive()
    }
}

/// The identity file, removed when dropped if it is still this daemon's.
struct Record {
    path: PathBuf,
    daemon: DaemonProcess,
}

impl Record {
    fn write(path: PathBuf, daemon: DaemonProcess) -> Result<Self, ServerError> {
        match write_daemon_identity_file(&path, &daemon) {
            Ok(()) => Ok(Self { path, daemon }),
            Err(source) => Err(ServerError::Record { path, source }),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if matches!(try_read_daemon_identity_file(&self.path), Ok(Some(daemon)) if daemon == self.daemon) {
            // A file that stays behind names a dead process, which every client notices.
            let _best_effort = try_remove_daemon_identity_file(&self.path);
        }
    }
}
