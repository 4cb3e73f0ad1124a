//! The state of one server: its connections, and how far its end has come.

use super::alarm;
use super::legacy::Legacy;
use super::request::{AsyncConn, AsyncHandler};
use crate::broker::backend_sdk::server::idle_exit::{IdleStep, IdleTimeouts};
use crate::broker::backend_sdk::server::phase::AtomicPhase;
use crate::broker::backend_sdk::{
    ConnectionTable, PeerCredentials, Phase, ServerPolicy, ServerStop, Shutdown, ShutdownStep,
};
use crate::broker::runtime_clock::now;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};

/// The state that all tasks of one server share.
pub(super) struct ServerContext {
    pub(super) policy: Arc<ServerPolicy<AsyncHandler>>,
    pub(super) legacy: Legacy,
    /// All tasks take turns on one thread, so a handler costs the others the same in any of them.
    pub(super) one_thread: bool,
    phase: AtomicPhase,
    connections: Mutex<ConnectionTable<Arc<AsyncConn>>>,
    /// Held between the offer of a slot and its use, by one connection at a time.
    opening: tokio::sync::Mutex<()>,
    /// Notified when a connection has ended, the server has entered another phase, or it is registered.
    changed: Notify,
}

impl ServerContext {
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(super) fn new(
        policy: Arc<ServerPolicy<AsyncHandler>>,
        legacy: Legacy,
        idle_exit: Option<IdleTimeouts>,
    ) -> Self {
        let connections = ConnectionTable::new(policy.config.max_connections);
        Self {
            legacy,
            one_thread: Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread,
            phase: AtomicPhase::default(),
            connections: Mutex::new(connections.with_idle_exit(idle_exit)),
            opening: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            policy,
        }
    }

    fn connections(&self) -> MutexGuard<'_, ConnectionTable<Arc<AsyncConn>>> {
        // No code that holds the lock can leave the table half changed.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open_connections(&self) -> usize {
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

    /// Makes the connections that wait for the identity of the server look: it is registered.
    pub(super) fn registered(&self) {
        let mut connections = self.connections();
        connections.iter().for_each(|conn| conn.wake());
        connections.registered(now());
        drop(connections);
        self.changed.notify_waiters();
    }

    /// Waits until the server has had no work for as long as it may.
    pub(super) async fn until_idle(&self) {
        loop {
            let changed = self.changed.notified();
            let step = self.connections().idle_step(now());
            match step {
                IdleStep::Exit => return,
                IdleStep::Wait(None) => changed.await,
                IdleStep::Wait(Some(deadline)) => sleep_until(deadline.into()).await,
            }
        }
    }

    /// Waits until `condition` holds. It is evaluated again when a connection has ended or the server has entered another phase.
    pub(super) async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
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
        unless(self.wait_until(Self::is_stopped), future).await
    }

    /// Returns the output of `future`, or `None` once the server is stopped or idle.
    pub(super) async fn until_ended<F: Future>(&self, future: F) -> Option<F::Output> {
        unless(self.until_stopped(self.until_idle()), future).await
    }

    /// Waits until a connection has ended or the server has entered another phase, but for no longer than `time`.
    pub(super) async fn pause(&self, time: Duration) {
        let (open, phase) = (self.open_connections(), self.phase.get());
        let ended =
            self.wait_until(|context| context.open_connections() < open || context.phase.get() != phase);
        // The time has passed either way.
        let _ = timeout(time, ended).await;
    }

    /// Opens a connection that `peer` made, once there is a slot for it; `None` if the server is beyond the phase `last` before.
    /// In [`Phase::Draining`], what the peer has sent is answered.
    pub(super) async fn open(self: &Arc<Self>, peer: PeerCredentials, last: Phase) -> Option<OpenConn> {
        let past = self.wait_until(|context| context.is_past(last));
        let _opening = unless(past, self.opening.lock()).await?;
        let slot = loop {
            let slot = self.connections().slot(now(), |conn| conn.enter(Some(Phase::Draining)));
            match slot {
                Ok(slot) => break slot,
                Err(time) => self.pause(time).await,
            }
            if self.is_past(last) {
                return None;
            }
        };
        // The observer may be called here, so the table is not locked.
        let conn = Arc::new(AsyncConn::new(&self.policy, peer, slot));
        let mut connections = self.connections();
        if self.is_past(last) {
            return None;
        }
        if self.is_stopped() {
            conn.enter(self.phase.get());
        }
        let mut id = 0;
        connections.insert(slot, |new| {
            id = new;
            Arc::clone(&conn)
        });
        drop(connections);
        Some(OpenConn { context: Arc::clone(self), conn, id })
    }

    /// Returns whether the server is beyond the phase `last`.
    fn is_past(&self, last: Phase) -> bool {
        self.phase.get().is_none_or(|phase| phase > last)
    }

    /// Ends the connections: they drain, are cancelled when the drain times out, and are then closed. Returns how many were
    /// open when it timed out.
    pub(super) async fn drain(&self, begin: Instant, stop: &ServerStop) -> usize {
        let mut shutdown = Shutdown::begin(begin, self.policy.config.drain_timeout, stop);
        let mut at = begin;
        loop {
            match shutdown.step(self.open_connections(), at) {
                ShutdownStep::Wait(deadline) => {
                    let phase = self.phase.get();
                    let ended = self.wait_until(|context| {
                        context.open_connections() == 0 || context.phase.get() != phase
                    });
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

/// Returns the output of `future`, or `None` if `ended` is ready before.
async fn unless<F: Future>(ended: impl Future, future: F) -> Option<F::Output> {
    let (mut ended, mut future) = (pin!(ended), pin!(future));
    poll_fn(|context| match ended.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(context).map(Some),
    })
    .await
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
        {
            let mut connections = self.context.connections();
            connections.remove(self.id);
            // The task that waits is notified below.
            connections.removed(now());
        }
        // The end is counted when the slot is free. An observer that hears of it may stop the server, which looks at the table.
        session.close();
        drop(session);
        self.conn.progress.notify_waiters();
        self.context.changed.notify_waiters();
    }
}
