//! The state of one server: its connections, and how far its end has come.

use super::alarm;
use super::legacy::LegacyHandler;
use super::request::{AsyncConn, AsyncHandler};
use crate::broker::backend_sdk::server::phase::AtomicPhase;
use crate::broker::backend_sdk::{
    ConnectionTable, PeerCredentials, Phase, REPLACE_TIMEOUT, ServerPolicy, Shutdown, ShutdownStep, SlotOffer,
};
use crate::broker::runtime_clock::now;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::time::timeout;

/// The state that all tasks of one server share.
pub(super) struct ServerContext {
    pub(super) policy: Arc<ServerPolicy<AsyncHandler>>,
    pub(super) legacy: Option<LegacyHandler>,
    /// All tasks take turns on one thread, so a handler costs the others the same in any of them.
    pub(super) one_thread: bool,
    phase: AtomicPhase,
    connections: Mutex<ConnectionTable<Arc<AsyncConn>>>,
    /// Held between the offer of a slot and its use, by one connection at a time.
    opening: tokio::sync::Mutex<()>,
    /// Notified when a connection has ended, or the server has entered another phase.
    changed: Notify,
}

impl ServerContext {
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(super) fn new(policy: Arc<ServerPolicy<AsyncHandler>>, legacy: Option<LegacyHandler>) -> Self {
        Self {
            legacy,
            one_thread: Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread,
            phase: AtomicPhase::default(),
            connections: Mutex::new(ConnectionTable::new(policy.config.max_connections)),
            opening: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            policy,
        }
    }

    fn connections(&self) -> MutexGuard<'_, ConnectionTable<Arc<AsyncConn>>> {
        // No code that holds the lock can leave the table half changed.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_connections(&self) -> usize {
        self.connections().len()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.phase.get() != Some(Phase::Serving)
    }

    /// Makes every connection enter `phase`, or end at once. None is opened any more.
    pub(super) fn enter(&self, phase: Option<Phase>) {
        let connections = self.connections();
        self.phase.enter(phase);
        connections.iter().for_each(|conn| conn.enter(phase));
        drop(connections);
        self.changed.notify_waiters();
    }

    /// Makes every connection look at what it waits for.
    pub(super) fn wake_all(&self) {
        self.connections().iter().for_each(|conn| conn.wake());
    }

    /// Waits until `condition` holds. It is evaluated again when a connection has ended or the server has entered another phase.
    async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    /// Returns the output of `future`, or `None` once the server is stopped.
    pub(super) async fn until_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut stopped = pin!(self.wait_until(Self::is_stopped));
        let mut future = pin!(future);
        poll_fn(|context| match stopped.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => future.as_mut().poll(context).map(Some),
        })
        .await
    }

    /// Waits until a connection has ended or the server is stopped, but for no longer than `time`.
    pub(super) async fn pause(&self, time: Duration) {
        let open = self.open_connections();
        let ended = self.wait_until(|context| context.open_connections() < open || context.is_stopped());
        // The time has passed either way.
        let _ = timeout(time, ended).await;
    }

    /// Opens a connection that `peer` made, once there is a slot for it; `None` if the server is stopped before.
    pub(super) async fn open(self: &Arc<Self>, peer: PeerCredentials) -> Option<OpenConn> {
        let _opening = self.until_stopped(self.opening.lock()).await?;
        let slot = loop {
            let wait = match self.connections().slot(now()) {
                SlotOffer::Free(slot) => break slot,
                SlotOffer::After(conn) => {
                    conn.enter(Some(Phase::Draining));
                    REPLACE_TIMEOUT
                }
                SlotOffer::Wait(time) => time,
            };
            self.pause(wait).await;
            if self.is_stopped() {
                return None;
            }
        };
        // The observer may be called here, so the table is not locked.
        let conn = Arc::new(AsyncConn::new(&self.policy, peer, slot));
        let mut connections = self.connections();
        if self.is_stopped() {
            return None;
        }
        let mut id = 0;
        connections.insert(slot, |new| {
            id = new;
            Arc::clone(&conn)
        });
        drop(connections);
        Some(OpenConn { context: Arc::clone(self), conn, id })
    }

    /// Ends the connections: they drain, are cancelled when the drain times out, and are then closed. Returns how many were
    /// open when it timed out.
    pub(super) async fn drain(&self, begin: Instant) -> usize {
        let mut shutdown = Shutdown::begin(begin, self.policy.config.drain_timeout);
        let mut at = begin;
        loop {
            match shutdown.step(self.open_connections(), at) {
                ShutdownStep::Wait(deadline) => {
                    let ended = self.wait_until(|context| context.open_connections() == 0);
                    let ended = alarm::before(deadline, ended).await;
                    at = deadline.filter(|_| ended.is_none()).unwrap_or(at);
                }
                ShutdownStep::Enter(phase) => self.enter(Some(phase)),
                ShutdownStep::End { late } => {
                    self.enter(None);
                    return late;
                }
            }
        }
    }
}

/// A connection that counts as open until this is dropped: it has ended, its task panicked, or the server was dropped.
pub(super) struct OpenConn {
    pub(super) context: Arc<ServerContext>,
    pub(super) conn: Arc<AsyncConn>,
    id: u64,
}

impl Drop for OpenConn {
    fn drop(&mut self) {
        let mut session = self.conn.session();
        let mut connections = self.context.connections();
        connections.remove(self.id);
        // The end is counted when the slot is free.
        session.close();
        drop((connections, session));
        self.conn.progress.notify_waiters();
        self.context.changed.notify_waiters();
    }
}
