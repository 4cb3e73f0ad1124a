//! One connection, which any thread with an event for it drives.

mod read;
mod serve;
mod write;

use super::adaptive::{Lane, Role};
use super::context::ServerContext;
use super::events::{DRAIN, HUNG_UP, READ_CLOSED, READABLE, TIMER, WAKE, WRITABLE};
use super::handler::{BlockingHandler, HandlerConn};
use super::poller::Poller;
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::server::answer_file::sendable_event;
use crate::broker::backend_sdk::server::sync::atomic::{AtomicU8, Ordering, fence};
use crate::broker::backend_sdk::server::sync::thread::{self, Thread};
use crate::broker::backend_sdk::server::sync::{LocalStream, Mutex, MutexGuard};
use crate::broker::backend_sdk::{Action, CallId, Dispatched, Payload, Phase, SendEventError, ServerSession};
use crate::transport::MAX_LATE_READS;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Interval at which a thread that reads one connection looks for new deadlines, on systems without a poller.
const RECHECK: Duration = Duration::from_millis(50);

/// Time without a byte after which a thread that reads one connection gives it back to the poller.
pub(super) const QUIET: Duration = Duration::from_millis(10);

/// The state that all threads of a blocking server share.
pub(super) type Context = ServerContext<Conn>;

type Session = ServerSession<BlockingHandler>;
type Call = Dispatched<BlockingHandler>;
type Locked<'a> = MutexGuard<'a, State>;

/// A connection of the server. The thread that holds the lock does all that can be done at once; a thread that finds it
/// locked leaves its events, and the holder looks at them after it has unlocked. No thread blocks under the lock but in
/// the daemon's inline handlers.
pub(super) struct Conn {
    pub(super) id: u64,
    pub(super) context: Arc<Context>,
    pub(super) stream: LocalStream,
    /// Events that no thread has taken yet.
    events: AtomicU8,
    state: Mutex<State>,
}

pub(super) struct State {
    session: Session,
    /// Quick requests for the thread that reads, in order.
    queue: VecDeque<Call>,
    /// The events that were taken, without those of the socket that no longer hold.
    ready: u8,
    /// The poller watches the socket for input, and for room to write as well if this is `true`. `None`: a thread reads it.
    watched: Option<bool>,
    /// The action that the session waits for. It is `Close` also while the legacy handler has the connection.
    wants: Action,
    /// The moment at which the polling thread drives the connection without an event.
    timer: Option<Instant>,
    /// The time of the last write of events.
    sent: Option<Instant>,
    /// The moment at which events that wait for more are written.
    send_at: Option<Instant>,
    /// Threads that are unparked once output was written or a request cancelled.
    waiting: Vec<Thread>,
    /// A thread without a poller writes the output, outside of the lock.
    writing: bool,
}

/// The way to read.
#[derive(Clone, Copy)]
enum Reading {
    /// Read what has arrived, under the lock.
    Arrived,
    /// Block until then, outside of the lock, unless another thread has left events: then the error is `WouldBlock`.
    Until(Option<Instant>),
}

impl Conn {
    /// Returns a connection that the poller watches, or one that a thread reads if there is no poller.
    pub(super) fn new(id: u64, context: Arc<Context>, stream: LocalStream, mut session: Session) -> Self {
        if context.poller.is_some() {
            // A thread without a poller writes no descriptors.
            session.accept_descriptors();
        }
        let state = State {
            session,
            queue: VecDeque::new(),
            ready: WRITABLE,
            watched: context.poller.is_some().then_some(false),
            wants: Action::Read,
            timer: None,
            sent: None,
            send_at: None,
            waiting: Vec::new(),
            writing: false,
        };
        Self { id, context, stream, events: AtomicU8::new(0), state: Mutex::new(state) }
    }

