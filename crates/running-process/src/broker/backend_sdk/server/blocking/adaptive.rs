//! The choice of the thread that serves a request: the one that reads while the handler is quick, else one of the pool.

use crate::broker::backend_sdk::server::sync;
use crate::broker::backend_sdk::server::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use crate::broker::backend_sdk::server::sync::{Mutex, MutexGuard};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Longest time of a quick handler: about the cost of waking another thread.
const QUICK: Duration = Duration::from_micros(20);
/// Quick requests in a row until a handler counts as quick: at first, and after a slow one.
const QUICK_AT_FIRST: i32 = 8;
const QUICK_AFTER_SLOW: i32 = 64;
/// Further quick requests after which one slow request is forgiven: a thread that loses its processor is as slow.
const FORGIVEN_AFTER: i32 = 1000;
/// Interval of the watchdog. A lane that is at the same step in two looks is overdue.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without work after which the watchdog ends.
const QUIET_TICKS: u32 = 4;

/// The latency of a handler, as far as it decides where the next request is served.
#[derive(Debug)]
pub(super) struct LatencyEstimate {
    /// Quick requests still to come until the handler counts as quick; below zero, the further ones that came, negated.
    owed: AtomicI32,
}

impl LatencyEstimate {
    pub(super) fn unknown() -> Self {
        Self { owed: AtomicI32::new(QUICK_AT_FIRST) }
    }

    /// Returns whether the next request is expected to be quick.
    pub(super) fn is_quick(&self) -> bool {
        sync::either(self.owed.load(Ordering::Relaxed) <= 0)
    }

    /// Records that a request took `time`. Of two threads that record at once one may be lost, which makes no difference.
    pub(super) fn record(&self, time: Duration) {
        let owed = self.owed.load(Ordering::Relaxed);
        let now_owed = if time <= QUICK {
            (owed - 1).max(-FORGIVEN_AFTER)
        } else if owed == -FORGIVEN_AFTER {
            0
        } else {
            QUICK_AFTER_SLOW
        };
        if now_owed != owed {
            self.owed.store(now_owed, Ordering::Relaxed);
        }
    }
}

/// A thread that reads connections and serves quick requests, as the [`Watchdog`] sees it: an even number while it waits,
/// an odd one while it works, and [`LOST`](Self::LOST) once another thread has taken its role over.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The thread reads one connection, which the poller does not watch.
    reads_one: bool,
    step: AtomicU64,
    /// The id of the connection that it works on.
    connection: AtomicU64,
}

impl Lane {
    const LOST: u64 = u64::MAX;

    /// Returns whether the thread reads one connection, which the poller does not watch.
    pub(super) fn reads_one(&self) -> bool {
        self.reads_one
    }

    /// Begins the next piece of work, on `connection`; returns `false` if the lane is lost.
    pub(super) fn begin(&self, connection: u64) -> bool {
        self.connection.store(connection, Ordering::Relaxed);
        self.change(|step| if step % 2 == 0 { step + 1 } else { step + 2 })
    }

    /// Ends the work; returns `false` if the lane is lost.
    pub(super) fn end(&self) -> bool {
        self.change(|step| if step % 2 == 0 { step } else { step + 1 })
    }

    pub(super) fn is_lost(&self) -> bool {
        self.step.load(Ordering::SeqCst) == Self::LOST
    }

    fn change(&self, next: impl Fn(u64) -> u64) -> bool {
        let change = |step| (step != Self::LOST).then(|| next(step));
        self.step.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).is_ok()
    }

    /// Loses the lane if it still works on the same piece as when `step` was read.
    pub(super) fn lose(&self, step: u64) -> bool {
        self.step.compare_exchange(step, Self::LOST, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// The lanes, watched by one thread while any of them works.
pub(super) struct Watchdog<T> {
    entries: Mutex<Vec<Entry<T>>>,
    /// A thread watches.
    running: AtomicBool,
}

struct Entry<T> {
    lane: Arc<Lane>,
    role: T,
    seen: u64,
}

/// A lane that works on one piece for too long.
pub(super) struct Overdue<T> {
    pub(super) lane: Arc<Lane>,
    pub(super) role: T,
    pub(super) step: u64,
    pub(super) connection: u64,
}

impl<T: Clone> Watchdog<T> {
    pub(super) fn new() -> Self {
        Self { entries: Mutex::default(), running: AtomicBool::new(false) }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry<T>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a new lane for a thread in this `role`, which is watched until it is lost or [removed](Self::remove).
    pub(super) fn add(&self, role: T, reads_one: bool) -> Arc<Lane> {
        let lane = Arc::new(Lane { reads_one, ..Lane::default() });
        self.entries().push(Entry { lane: Arc::clone(&lane), role, seen: 0 });
        lane
    }

    pub(super) fn remove(&self, lane: &Arc<Lane>) {
        self.entries().retain(|entry| !Arc::ptr_eq(&entry.lane, lane));
    }

    /// Returns whether the caller is to start a thread that [watches](Self::watch): a lane has begun to work, and none does.
    pub(super) fn wants_thread(&self) -> bool {
        !self.running.load(Ordering::SeqCst) && !self.running.swap(true, Ordering::SeqCst)
    }

    /// Records that no thread could be made for it.
    pub(super) fn has_no_thread(&self) {
        self.running.store(false, Ordering::SeqCst);
    }

    /// Watches until no lane works any more, and passes those that are overdue to `relieve`.
    pub(super) fn watch(&self, relieve: impl Fn(Overdue<T>)) {
        let mut quiet = 0;
        loop {
            sync::pause(TICK);
            let (overdue, works) = self.tick();
            overdue.into_iter().for_each(&relieve);
            quiet = if works { 0 } else { quiet + 1 };
            if quiet < QUIET_TICKS {
                continue;
            }
            self.running.store(false, Ordering::SeqCst);
            // A lane may have begun before that, and seen the watchdog running.
            let works = self.entries().iter().any(|entry| entry.lane.step.load(Ordering::SeqCst) % 2 == 1);
            if !works || !self.wants_thread() {
                return;
            }
        }
    }

    /// Returns the lanes that are overdue, and whether any has worked since the last tick.
    fn tick(&self) -> (Vec<Overdue<T>>, bool) {
        let (mut overdue, mut works) = (Vec::new(), false);
        let mut entries = self.entries();
        entries.retain(|entry| !entry.lane.is_lost());
        for Entry { lane, role, seen } in &mut *entries {
            let step = lane.step.load(Ordering::SeqCst);
            if step == *seen && step % 2 == 1 {
                let (lane, role) = (Arc::clone(lane), role.clone());
                let connection = lane.connection.load(Ordering::Relaxed);
                overdue.push(Overdue { lane, role, step, connection });
            }
            works |= step != *seen || step % 2 == 1;
            *seen = step;
        }
        (overdue, works)
    }
}
