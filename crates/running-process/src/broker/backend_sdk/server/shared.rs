use super::super::mux::BackendEndpointMux;
use super::{Detector, Handler, LegacyHandler, Observer, ServerConfig, ServerError};
use crate::transport::{LocalStream, StopSignal};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What every thread of one server sees.
pub(super) struct Shared {
    pub(super) mux: Arc<BackendEndpointMux<Detector>>,
    pub(super) handlers: BTreeMap<u32, Handler>,
    pub(super) legacy: Option<LegacyHandler>,
    pub(super) observer: Observer,
    pub(super) config: ServerConfig,
    pub(super) stop: ServerStop,
}

impl Shared {
    /// Waits for the connections at work, for as long as the configuration allows.
    pub(super) fn drain(&self) -> Result<(), ServerError> {
        let waited = self.config.drain;
        match self.stop.wait_for(waited, |open| open == 0) {
            0 => Ok(()),
            connections => Err(ServerError::DrainTimedOut { connections, waited }),
        }
    }
}

/// Stops a [`Server`](super::Server) from anywhere; cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerStop(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    signal: StopSignal,
    /// Every open connection, so that stopping can end the wait for its next message.
    open: Mutex<HashMap<u64, Arc<LocalStream>>>,
    /// Notified when a connection ends.
    ended: Condvar,
}

impl Registry {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<LocalStream>>> {
        // Nothing that holds the lock can leave the map half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerStop {
    pub(super) fn new() -> io::Result<Self> {
        let signal = StopSignal::new()?;
        Ok(Self(Arc::new(Registry { signal, open: Mutex::default(), ended: Condvar::new() })))
    }

    /// Stops the server: no more connections, and every open one ends once what it has received is answered. Returns
    /// at once; may be called any number of times.
    pub fn stop(&self) {
        self.0.signal.stop();
        self.0.open().values().for_each(|stream| stream.interrupt_reads());
    }

    /// Whether the server was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.signal.is_stopped()
    }

    pub(super) fn signal(&self) -> &StopSignal {
        &self.0.signal
    }

    /// Counts a connection as open until the result is dropped.
    pub(super) fn register(&self, id: u64, stream: &Arc<LocalStream>) -> OpenConnection {
        self.0.open().insert(id, Arc::clone(stream));
        // A stop that came before the insertion has not seen this connection.
        if self.is_stopped() {
            stream.interrupt_reads();
        }
        OpenConnection { id, registry: Arc::clone(&self.0) }
    }

    pub(super) fn open_connections(&self) -> usize {
        self.0.open().len()
    }

    /// Waits until the number of open connections is `enough`, but no longer than `timeout`; gives the number.
    pub(super) fn wait_for(&self, timeout: Duration, enough: impl Fn(usize) -> bool) -> usize {
        let ended = &self.0.ended;
        let waited = ended.wait_timeout_while(self.0.open(), timeout, |open| !enough(open.len()));
        waited.unwrap_or_else(PoisonError::into_inner).0.len()
    }
}

/// A place among the open connections.
pub(super) struct OpenConnection {
    id: u64,
    registry: Arc<Registry>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.registry.open().remove(&self.id);
        self.registry.ended.notify_all();
    }
}
