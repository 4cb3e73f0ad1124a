//! Serving requests on the thread that reads their connection, as long as they are quick, and passing the turn to read on
//! to another thread once one is not.

use super::conn::{Concurrent, Link};
use super::conn_loop::take_over;
use super::context::Shared;
use crate::broker::backend_sdk::server::sync::atomic::{AtomicI32, Ordering};
use crate::broker::backend_sdk::server::sync::{self, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A handler that takes no longer is done before another thread would have begun: about what waking one costs.
const QUICK: Duration = Duration::from_micros(20);
/// How many requests in a row must be quick before a handler counts as quick: at first, and after a slow one.
const AT_FIRST: i32 = 8;
const AFTER_A_SLOW_ONE: i32 = 64;
/// After how many more of them a slow one is forgiven: a thread that loses its processor for a while is slow as often.
const FORGIVEN_AFTER: i32 = 1000;
/// A connection is busy if what it sends comes so soon after the last byte. Only busy ones are worth to be watched.
const BUSY: Duration = Duration::from_millis(1);
/// How often those who serve on the reading thread are looked at: whoever is found with the same request twice is slow.
const TICK: Duration = Duration::from_millis(1);
/// After how many ticks without a request a connection is not watched any more.
const QUIET: u32 = 10;

/// How fast the handler of a payload protocol has been of late.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many quick requests are to come before it counts as quick; if none are, how many more than that came, negated.
    owed: AtomicI32,
}

impl Pace {
    pub(super) fn unknown() -> Self {
        Self { owed: AtomicI32::new(AT_FIRST) }
    }

    pub(super) fn is_quick(&self) -> bool {
        sync::either(self.owed.load(Ordering::Relaxed) <= 0)
    }

    /// A request took so long.
    pub(super) fn note(&self, took: Duration) {
        let owed = self.owed.load(Ordering::Relaxed);
        let now_owed = if took <= QUICK {
            (owed - 1).max(-FORGIVEN_AFTER)
        } else if owed == -FORGIVEN_AFTER {
            0
        } else {
            AFTER_A_SLOW_ONE
        };
        // Of two threads that note at once one is forgotten, which makes no difference.
        if now_owed != owed {
            self.owed.store(now_owed, Ordering::Relaxed);
        }
    }
}

/// Whether a connection on which something came at `now` is busy, if the last byte before came or went at `last`.
pub(super) fn is_busy(last: Instant, now: Instant) -> bool {
    sync::either(now.saturating_duration_since(last) < BUSY)
}

/// Who reads a connection and serves what is quick; the number tells one after the other apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn(u64);

/// What whoever has the turn on a connection serves.
#[derive(Default)]
pub(super) struct Quick {
    turn: Turn,
    ready: VecDeque<Concurrent>,
    /// How many requests were begun.
    begun: u64,
    /// The last of them is being served.
    at_work: bool,
    watched: bool,
    pub(super) busy: bool,
}

/// What is seen of it.
pub(super) enum Look {
    /// Requests were begun since.
    Busy(u64),
    /// It is still the same request: another thread is to take the turn.
    Slow,
    /// Nothing was begun since.
    Quiet,
}

impl Quick {
    pub(super) fn has(&self, turn: Turn) -> bool {
        self.turn == turn
    }

