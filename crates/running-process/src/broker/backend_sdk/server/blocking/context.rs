//! The state that all threads of one server share.

use super::adaptive::{Lane, Watchdog};
use super::handler::{BlockingHandler, LegacyHandler};
use super::poller::Poller;
use super::pool::Pool;
use super::run_queue::RunQueue;
use crate::broker::backend_sdk::server::connection_table::ConnectionTable;
use crate::broker::backend_sdk::server::idle_exit::{IdleStep, IdleTimeouts};
use crate::broker::backend_sdk::server::phase::{AtomicPhase, Phase};
use crate::broker::backend_sdk::server::policy::ServerPolicy;
use crate::broker::backend_sdk::server::stop::ServerStop;
use crate::broker::backend_sdk::server::sync::{Condvar, Mutex, MutexGuard};
use crate::transport::StopSignal;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// The state of a server, without the code that drives its connections, which are of the type `C`.
pub(super) struct ServerContext<C> {
    pub(super) policy: Arc<ServerPolicy<BlockingHandler>>,
    pub(super) legacy: Option<LegacyHandler>,
    pub(super) pool: Arc<Pool>,
    /// `None` where the system has none: then each connection has a thread.
    pub(super) poller: Option<Poller>,
    /// Ends the wait for the next connection.
    pub(super) signal: StopSignal,
    pub(super) stop: ServerStop,
    pub(super) watchdog: Watchdog,
    /// Passes the work of a lane that is overdue at a step to another thread.
    relieve: fn(&Arc<Self>, Arc<Lane>, u64),
    queue: Mutex<RunQueue<Arc<C>>>,
    table: Mutex<ConnectionTable<Arc<C>>>,
    /// Locked while a connection waits for its slot and takes it.
    opening: Mutex<()>,
    /// Notified when a connection is closed.
    pub(super) closed: Condvar,
    /// Notified when the server is registered, is stopped or may be idle.
    pub(super) ended: Condvar,
    pub(super) phase: AtomicPhase,
}

impl<C: Send + Sync + 'static> ServerContext<C> {
    pub(super) fn new(
        policy: Arc<ServerPolicy<BlockingHandler>>,
        legacy: Option<LegacyHandler>,
        poller: Option<Poller>,
        signal: StopSignal,
        stop: ServerStop,
        idle_exit: Option<IdleTimeouts>,
        relieve: fn(&Arc<Self>, Arc<Lane>, u64),
    ) -> Self {
        let table = ConnectionTable::new(policy.config.max_connections).with_idle_exit(idle_exit);
        Self {
            policy,
            legacy,
            pool: Pool::new(),
            poller,
            signal,
            stop,
            watchdog: Watchdog::default(),
            relieve,
            queue: Mutex::new(RunQueue::new()),
            table: Mutex::new(table),
            opening: Mutex::new(()),
            closed: Condvar::new(),
            ended: Condvar::new(),
            phase: AtomicPhase::default(),
        }
    }

    /// Returns the open connections. Locked after the state of a connection, never before.
    pub(super) fn table(&self) -> MutexGuard<'_, ConnectionTable<Arc<C>>> {
        // No code that can panic runs between two changes of it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes connections take their slots one after the other. Locked before the table and before any connection.
    pub(super) fn opening(&self) -> MutexGuard<'_, ()> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the queue of the polling thread.
    pub(super) fn run_queue(&self) -> MutexGuard<'_, RunQueue<Arc<C>>> {
        // As for the table.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the polling thread look at its queue.
    pub(super) fn wake_poller(&self) {
        if let Some(poller) = &self.poller {
            let woken = poller.wake();
            debug_assert!(woken.is_ok(), "an event descriptor takes a wake at any time");
        }
    }

    pub(super) fn conn(&self, id: u64) -> Option<Arc<C>> {
        self.table().get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<C>> {
        self.table().iter().cloned().collect()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get().unwrap_or(Phase::Cancelling)
    }

    /// Waits until the server is identified; returns `false` if it is to end before.
    pub(super) fn wait_identified(&self) -> bool {
        let ended = |_: &mut _| self.phase() == Phase::Serving && !self.policy.is_identified();
        drop(self.ended.wait_while(self.table(), ended).unwrap_or_else(PoisonError::into_inner));
        self.policy.is_identified()
    }

    /// Waits until the server is to end. Returns whether that is because it has no work.
    pub(super) fn wait_for_end(&self) -> bool {
        let mut table = self.table();
        while self.phase() == Phase::Serving {
            let now = Instant::now();
            let left = match table.idle_step(now) {
                IdleStep::Exit => return true,
                IdleStep::Wait(deadline) => {
                    deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(now))
                }
            };
            table = self.ended.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// Queues `conn` for the polling thread, behind the others that are ready.
    pub(super) fn requeue(&self, conn: &Arc<C>) {
        let wakes = self.run_queue().push(Arc::clone(conn));
        if wakes {
            self.wake_poller();
        }
    }

    /// Moves the timer of connection `id` from `before` to `deadline`.
    pub(super) fn set_timer(&self, id: u64, before: Option<Instant>, deadline: Option<Instant>) {
        let wakes = self.run_queue().move_timer(id, before, deadline);
        if wakes {
            self.wake_poller();
        }
    }

    /// Starts the watchdog, unless it runs: a lane begins to work.
    pub(super) fn watch(self: &Arc<Self>) {
        if self.watchdog.wants_thread() {
            let context = Arc::clone(self);
            let watch = move || context.watchdog.watch(|lane, step| (context.relieve)(&context, lane, step));
            if self.pool.submit(Box::new(watch)).is_err() {
                self.watchdog.has_no_thread();
            }
        }
    }

    /// Removes a connection, and closes it by `close` under the same lock: its end is counted when its slot is free.
    pub(super) fn closed(&self, id: u64, timer: Option<Instant>, close: impl FnOnce()) {
        if timer.is_some() {
            self.set_timer(id, timer, None);
        }
        let mut table = self.table();
        let removed = table.remove(id);
        close();
        if table.removed(Instant::now()) {
            self.ended.notify_all();
        }
        drop(table);
        drop(removed);
        self.closed.notify_all();
    }

    /// Waits until the number of open connections is `enough`, but no longer than until `deadline`; returns the number.
    pub(super) fn wait_closed(&self, deadline: Option<Instant>, enough: impl Fn(usize) -> bool) -> usize {
        let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        let waited = self.closed.wait_timeout_while(self.table(), left, |table| !enough(table.len()));
        waited.unwrap_or_else(PoisonError::into_inner).0.len()
    }
}
