//! What a server is told before it runs, on threads and on tokio alike.

use super::budget::Budget;
use super::config::ServerConfig;
use super::error::ServerError;
use super::handler::Handler;
use super::hooks::{Authorize, Detector, Identify, Observer, ReadyHook};
use super::over_capacity::OVER_CAPACITY_CONNECTIONS;
use super::peer::same_user;
use super::policy::Service;
use super::registration::Introduction;
use super::telemetry::Observation;
use super::telemetry::stats::ServerStats;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::identity_file::check_daemon_identity_path;
use crate::broker::backend_sdk::mux::{BackendEndpointMux, LegacyClassification};
use crate::broker::protocol::Endpoint;
use crate::sys::OnTermination;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// A server before it runs; `H` is what its handlers are.
pub(in super::super) struct Setup<H> {
    pub(in super::super) endpoint: Endpoint,
    /// A service manager made the socket.
    pub(in super::super) inherited: bool,
    pub(in super::super) identify: Identify,
    pub(in super::super) record: Option<PathBuf>,
    pub(in super::super) handlers: BTreeMap<u32, H>,
    pub(in super::super) detector: Detector,
    pub(in super::super) authorize: Authorize,
    pub(in super::super) ready: ReadyHook,
    pub(in super::super) observer: Observer,
    pub(in super::super) config: ServerConfig,
    pub(in super::super) stats: ServerStats,
    /// Stops the server on signals for as long as it is there.
    pub(in super::super) signals: Option<OnTermination>,
}

impl<H> Setup<H> {
    pub(in super::super) fn new(endpoint: Endpoint, inherited: bool) -> Self {
        Self {
            endpoint,
            inherited,
            identify: Box::new(|endpoint, go_on| DaemonProcess::current_process_while(endpoint, None, go_on)),
            record: None,
            handlers: BTreeMap::new(),
            detector: Box::new(|_| LegacyClassification::NotLegacy),
            authorize: Box::new(same_user),
            ready: Box::new(|_| {}),
            observer: Box::new(|_, _| {}),
            config: ServerConfig::default(),
            stats: ServerStats::zero(),
            signals: None,
        }
    }
}

impl<H> Setup<H> {
    /// Checks, before anything is served, that clients will be able to find the server.
    pub(in super::super) fn check_record(&self) -> Result<(), ServerError> {
        let Some(path) = &self.record else { return Ok(()) };
        check_daemon_identity_path(path, &self.endpoint)
            .map_err(|source| ServerError::Record { path: path.clone(), source })
    }
}

impl<C: ?Sized> Setup<Handler<C>> {
    /// What serves at once, and what makes it known. Latencies are measured with `clock`, which the driver takes the time
    /// from.
    pub(in super::super) fn start(mut self, clock: fn() -> Instant) -> (Service<Handler<C>>, Introduction) {
        if let Some(status) = self.config.status {
            self.handlers.entry(status).or_insert(Handler::Status);
        }
        let served: Vec<u32> = self.handlers.keys().copied().collect();
        let mux = Arc::new(BackendEndpointMux::unidentified(&served, self.detector));
        let introduction = Introduction {
            endpoint: self.endpoint,
            inherited: self.inherited,
            identify: self.identify,
            record: self.record,
            ready: self.ready,
            mux: Arc::clone(&mux),
            visible: Arc::default(),
        };
        let service = Service {
            mux,
            handlers: self.handlers,
            authorize: self.authorize,
            observation: Observation::begin(self.stats, self.observer, clock, &served),
            budget: Budget::new(self.config.memory, self.config.max_connections + OVER_CAPACITY_CONNECTIONS),
            config: self.config,
        };
        (service, introduction)
    }
}