    fn state(&self) -> Locked<'_> {
        // Handlers that run under the lock are caught there if they panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_state(&self) -> Option<Locked<'_>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Calls `change` under the lock.
    pub(super) fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let changed = change(&mut state);
        self.unlock(state);
        changed
    }

    /// Unlocks, and drives the connection if another thread has left events meanwhile.
    fn unlock(self: &Arc<Self>, state: Locked<'_>) {
        drop(state);
        if self.has_events() {
            self.drive(None);
        }
    }

    /// Returns, after an unlock, whether another thread has left events.
    fn has_events(&self) -> bool {
        // A thread that found the lock taken has left its events before that; this reads them after the unlock.
        fence(Ordering::SeqCst);
        self.events.load(Ordering::SeqCst) != 0
    }

    /// Leaves `events` for the thread that drives the connection next.
    pub(super) fn leave(&self, events: u8) {
        self.events.fetch_or(events, Ordering::SeqCst);
    }

    /// Reads, processes and writes all that does not block, unless another thread does so. A thread with a `lane` serves quick
    /// requests itself.
    pub(super) fn drive(self: &Arc<Self>, lane: Option<&Lane>) {
        self.leave(WAKE);
        while self.has_events() {
            let Some(state) = self.try_state() else { return };
            drop(self.run(state, Instant::now(), lane.filter(|lane| !lane.is_lost())));
        }
    }

    /// Does all that can be done now without waiting for the peer, and serves quick requests if the thread has a `lane`. Events
    /// that other threads leave meanwhile are taken by the next call.
    fn run<'a>(
        self: &'a Arc<Self>,
        mut state: Locked<'a>,
        mut now: Instant,
        mut lane: Option<&Lane>,
    ) -> Locked<'a> {
        let mut finished = false;
        loop {
            state = self.advance(state, now, lane, finished);
            if self.context.poller.is_none() && state.session.has_output() && !state.writing {
                (state, now, finished) = (self.write_blocking(state), Instant::now(), false);
                continue;
            }
            if !state.queue.is_empty() && lane.is_some_and(Lane::is_lost) {
                // The thread that took over may have found the lock taken, and `advance` may have taken the event that it left.
                // Then no thread would read on while this one serves, and the handler may be slow.
                lane = None;
                continue;
            }
            let call =
                if lane.is_some() && !state.session.is_full() { state.queue.pop_front() } else { None };
            let (Some(call), Some(serving)) = (call, lane) else { return state };
            drop(state);
            (state, now) = self.serve_queue(call, serving);
            finished = true;
            // A thread that reads alone is not taken over from while it does: the bytes would get out of order.
            let stays = if serving.role == Role::Reader { serving.end() } else { !serving.is_lost() };
            lane = lane.filter(|_| stays);
        }
    }

    /// Takes the events and does all that can be done without serving or blocking. If only requests have `finished` since the last
    /// call, there is nothing to process but what waited for that.
    fn advance<'a>(
        self: &'a Arc<Self>,
        mut state: Locked<'a>,
        mut now: Instant,
        lane: Option<&Lane>,
        finished: bool,
    ) -> Locked<'a> {
        let mut events = self.events.load(Ordering::Relaxed);
        if events != 0 {
            events = self.events.swap(0, Ordering::SeqCst);
        }
        state.ready |= events;
        let own = if state.ready & DRAIN == 0 { Phase::Serving } else { Phase::Draining };
        if state.session.enter(self.context.phase().max(own), now) {
            self.stream.interrupt_reads();
            events |= WAKE;
            state.ready |= READABLE | READ_CLOSED;
        }
        if state.wants == Action::Close {
            return state;
        }
        // The reader of a connection that is not watched reads it outside of the lock.
        let reads = state.watched.is_some() || lane.is_some_and(|lane| lane.role == Role::Reader);
        let mut reads_left = if reads { MAX_LATE_READS } else { 0 };
        let mut expired = false;
        if events & TIMER != 0 {
            state.timer = None;
            expired = reads && state.session.deadline().is_some_and(|deadline| deadline <= now);
        }
        if expired {
            state.ready |= READABLE | WRITABLE;
        }
        let leaves_queue = lane.is_none() && !state.queue.is_empty();
        let mut processes = !finished || events != 0 || leaves_queue;
        let has_changed = loop {
            if processes {
                self.dispatch(&mut state, lane, |session, dispatch| session.process_while(dispatch));
            }
            processes = true;
            if self.context.poller.is_some() {
                self.write(&mut state, now);
            }
            match state.session.next_action() {
                Action::Process if state.queue.is_empty() || state.session.is_full() => {}
                Action::Read if state.ready & READABLE != 0 && reads_left > 0 && state.queue.is_empty() => {
                    reads_left -= 1;
                    let read;
                    (state, now, read) = self.read(state, lane, Reading::Arrived);
                    match read {
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => state.ready &= !READABLE,
                        Err(error) => state.session.fail(error),
                        Ok(()) => {}
                    }
                }
                Action::AwaitHangUp if state.ready & HUNG_UP != 0 => state.session.reset(),
                Action::ServeLegacy(buffered) => {
                    self.serve_legacy(&mut state, buffered);
                    return state;
                }
                Action::Close => {
                    self.close(&mut state);
                    return state;
                }
                _ if expired => {
                    expired = false;
                    state.session.handle_timeout(now);
                }
                action => break std::mem::replace(&mut state.wants, action) != state.wants,
            }
        };
        if state.session.is_reset() {
            // Also for a thread that reads.
            self.stream.disconnect();
        }
        if state.session.take_progress() || has_changed {
            state.notify();
        }
        if reads && reads_left == 0 && state.ready & READABLE != 0 && state.wants == Action::Read {
            self.context.requeue(self);
        }
        self.watch(&mut state);
        state
    }

    /// Registers the readiness that the connection waits for, and its timer.
    fn watch(&self, state: &mut State) {
        if state.watched.is_none() {
            return;
        }
        let writing = state.is_blocked();
        self.set_watched(state, Some(writing));
        let deadline = earliest(state.session.deadline(), state.send_at);
        if deadline.is_some_and(|deadline| state.timer.is_none_or(|timer| deadline < timer)) {
            self.context.set_timer(self.id, state.timer, deadline);
            state.timer = deadline;
        }
    }

    /// Makes the poller watch the connection, also for room to write if that is `Some(true)`, or no longer.
    fn set_watched(&self, state: &mut State, watched: Option<bool>) {
        let before = std::mem::replace(&mut state.watched, watched);
        if let Some(poller) = &self.context.poller
            && before != watched
            && let Err(error) = poller.watch(&self.stream, self.id, before, watched)
        {
            state.session.fail(error);
            self.leave(WAKE);
        }
    }

    /// Begins to watch a connection that was just accepted.
    pub(super) fn begin(self: &Arc<Self>, poller: &Poller) {
        // Before the poller has it: code of the daemon may hold its state for long, and this thread has others to accept.
        self.with(|state| self.watch(state));
        if let Err(error) = poller.watch(&self.stream, self.id, None, Some(false)) {
            self.with(|state| state.session.fail(error));
            self.drive(None);
        }
    }

    /// Refuses the requests that come by `until`, and answers a probe; then closes the connection. For a connection for which
    /// `error` left no thread.
    pub(super) fn refuse(self: &Arc<Self>, error: io::Error, until: Instant) {
        let mut state = self.state();
        state.session.refuse_peer(self.context.policy.no_thread(error));
        (state, ..) = self.read(state, None, Reading::Until(Some(until)));
        state.session.process(drop);
        if state.session.has_output() {
            state = self.write_blocking(state);
        }
        self.close(&mut state);
        self.unlock(state);
    }

    fn close(&self, state: &mut State) {
        state.wants = Action::Close;
        self.set_watched(state, None);
        if state.session.in_flight() > 0 {
            state.session.reset();
        }
        let timer = state.timer.take();
        self.context.closed(self.id, timer, || {
            state.session.close();
            if state.session.is_reset() {
                self.stream.disconnect();
            }
        });
        state.notify();
    }
}