    /// Keeps `call` to be served by whoever has the turn if it is expected to be quick; else gives it back.
    pub(super) fn keep(&mut self, shared: &Shared, call: Concurrent) -> Option<Concurrent> {
        if self.busy && shared.pace(call.payload_protocol()).is_quick() {
            self.ready.push_back(call);
            return None;
        }
        Some(call)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether a watch has to begin: there is something to serve, and nobody looks yet.
    pub(super) fn wants_watch(&mut self) -> bool {
        !self.ready.is_empty() && !std::mem::replace(&mut self.watched, true)
    }

    /// The next request, which is being served from now on.
    pub(super) fn begin(&mut self) -> Option<Concurrent> {
        let next = self.ready.pop_front()?;
        self.begun += 1;
        self.at_work = true;
        Some(next)
    }

    /// The request that `turn` served has ended: the next one, which is being served from now on.
    pub(super) fn follow(&mut self, turn: Turn) -> Option<Concurrent> {
        if !self.has(turn) {
            return None;
        }
        self.at_work = false;
        self.begin()
    }

    /// Looks at what has happened since `begun` requests had been begun.
    pub(super) fn look(&mut self, begun: u64) -> Look {
        if self.begun != begun {
            return Look::Busy(self.begun);
        }
        if self.at_work { Look::Slow } else { Look::Quiet }
    }

    /// Gives the turn away if the last of `begun` requests is still being served.
    pub(super) fn pass(&mut self, begun: u64) -> Option<Turn> {
        if self.begun != begun || !std::mem::take(&mut self.at_work) {
            return None;
        }
        self.turn.0 += 1;
        Some(self.turn)
    }

    /// The watch did not begin.
    pub(super) fn unwatched(&mut self) {
        self.watched = false;
    }

    /// Nobody looks any more, unless more than `begun` requests have been begun or one is about to be.
    pub(super) fn end_watch(&mut self, begun: u64) -> bool {
        let quiet = self.begun == begun && self.ready.is_empty();
        if quiet {
            self.watched = false;
            self.ready.shrink_to_fit();
        }
        quiet
    }
}

/// The connections that are served on their reading threads, and looked at by one thread while there are any.
#[derive(Default)]
pub(super) struct Watch(Mutex<Watching>);

#[derive(Default)]
struct Watching {
    connections: Vec<Watched>,
    /// A thread looks at them.
    running: bool,
}

struct Watched {
    link: Arc<Link>,
    /// How many requests it had begun to serve when it was looked at last, and how often that was the same.
    begun: u64,
    quiet: u32,
    /// The request, counted like those begun, that another thread was told to take the turn from.
    passed: Option<u64>,
}

impl Watch {
    fn watching(&self) -> MutexGuard<'_, Watching> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks after `link` from now on, until it is quiet; `false` if no thread can be made for that.
    pub(super) fn add(shared: &Arc<Shared>, link: &Arc<Link>) -> bool {
        let mut watching = shared.watch.watching();
        if !watching.running {
            let watcher = Arc::clone(shared);
            let watch = Box::new(move |_: &mut [u8]| while watcher.watch.goes_on() {});
            watching.running = shared.pool.submit(watch).is_ok();
        }
        if watching.running {
            watching.connections.push(Watched { link: Arc::clone(link), begun: 0, quiet: 0, passed: None });
        }
        watching.running
    }

    /// Waits for the next tick and looks at every connection; `false` once there is none.
    fn goes_on(&self) -> bool {
        sync::pause(TICK);
        let mut watching = self.watching();
        watching.connections.retain_mut(Watched::look);
        watching.running = !watching.connections.is_empty();
        watching.running
    }
}

impl Watched {
    /// Has another thread take the turn if the request is the same as last time; `false` once nothing has happened for long.
    fn look(&mut self) -> bool {
        let Self { link, begun, quiet, passed } = self;
        // Whoever holds a connection for long, as an inline handler may, keeps nobody from looking at the others.
        let Some(seen) = link.try_quick(|quick| quick.look(*begun)) else { return true };
        match seen {
            Look::Busy(now) => (*begun, *quiet) = (now, 0),
            Look::Slow if *passed == Some(*begun) => {}
            Look::Slow => {
                let (link, begun) = (Arc::clone(link), *begun);
                let shared = Arc::clone(&link.shared);
                // If there is no thread for it, the next look tries again.
                let taking = Box::new(move |scratch: &mut [u8]| take_over(&link, begun, scratch));
                *passed = shared.pool.submit(taking).is_ok().then_some(begun);
            }
            Look::Quiet => *quiet += 1,
        }
        // Nobody may begin in between, unwatched.
        *quiet < QUIET || !link.try_quick(|quick| quick.end_watch(*begun)).unwrap_or(false)
    }
}
