//! The state that all threads of one server share.

use super::adaptive::{Lane, Overdue, Watchdog};
use super::events::{QUIET, TIMER, WAKE};
use super::handler::{BlockingHandler, LegacyHandler};
use super::poller::Poller;
use super::pool::Pool;
use crate::broker::backend_sdk::server::connection_table::ConnectionTable;
use crate::broker::backend_sdk::server::phase::{AtomicPhase, Phase};
use crate::broker::backend_sdk::server::policy::ServerPolicy;
use crate::broker::backend_sdk::server::shutdown::{Shutdown, ShutdownStep};
use crate::broker::backend_sdk::server::stop::ServerStop;
use crate::broker::backend_sdk::server::sync;
use crate::broker::backend_sdk::server::sync::{Condvar, Mutex, MutexGuard};
use crate::transport::StopSignal;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Number of reports in a row of one connection alone, less than [`QUIET`] apart, after which a thread reads it blocking.
const ADOPT_AFTER: u32 = 16;

/// A connection as the threads of its server see it.
pub(super) trait Connection: Send + Sync + 'static {
    /// Returns the id in the table of connections.
    fn id(&self) -> u64;

    /// Leaves `events` for the thread that drives the connection next.
    fn leave(&self, events: u8);

    /// Does all that can be done now, unless another thread does it. A thread with a `lane` serves quick requests itself.
    fn drive(self: &Arc<Self>, lane: Option<&Lane>);

    /// Makes this thread the reader of the connection, if that waits for nothing but the peer; returns whether it is.
    fn adopt(self: &Arc<Self>) -> bool;

    /// Gives the connection back to the poller.
    fn give_back(self: &Arc<Self>);

    /// Reads the connection until it is over, or falls quiet and goes back to the poller.
    fn read_blocking(self: &Arc<Self>, lane: &Lane);

    /// Ends the connection in both directions.
    fn disconnect(&self);
}

pub(super) struct ServerContext<C> {
    pub(super) policy: Arc<ServerPolicy<BlockingHandler>>,
    pub(super) legacy: Option<LegacyHandler>,
    pub(super) pool: Arc<Pool>,
    /// `None` where the system has none: then each connection has a thread.
    pub(super) poller: Option<Poller>,
    /// Ends the wait for the next connection.
    pub(super) signal: StopSignal,
    stop: ServerStop,
    watchdog: Watchdog<Role>,
    queue: Mutex<RunQueue<C>>,
    table: Mutex<ConnectionTable<Arc<C>>>,
    /// Notified when a connection is closed.
    closed: Condvar,
    phase: AtomicPhase,
}

/// The work of a thread with a [`Lane`].
#[derive(Clone)]
enum Role {
    /// The thread polls all connections.
    Poller,
    /// The thread reads one connection.
    Reader,
}

/// The connections that the polling thread looks at without an event.
struct RunQueue<C> {
    ready: VecDeque<Arc<C>>,
    timers: BTreeSet<(Instant, u64)>,
    polling: Polling,
    ended: bool,
}

/// The wait of the polling thread.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Polling {
    /// It looks at the queue again before it waits.
    #[default]
    No,
    Until(Instant),
    Forever,
}

impl Polling {
    /// Returns whether the thread waits beyond `deadline`.
    fn is_later_than(self, deadline: Instant) -> bool {
        match self {
            Self::No => false,
            Self::Until(until) => deadline < until,
            Self::Forever => true,
        }
    }
}

/// The reports in a row of one connection alone.
struct Streak {
    id: u64,
    count: u32,
    last: Instant,
}

impl Streak {
    /// Counts a report of connection `id`; returns how many came in a row before it, each soon after the last.
    fn count(&mut self, id: u64, is_lone: bool) -> u32 {
        let now = Instant::now();
        let follows = is_lone && id == self.id && now.saturating_duration_since(self.last) < QUIET;
        *self = Self { id, count: if follows { self.count + 1 } else { 0 }, last: now };
        self.count
    }
}