impl State {
    /// Returns whether the last write would have blocked.
    fn is_blocked(&self) -> bool {
        self.ready & WRITABLE == 0
    }

    /// Returns whether the connection waits for nothing but the peer.
    fn may_be_adopted(&self) -> bool {
        self.wants == Action::Read && !self.is_blocked() && self.session.in_flight() == 0
    }

    /// Makes [`notify`](Self::notify) unpark this thread, which parks once it has unlocked.
    fn wait(&mut self) {
        let waits = thread::current();
        if self.waiting.iter().all(|waiting| waiting.id() != waits.id()) {
            self.waiting.push(waits);
        }
    }

    /// Wakes the threads that wait for progress.
    fn notify(&mut self) {
        self.waiting.drain(..).for_each(|waiting| waiting.unpark());
    }
}

impl HandlerConn for Conn {
    fn send_event(self: Arc<Self>, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        self.emit(call, |session| session.send_event(call, payload))
    }

    fn send_event_payload(
        self: Arc<Self>,
        call: CallId,
        payload: Payload,
        accepted_descriptors: usize,
    ) -> Result<(), SendEventError> {
        let mut reserved = 0;
        let payload = sendable_event(payload, accepted_descriptors, |bytes| {
            let granted = self.with(|state| state.session.reserve(call, bytes));
            granted.inspect(|()| reserved = bytes)
        });
        self.emit(call, |session| session.send_reserved_event(call, payload, reserved))
    }

    fn stream(&self) -> &LocalStream {
        &self.stream
    }

    fn release_legacy(self: Arc<Self>) {
        self.with(|state| state.session.release_legacy());
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Conn").field("id", &self.id).finish_non_exhaustive()
    }
}
