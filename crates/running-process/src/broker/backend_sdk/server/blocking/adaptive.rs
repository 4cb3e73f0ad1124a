//! The choice of the thread that serves a request: the one that reads while the handler is quick, else one of the pool.

use crate::broker::backend_sdk::server::sync;
use crate::broker::backend_sdk::server::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::broker::backend_sdk::server::sync::{Mutex, MutexGuard};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Longest average time of a quick handler: about the cost of waking another thread.
const QUICK: Duration = Duration::from_micros(20);
/// The longest time that one request counts with. A thread that loses its processor takes as long as a slow handler, so a single
/// such request does not make a quick handler a slow one.
const LONGEST: Duration = Duration::from_millis(1);
/// Number of requests that the average is over, roughly: the weight of the last one is one of so many.
const WEIGHT: u32 = 64;
/// Time after which the watchdog looks again at a lane that works. If that is at the same step, it is overdue.
const GRACE: Duration = Duration::from_millis(1);
/// Time between two looks otherwise. A look wakes a thread, so a shorter time would cost a busy processor some percent.
const TICK: Duration = Duration::from_millis(2);
/// Ticks without work after which the watchdog ends.
const QUIET_TICKS: u32 = 2;

/// The average latency of a handler, which decides where the next request is served.
#[derive(Debug)]
pub(super) struct LatencyEstimate {
    nanoseconds: AtomicU32,
}

impl LatencyEstimate {
    /// Returns an estimate just above that of a quick handler: after about eight quick requests, it is below.
    pub(super) fn unknown() -> Self {
        Self { nanoseconds: AtomicU32::new(QUICK.subsec_nanos() / 8 * 9) }
    }

    /// Returns whether the next request is expected to be quick.
    pub(super) fn is_quick(&self) -> bool {
        sync::either(self.nanoseconds.load(Ordering::Relaxed) <= QUICK.subsec_nanos())
    }

    /// Records that a request took `time`, whose payload and answer have so many `bytes`. Of two threads that record at once one
    /// may be lost, which makes no difference.
    pub(super) fn record(&self, time: Duration, bytes: usize) {
        // The thread that reads copies the bytes as well, so the time to copy them does not count.
        let copied = Duration::from_nanos(bytes as u64 / 4);
        let time = time.saturating_sub(copied).min(LONGEST).subsec_nanos();
        let average = self.nanoseconds.load(Ordering::Relaxed);
        self.nanoseconds.store(average - average / WEIGHT + time / WEIGHT, Ordering::Relaxed);
    }
}

/// The role of a thread with a [`Lane`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The thread polls all connections.
    Poller,
    /// The thread reads one connection, which the poller does not watch.
    Reader,
}

/// A thread that reads connections and serves quick requests, as the [`Watchdog`] sees it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) role: Role,
    /// An even number while the thread waits, an odd one while it works, and [`LOST`](Self::LOST) added once another thread
    /// has taken its role over.
    step: AtomicU64,
    /// The id of the connection that it works on.
    connection: AtomicU64,
}

impl Lane {
    const LOST: u64 = 1 << 63;

    /// Begins the next piece of work, on `connection`; returns `false` if the lane is lost.
    pub(super) fn begin(&self, connection: u64) -> bool {
        self.connection.store(connection, Ordering::Relaxed);
        self.advance(1 + self.step.load(Ordering::Relaxed) % 2)
    }

    /// Ends the work; returns `false` if the lane is lost.
    pub(super) fn end(&self) -> bool {
        self.advance(self.step.load(Ordering::Relaxed) % 2)
    }

    fn advance(&self, steps: u64) -> bool {
        // Only the lane's own thread goes on, so what it has loaded is the last step.
        self.step.fetch_add(steps, Ordering::SeqCst) & Self::LOST == 0
    }

    pub(super) fn is_lost(&self) -> bool {
        self.step.load(Ordering::SeqCst) & Self::LOST != 0
    }

    /// Loses the lane if it still works on the same piece as when `step` was read. Returns the id of the connection.
    pub(super) fn lose(&self, step: u64) -> Option<u64> {
        let connection = self.connection.load(Ordering::Relaxed);
        let lost = self.step.compare_exchange(step, step | Self::LOST, Ordering::SeqCst, Ordering::SeqCst);
        lost.ok().map(|_| connection)
    }
}

/// The lanes, watched by one thread while any of them works.
#[derive(Default)]
pub(super) struct Watchdog {
    /// Each with the step of the last look.
    lanes: Mutex<Vec<(Arc<Lane>, u64)>>,
    /// A thread watches.
    running: AtomicBool,
}

impl Watchdog {
    fn lanes(&self) -> MutexGuard<'_, Vec<(Arc<Lane>, u64)>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a new lane for a thread in this `role`, which is watched until it is lost or [removed](Self::remove).
    pub(super) fn add(&self, role: Role) -> Arc<Lane> {
        let lane = Arc::new(Lane { role, step: AtomicU64::new(0), connection: AtomicU64::new(0) });
        self.lanes().push((Arc::clone(&lane), 0));
        lane
    }

    pub(super) fn remove(&self, lane: &Arc<Lane>) {
        self.lanes().retain(|(watched, _)| !Arc::ptr_eq(watched, lane));
    }

    /// Returns whether the caller is to start a thread that [watches](Self::watch): a lane has begun to work, and none does.
    pub(super) fn wants_thread(&self) -> bool {
        !self.running.load(Ordering::SeqCst) && !self.running.swap(true, Ordering::SeqCst)
    }

    /// Records that no thread could be made for it.
    pub(super) fn has_no_thread(&self) {
        self.running.store(false, Ordering::SeqCst);
    }

    /// Watches until no lane works any more, and passes each that is overdue to `relieve`, with its step.
    pub(super) fn watch(&self, relieve: impl Fn(Arc<Lane>, u64)) {
        let (mut quiet, mut suspects) = (0, false);
        loop {
            sync::pause(if suspects { GRACE } else { TICK });
            let mut overdue = Vec::new();
            let works;
            (works, suspects) = self.look(&mut overdue);
            quiet = if works { 0 } else { quiet + 1 };
            for (lane, step) in overdue {
                relieve(lane, step);
            }
            if quiet < QUIET_TICKS {
                continue;
            }
            self.running.store(false, Ordering::SeqCst);
            // A lane may have begun before that, and seen the watchdog running.
            let works = self.lanes().iter().any(|(lane, _)| lane.step.load(Ordering::SeqCst) % 2 == 1);
            if !works || !self.wants_thread() {
                return;
            }
        }
    }

    /// Adds the lanes that are overdue to `overdue`. Returns whether any lane has worked since the last look, and whether one works
    /// now.
    fn look(&self, overdue: &mut Vec<(Arc<Lane>, u64)>) -> (bool, bool) {
        let (mut worked, mut works) = (false, false);
        self.lanes().retain_mut(|(lane, seen)| {
            let step = lane.step.load(Ordering::SeqCst);
            if step == *seen && step % 2 == 1 {
                overdue.push((Arc::clone(lane), step));
            }
            works |= step % 2 == 1;
            worked |= step != *seen;
            *seen = step;
            !lane.is_lost()
        });
        (worked || works, works)
    }
}