impl<C: Connection> ServerContext<C> {
    pub(super) fn new(
        policy: Arc<ServerPolicy<BlockingHandler>>,
        legacy: Option<LegacyHandler>,
        poller: Option<Poller>,
        signal: StopSignal,
        stop: ServerStop,
    ) -> Self {
        let table = Mutex::new(ConnectionTable::new(policy.config.max_connections));
        Self {
            policy,
            legacy,
            pool: Pool::new(),
            poller,
            signal,
            stop,
            watchdog: Watchdog::new(),
            queue: Mutex::new(RunQueue {
                ready: VecDeque::new(),
                timers: BTreeSet::new(),
                polling: Polling::No,
                ended: false,
            }),
            table,
            closed: Condvar::new(),
            phase: AtomicPhase::default(),
        }
    }

    /// Returns the open connections. Locked after the state of a connection, never before.
    pub(super) fn table(&self) -> MutexGuard<'_, ConnectionTable<Arc<C>>> {
        // No code that can panic runs between two changes of it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, RunQueue<C>> {
        // As for the table.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn conn(&self, id: u64) -> Option<Arc<C>> {
        self.table().get(id).cloned()
    }

    fn all(&self) -> Vec<Arc<C>> {
        self.table().iter().cloned().collect()
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get().unwrap_or(Phase::Cancelling)
    }

    /// Makes every connection, and every later one, enter `phase`.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.enter(Some(phase));
        self.wake_all();
    }

    /// Wakes every connection.
    pub(super) fn wake_all(&self) {
        self.all().iter().for_each(|conn| self.wake(conn));
    }

    /// Makes a thread drive `conn`.
    pub(super) fn wake(&self, conn: &Arc<C>) {
        conn.leave(WAKE);
        if self.poller.is_some() {
            return self.requeue(conn);
        }
        let driving = Arc::clone(conn);
        // If there is no thread for it, the reader of the connection looks within its interval.
        let _ = self.pool.submit(Box::new(move || driving.drive(None)));
    }

    /// Queues `conn` for the polling thread, behind the others that are ready.
    pub(super) fn requeue(&self, conn: &Arc<C>) {
        let mut queue = self.queue();
        if !queue.ended {
            queue.ready.push_back(Arc::clone(conn));
            self.interrupt(queue);
        }
    }

    /// Moves the timer of connection `id` from `before` to `deadline`.
    pub(super) fn set_timer(&self, id: u64, before: Option<Instant>, deadline: Instant) {
        let mut queue = self.queue();
        if let Some(before) = before {
            queue.timers.remove(&(before, id));
        }
        queue.timers.insert((deadline, id));
        if queue.polling.is_later_than(deadline) {
            self.interrupt(queue);
        }
    }

    /// Makes the polling thread return, if it polls.
    fn interrupt(&self, mut queue: MutexGuard<'_, RunQueue<C>>) {
        if std::mem::take(&mut queue.polling) != Polling::No {
            drop(queue);
            let woken = self.poller.as_ref().map(Poller::wake);
            debug_assert!(!matches!(woken, Some(Err(_))), "an event descriptor takes a wake at any time");
        }
    }

    /// Returns the next connection to drive, and whether it is the only one that was ready; `None` if the server has ended or
    /// another thread polls.
    fn next_ready(&self, lane: &Lane) -> Option<(Arc<C>, bool)> {
        let poller = self.poller.as_ref()?;
        loop {
            let mut queue = self.queue();
            if queue.ended || lane.is_lost() {
                return None;
            }
            if let Some(conn) = queue.ready.pop_front() {
                return Some((conn, false));
            }
            let first = queue.timers.first().copied();
            let now = first.map(|_| Instant::now());
            let timeout = first.zip(now).map(|((at, _), now)| at.saturating_duration_since(now));
            if let Some((at, id)) = first.filter(|_| timeout.is_some_and(|left| left.is_zero())) {
                queue.timers.remove(&(at, id));
                drop(queue);
                match self.conn(id) {
                    Some(conn) => {
                        conn.leave(TIMER);
                        return Some((conn, false));
                    }
                    None => continue,
                }
            }
            queue.polling = first.map_or(Polling::Forever, |(at, _)| Polling::Until(at));
            drop(queue);
            let mut ready = VecDeque::new();
            let result = poller.poll(timeout, |id, events| {
                if let Some(conn) = self.conn(id) {
                    conn.leave(events);
                    ready.push_back(conn);
                }
            });
            if let Err(error) = result {
                // Nothing more can be read.
                self.policy.report(&error.into());
                self.stop.stop();
            }
            let mut queue = self.queue();
            queue.polling = Polling::No;
            let is_lone = ready.len() == 1 && queue.ready.is_empty();
            if is_lone {
                return ready.pop_front().map(|conn| (conn, true));
            }
            queue.ready.append(&mut ready);
        }
    }

    /// Polls the connections and serves them, until another thread does or the server has ended.
    fn poll_connections(self: &Arc<Self>) {
        let lane = self.watchdog.add(Role::Poller, false);
        let mut streak = Streak { id: u64::MAX, count: 0, last: Instant::now() };
        while let Some((conn, is_lone)) = self.next_ready(&lane) {
            lane.begin(conn.id());
            self.watch();
            conn.drive(Some(&lane));
            if !lane.end() {
                return;
            }
            if sync::either(streak.count(conn.id(), is_lone) >= ADOPT_AFTER) && conn.adopt() {
                if self.start_poller().is_ok() {
                    self.watchdog.remove(&lane);
                    return self.read(&conn);
                }
                conn.give_back();
            }
        }
        self.watchdog.remove(&lane);
    }

    /// Starts a thread that polls the connections.
    pub(super) fn start_poller(self: &Arc<Self>) -> io::Result<()> {
        let context = Arc::clone(self);
        self.pool.submit(Box::new(move || context.poll_connections()))
    }

    /// Reads `conn` on this thread, until it is over or falls quiet.
    pub(super) fn read(&self, conn: &Arc<C>) {
        let lane = self.watchdog.add(Role::Reader, true);
        conn.read_blocking(&lane);
        // A thread that found the lock taken when this one gave the connection back has left its events.
        conn.drive(None);
        self.watchdog.remove(&lane);
    }

    /// Starts the watchdog, unless it runs: a lane begins to work.
    pub(super) fn watch(self: &Arc<Self>) {
        if self.watchdog.wants_thread() {
            let context = Arc::clone(self);
            let watch = move || context.watchdog.watch(|overdue| context.relieve(overdue));
            if self.pool.submit(Box::new(watch)).is_err() {
                self.watchdog.has_no_thread();
            }
        }
    }

    /// Passes the work of a lane that is overdue to another thread. If there is no thread for it, the next look tries again.
    fn relieve(self: &Arc<Self>, overdue: Overdue<Role>) {
        let context = Arc::clone(self);
        let relieve = move || {
            let Overdue { lane, role, step, connection } = overdue;
            if !lane.lose(step) {
                return;
            }
            // The request goes on; its thread does no more than finish it.
            match (role, context.conn(connection)) {
                (Role::Poller, conn) => {
                    if let Some(conn) = conn {
                        context.requeue(&conn);
                    }
                    // No connection is held meanwhile: it closes with its last owner.
                    context.poll_connections();
                }
                (Role::Reader, Some(conn)) if context.poller.is_some() => {
                    conn.give_back();
                    context.requeue(&conn);
                }
                (Role::Reader, Some(conn)) => context.read(&conn),
                (Role::Reader, None) => {}
            }
        };
        // The error is that of the next look.
        let _ = self.pool.submit(Box::new(relieve));
    }

    /// Removes a connection, and closes it by `close` under the same lock: its end is counted when its slot is free.
    pub(super) fn closed(&self, id: u64, timer: Option<Instant>, close: impl FnOnce()) {
        if let Some(at) = timer {
            self.queue().timers.remove(&(at, id));
        }
        let mut table = self.table();
        let removed = table.remove(id);
        close();
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

    /// Drains the connections, cancels the requests that are late, and ends the threads. Returns how many connections were late. Never waits
    /// for code of the daemon.
    pub(super) fn shut_down(&self, mut shutdown: Shutdown) -> usize {
        loop {
            let open = self.table().len();
            match shutdown.step(open, Instant::now()) {
                ShutdownStep::Wait(until) => drop(self.wait_closed(until, |now_open| now_open < open)),
                ShutdownStep::Enter(phase) => self.enter(phase),
                ShutdownStep::End { late } => {
                    self.all().iter().for_each(|conn| conn.disconnect());
                    let mut queue = self.queue();
                    queue.ended = true;
                    // They own this context.
                    let ready = std::mem::take(&mut queue.ready);
                    self.interrupt(queue);
                    drop(ready);
                    self.pool.close();
                    return late;
                }
            }
        }
    }
}
