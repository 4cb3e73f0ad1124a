//! The state of one server: its connections, and how far its end has come.

use super::alarm;
use super::conn::{AtomicPhase, Conn};
use super::legacy::LegacyHandler;
use super::request::AsyncHandler;
use crate::broker::backend_sdk::server::connection_table::{ConnectionTable, REPLACE_TIMEOUT, SlotOffer};
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::backend_sdk::server::policy::ServerPolicy;
use crate::broker::backend_sdk::server::session::Phase;
use crate::broker::backend_sdk::server::shutdown::{Shutdown, ShutdownStep};
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
    connections: Mutex<ConnectionTable<Arc<Conn<AsyncHandler>>>>,
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

    fn connections(&self) -> MutexGuard<'_, ConnectionTable<Arc<Conn<AsyncHandler>>>> {
        // No code that holds the lock can leave the table half changed.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.phase.get() != Phase::Serving
    }

    /// Makes every connection, and every later one, enter `phase`.
    pub(super) fn enter(&self, phase: Phase) {
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

    /// Ends every connection at once.
    pub(super) fn close_all(&self) {
        self.connections().iter().for_each(|conn| conn.close());
    }

    /// Returns the output of `future`, or `None` once the server is stopped.
    pub(super) async fn until_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        loop {
            let mut changed = pin!(self.changed.notified());
            if self.is_stopped() {
                return None;
            }
            let output = poll_fn(|context| match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending => changed.as_mut().poll(context).map(|()| None),
            });
            if let Some(output) = output.await {
                return Some(output);
            }
        }
    }

    /// Waits until a connection has ended, but for no longer than `time`.
    pub(super) async fn pause(&self, time: Duration) {
        let open = self.connections().len();
        let ended = async {
            loop {
                let changed = self.changed.notified();
                if self.connections().len() < open {
                    return;
                }
                changed.await;
            }
        };
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
                    conn.enter(Phase::Draining);
                    REPLACE_TIMEOUT
                }
                SlotOffer::Wait(time) => time,
            };
            self.until_stopped(self.pause(wait)).await?;
        };
        // The observer may be called here, so the table is not locked.
        let conn = Arc::new(Conn::new(&self.policy, peer, slot));
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
            let open = self.connections().len();
            match shutdown.step(open, at) {
                ShutdownStep::Wait(deadline) => {
                    let ended = alarm::before(deadline, self.all_ended()).await;
                    at = deadline.filter(|_| ended.is_none()).unwrap_or(at);
                }
                ShutdownStep::Enter(phase) => self.enter(phase),
                ShutdownStep::End { late } => {
                    self.close_all();
                    return late;
                }
            }
        }
    }

    async fn all_ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.connections().is_empty() {
                return;
            }
            changed.await;
        }
    }
}

/// A connection that counts as open until this is dropped: it has ended, its task panicked, or the server was dropped.
pub(super) struct OpenConn {
    pub(super) context: Arc<ServerContext>,
    pub(super) conn: Arc<Conn<AsyncHandler>>,
    id: u64,
}

impl Drop for OpenConn {
    fn drop(&mut self) {
        self.conn.session().close();
        self.conn.progress.notify_waiters();
        let removed = self.context.connections().remove(self.id);
        drop(removed);
        self.context.changed.notify_waiters();
    }
}
