use super::adaptive::{Pace, Watch};
use super::conn::{Concurrent, Link};
use super::conn_loop;
use super::handler::{ConcurrentHandler, LegacyHandler};
use super::pool::Pool;
use crate::broker::backend_sdk::proto::server_connection::CallId;
use crate::broker::backend_sdk::server::handler::Handler;
use crate::broker::backend_sdk::server::over_capacity::{self, ENDING, Place, Room};
use crate::broker::backend_sdk::server::policy::{LAST_WORDS, READ_BYTES, STALLED, Service};
use crate::broker::backend_sdk::server::sync::{Condvar, Mutex, MutexGuard};
use crate::broker::backend_sdk::server::telemetry::Event;
use crate::broker::protocol::Refusal;
use crate::transport::StopSignal;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// What every thread of one server sees.
pub(super) struct Shared {
    pub(super) service: ServerPolicy<Handler<ConcurrentHandler>>,
    pub(super) legacy: Option<LegacyHandler>,
    pub(super) signal: StopSignal,
    pub(super) pool: Arc<Pool>,
    pub(super) watch: Watch,
    /// Of the handler of each payload protocol.
    paces: BTreeMap<u32, Pace>,
    /// Every open connection.
    open: Mutex<HashMap<u64, Arc<Link>>>,
    /// Notified when a connection ends.
    ended: Condvar,
}

impl Shared {
    pub(super) fn new(
        service: ServerPolicy<Handler<ConcurrentHandler>>,
        legacy: Option<LegacyHandler>,
        signal: StopSignal,
    ) -> Self {
        let pool = Pool::new(READ_BYTES);
        let paces = service.handlers.keys().map(|protocol| (*protocol, Pace::unknown())).collect();
        let (watch, open, ended) = (Watch::default(), Mutex::default(), Condvar::new());
        Self { service, legacy, signal, pool, watch, paces, open, ended }
    }

    /// How fast the handler of `payload_protocol` is, which has one.
    pub(super) fn pace(&self, payload_protocol: u32) -> &Pace {
        &self.paces[&payload_protocol]
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        // Nothing that holds the lock can leave the map half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the wait for the next message of every connection, and of every later one.
    pub(super) fn stop(&self) {
        self.signal.stop();
        self.open().values().for_each(|link| link.stream.interrupt_reads());
    }

    /// Has every connection go on whose probe waits for the identification, which has ended.
    pub(super) fn identified(&self) {
        // An inline handler may hold up one of them, for which no other connection waits.
        let open: Vec<_> = self.open().values().cloned().collect();
        for link in open.into_iter().filter(|link| link.may_await_identity()) {
            let flushing = Arc::clone(&link);
            if self.pool.submit(Box::new(move |_| flushing.flush())).is_err() {
                link.flush();
            }
        }
    }

    /// Counts a connection as open until it is [closed](Self::closed).
    pub(super) fn opened(&self, link: &Arc<Link>) {
        self.open().insert(link.id, Arc::clone(link));
        self.service.telemetry.note(Event::Opened);
        // A stop that came before the insertion has not seen this connection.
        if self.signal.is_stopped() {
            link.stream.interrupt_reads();
        }
    }

    /// The connection does not count as open any more; its [`Reader`](conn_loop::Reader) sees to that.
    pub(super) fn closed(&self, link: &Link) {
        self.open().remove(&link.id);
        self.service.telemetry.note(Event::Closed);
        self.ended.notify_all();
    }

    /// Waits for a place for a connection that was accepted; `None` if the server is stopped before there is one.
    pub(super) fn place(&self) -> Option<Place> {
        let max_connections = self.service.config.max_connections;
        while !self.signal.is_stopped() {
            let open = self.open();
            let (before, room) =
                (open.len(), over_capacity::room(&open, max_connections, Instant::now(), |link| link.place));
            drop(open);
            let wait = match room {
                Room::Free(place) => return Some(place),
                Room::After(link) => {
                    // Requests that it has sent are still answered.
                    link.stream.interrupt_reads();
                    ENDING
                }
                Room::In(wait) => wait,
            };
            self.wait_for(wait, |open| open < before);
        }
        None
    }

    pub(super) fn open_connections(&self) -> usize {
        self.open().len()
    }

    /// Waits until the number of open connections is `enough`, but no longer than `timeout`; gives the number.
    pub(super) fn wait_for(&self, timeout: Duration, enough: impl Fn(usize) -> bool) -> usize {
        let waited = self.ended.wait_timeout_while(self.open(), timeout, |open| !enough(open.len()));
        waited.unwrap_or_else(PoisonError::into_inner).0.len()
    }

    /// Waits until `deadline` for every connection to end, then returns how many are left. A peer that reads nothing of
    /// what waits for it is not waited for.
    fn wait_for_all(&self, deadline: Option<Instant>) -> usize {
        let mut seen = HashMap::new();
        loop {
            let open: Vec<_> = self.open().values().cloned().collect();
            for link in open {
                if link.is_stalled(seen.entry(link.id).or_default()) {
                    // The observer is told, by another thread.
                    let ending = Arc::clone(&link);
                    if self.pool.submit(Box::new(move |_| ending.end_stalled())).is_err() {
                        link.stream.disconnect();
                    }
                }
            }
            let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            let connections = self.wait_for(left.min(STALLED), |open| open == 0);
            if connections == 0 || left <= STALLED {
                return connections;
            }
        }
    }

    /// Waits until `deadline` for the connections at work. Then has what they work on cancelled, and the clients told. Gives
    /// how many there were. Never waits for the daemon's code: whatever that may hold up is done by other threads.
    pub(super) fn drain(&self, deadline: Option<Instant>) -> usize {
        let connections = self.wait_for_all(deadline);
        if connections == 0 {
            return 0;
        }
        let late: Vec<_> = self.open().values().cloned().collect();
        for link in &late {
            let cancelled = Arc::clone(link);
            // Without a thread the clients see the connection end.
            let _ = self.pool.submit(Box::new(move |_| cancelled.cancel_all()));
        }
        self.wait_for(LAST_WORDS, |open| open == 0);
        for link in &late {
            link.stream.disconnect();
        }
        connections
    }

    /// Gives the calls of `link` to other threads. Returns those for which there is none, and what their client is told.
    pub(super) fn submit(
        &self,
        link: &Arc<Link>,
        calls: impl IntoIterator<Item = Concurrent>,
    ) -> Vec<(CallId, Refusal)> {
        let mut refused = Vec::new();
        for call in calls {
            let (link, id) = (Arc::clone(link), call.call);
            let served = self.pool.submit(Box::new(move |_| conn_loop::serve(&link, call, None)));
            refused.extend(served.err().map(|error| (id, self.service.no_thread(error))));
        }
        refused
    }
}
