//! What a server is told before it runs, on threads and on tokio alike.

use super::super::identity_file::{
    try_read_daemon_identity_file, try_remove_daemon_identity_file, write_daemon_identity_file,
};
use super::super::mux::{BackendEndpointMux, LegacyClassification};
use super::budget::Budget;
use super::observe::Observation;
use super::peer::same_user;
use super::service::Service;
use super::{Handler, NotAuthorized, PeerCredentials, ServerConfig, ServerError, ServerStats, ServerTrouble};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::Endpoint;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

pub(in super::super) type Detector = Box<dyn Fn(&[u8]) -> LegacyClassification + Send + Sync>;
pub(in super::super) type Authorize =
    Box<dyn Fn(&PeerCredentials) -> Result<(), NotAuthorized> + Send + Sync>;
pub(in super::super) type Observer = Box<dyn Fn(&ServerTrouble) + Send + Sync>;
type ReadyHook = Box<dyn FnOnce(&DaemonProcess) + Send>;

/// A server before it runs; `H` is what its handlers are.
pub(in super::super) struct Setup<H> {
    pub(in super::super) endpoint: Endpoint,
    /// A service manager made the socket.
    pub(in super::super) inherited: bool,
    pub(in super::super) record: Option<PathBuf>,
    pub(in super::super) handlers: BTreeMap<u32, H>,
    pub(in super::super) detector: Detector,
    pub(in super::super) authorize: Authorize,
    pub(in super::super) ready: ReadyHook,
    pub(in super::super) observer: Observer,
    pub(in super::super) config: ServerConfig,
    pub(in super::super) stats: ServerStats,
}

impl<H> Setup<H> {
    pub(in super::super) fn new(endpoint: Endpoint, inherited: bool) -> Self {
        Self {
            endpoint,
            inherited,
            record: None,
            handlers: BTreeMap::new(),
            detector: Box::new(|_| LegacyClassification::NotLegacy),
            authorize: Box::new(same_user),
            ready: Box::new(|_| {}),
            observer: Box::new(|_| {}),
            config: ServerConfig::default(),
            stats: ServerStats::zero(),
        }
    }
}

impl<C: ?Sized> Setup<Handler<C>> {
    /// Identifies this process, writes its record and tells the daemon that it can be found. Latencies are measured with
    /// `clock`, which the driver takes the time from.
    pub(in super::super) fn start(
        mut self,
        clock: fn() -> Instant,
    ) -> Result<(Service<Handler<C>>, Option<Record>), ServerError> {
        let mut daemon = DaemonProcess::current_process(self.endpoint, None)?;
        if self.inherited {
            daemon = daemon.with_inherited_listener();
        }
        if let Some(status) = self.config.status {
            self.handlers.entry(status).or_insert(Handler::Status);
        }
        let served: Vec<u32> = self.handlers.keys().copied().collect();
        let mux = Arc::new(BackendEndpointMux::new(daemon.clone(), &served, self.detector));
        let record = self.record.map(|path| Record::write(path, daemon)).transpose()?;
        let observation = Observation::begin(self.stats, self.observer, clock, &served);
        (self.ready)(mux.daemon());
        let service = Service {
            mux,
            handlers: self.handlers,
            authorize: self.authorize,
            observation,
            budget: Budget::new(self.config.memory, self.config.max_connections),
            config: self.config,
            in_flight: Arc::default(),
        };
        Ok((service, record))
    }
}

/// The identity file, removed when dropped if it is still this daemon's.
///
/// It is dropped before the listener: only while the socket is still owned, or the service manager starts no second
/// daemon, can the record at the path be no other daemon's but an older one's.
pub(in super::super) struct Record {
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
