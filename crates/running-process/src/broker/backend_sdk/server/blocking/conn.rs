//! One connection, which any thread with an event for it drives.

mod read;
mod write;

use super::adaptive::Lane;
use super::context::{Connection, ServerContext};
use super::events::{HUNG_UP, READ_CLOSED, READABLE, TIMER, WAKE, WRITABLE};
use super::handler::BlockingHandler;
use super::legacy::{LegacyConnection, LegacyOwner};
use super::request::{EventSender, ServerRequest};
use crate::broker::backend_sdk::proto::server_connection::{CallId, SendEventError};
use crate::broker::backend_sdk::server::callback;
use crate::broker::backend_sdk::server::config::ServeError;
use crate::broker::backend_sdk::server::dispatch::{Answer, Dispatched};
use crate::broker::backend_sdk::server::handler::HandlerError;
use crate::broker::backend_sdk::server::phase::{AtomicPhase, Phase};
use crate::broker::backend_sdk::server::session::{Action, ServerSession};
use crate::broker::backend_sdk::server::sync;
use crate::broker::backend_sdk::server::sync::atomic::{AtomicU8, Ordering, fence};
use crate::broker::backend_sdk::server::sync::{Condvar, LocalStream, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self};
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Number of reads in a row before the next connection is driven, and before a deadline that has passed is judged.
const MAX_READS: u32 = 16;

/// Time for which quick requests are served in a row, before the answers of the first ones are written.
const LONGEST_BATCH: Duration = Duration::from_micros(100);

/// Interval at which a thread that reads one connection looks for new deadlines, on systems without a poller.
const RECHECK: Duration = Duration::from_millis(50);

/// The state that all threads of a blocking server share.
pub(super) type Context = ServerContext<Conn>;

type Session = ServerSession<BlockingHandler>;
type Call = Dispatched<BlockingHandler>;

/// A connection of the server. The thread that holds the lock does all that can be done at once; a thread that finds it
/// locked leaves its events, and the holder looks at them after it has unlocked. No thread blocks under the lock but in
/// the daemon's inline handlers.
pub(super) struct Conn {
    pub(super) id: u64,
    pub(super) context: Arc<Context>,
    pub(super) stream: LocalStream,
    /// Events that no thread has taken yet.
    events: AtomicU8,
    /// The phase that this connection alone has entered, because its slot is needed.
    phase: AtomicPhase,
    state: Mutex<State>,
    /// Raised when output was written or a request cancelled, while a thread waits for that.
    progress: Mutex<u64>,
    progressed: Condvar,
}

#[allow(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other, each with a sentence of its own"
)]
pub(super) struct State {
    session: Session,
    /// Quick requests for the thread that reads, in order.
    queue: VecDeque<Call>,
    /// The socket may have something to read.
    readable: bool,
    /// The peer sends nothing more: after what is read comes the end.
    read_closed: bool,
    hung_up: bool,
    /// The last write would have blocked.
    blocked: bool,
    /// The poller watches the socket for room to write.
    watches_writing: bool,
    /// A thread reads the connection, and the poller does not watch it.
    adopted: bool,
    /// The next action, as far as it concerns reading.
    wants: Wants,
    /// The moment at which the polling thread drives the connection without an event.
    timer: Option<Instant>,
    /// Threads that wait for progress.
    waiting: usize,
    /// A thread without a poller writes the output, outside of the lock.
    writing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Read,
    HangUp,
    /// Output to be written, or a request to end.
    Progress,
    /// The connection is closed, or the legacy handler has it.
    Nothing,
}

impl Conn {
    /// Returns a connection that the poller watches, or one that a thread reads if there is no poller.
    pub(super) fn new(id: u64, context: Arc<Context>, stream: LocalStream, session: Session) -> Self {
        let state = State {
            session,
            queue: VecDeque::new(),
            readable: false,
            read_closed: false,
            hung_up: false,
            blocked: false,
            watches_writing: false,
            adopted: context.poller.is_none(),
            wants: Wants::Read,
            timer: None,
            waiting: 0,
            writing: false,
        };
        let (events, phase) = (AtomicU8::new(0), AtomicPhase::default());
        Self {
            id,
            context,
            stream,
            events,
            phase,
            state: Mutex::new(state),
            progress: Mutex::new(0),
            progressed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Handlers that run under the lock are caught there if they panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Calls `change` under the lock, and drives the connection if another thread has left events meanwhile.
    pub(super) fn with<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        if self.has_events() {
            self.drive(0, None);
        }
        changed
    }

    /// Returns, after an unlock, whether another thread has left events.
    pub(super) fn has_events(&self) -> bool {
        // A thread that found the lock taken has left its events before that; this reads them after the unlock.
        fence(Ordering::SeqCst);
        self.events.load(Ordering::SeqCst) != 0
    }

    /// Leaves `events` for the thread that drives the connection next.
    pub(super) fn leave(&self, events: u8) {
        self.events.fetch_or(events, Ordering::SeqCst);
    }

    /// Drains the connection, because its slot is needed.
    pub(super) fn drain(&self) {
        self.phase.enter(Some(Phase::Draining));
    }

    /// Reads, processes and writes all that does not block, unless another thread does so. A thread with a `lane` serves quick
    /// requests itself.
    pub(super) fn drive(self: &Arc<Self>, events: u8, lane: Option<&Lane>) {
        self.leave(events | WAKE);
        let mut lane = lane;
        while self.has_events() {
            let Some(mut state) = self.try_state() else { return };
            self.advance(&mut state, lane);
            let call = match lane {
                Some(_) if !state.session.is_full() => state.queue.pop_front(),
                _ => None,
            };
            drop(state);
            if let (Some(call), Some(watched)) = (call, lane) {
                self.serve_queue(call, watched);
                // A thread that reads alone is not taken over from while it does: the bytes would get out of order.
                lane = lane.filter(|lane| if lane.reads_one() { lane.end() } else { !lane.is_lost() });
            }
            if self.context.poller.is_none() {
                self.write_blocking();
            }
        }
    }

    /// Takes the events and does all that can be done without serving or blocking.
    fn advance(self: &Arc<Self>, state: &mut State, lane: Option<&Lane>) {
        let events = self.events.swap(0, Ordering::SeqCst);
        state.readable |= events & (READABLE | READ_CLOSED) != 0;
        state.read_closed |= events & READ_CLOSED != 0;
        state.hung_up |= events & HUNG_UP != 0;
        state.blocked &= events & WRITABLE == 0;
        if events & TIMER != 0 {
            state.timer = None;
        }
        let now = Instant::now();
        let phase = self.context.phase().max(self.phase.get().unwrap_or(Phase::Cancelling));
        if state.session.enter(phase, now) {
            self.stream.interrupt_reads();
            (state.readable, state.read_closed) = (true, true);
        }
        if state.wants == Wants::Nothing {
            return;
        }
        let wanted = state.wants;
        // The reader of an adopted connection reads it outside of the lock.
        let reads = !state.adopted || lane.is_some_and(Lane::reads_one);
        let mut expired = reads && state.session.deadline().is_some_and(|deadline| deadline <= now);
        if expired {
            (state.readable, state.blocked) = (true, false);
        }
        let mut reads_left = if reads { MAX_READS } else { 0 };
        self.dispatch(state, lane, |session, dispatch| session.process(dispatch));
        loop {
            self.write(state);
            match state.session.next_action() {
                Action::Process => {}
                Action::Read if state.readable && reads_left > 0 && state.queue.is_empty() => {
                    reads_left -= 1;
                    self.read_arrived(state, lane);
                }
                Action::AwaitHangUp if state.hung_up => state.session.reset(),
                Action::ServeLegacy(buffered) => return self.serve_legacy(state, buffered),
                Action::Close => return self.close(state),
                _ if expired => {
                    expired = false;
                    state.session.handle_timeout(now);
                }
                action => {
                    state.wants = match action {
                        Action::Read => Wants::Read,
                        Action::AwaitHangUp => Wants::HangUp,
                        _ => Wants::Progress,
                    };
                    break;
                }
            }
            self.dispatch(state, lane, |session, dispatch| session.process(dispatch));
        }
        if state.session.is_reset() {
            // Also for a thread that reads.
            self.stream.disconnect();
        }
        if state.session.take_progress() || state.wants != wanted {
            self.notify(state);
        }
        if reads && reads_left == 0 && state.readable && state.wants == Wants::Read {
            self.context.requeue(self);
        }
        self.watch(state);
    }

    /// Runs `process`, and places the requests that it dispatches: quick ones in the queue of a thread with a `lane`, all
    /// others on the pool.
    fn dispatch(
        self: &Arc<Self>,
        state: &mut State,
        lane: Option<&Lane>,
        process: impl FnOnce(&mut Session, &mut dyn FnMut(Call)),
    ) {
        let State { session, queue, .. } = state;
        let mut others = Vec::new();
        process(session, &mut |call| {
            if lane.is_some() && call.handler().latency.is_quick() {
                queue.push_back(call);
            } else {
                others.push(call);
            }
        });
        if lane.is_none() {
            others.splice(..0, queue.drain(..));
        }
        for call in others {
            let (conn, id) = (Arc::clone(self), call.call());
            let job = Box::new(move || {
                conn.wait_for_room(id);
                drop(conn.serve(call, Instant::now()));
                conn.drive(0, None);
            });
            if let Err(error) = self.context.pool.submit(job) {
                let refusal = HandlerError::Refused(self.context.policy.no_thread(error));
                session.finish(id, Answer::Failed(refusal), Instant::now());
            }
        }
    }

    /// Serves `call` and the quick requests behind it, whose answers are written at once.
    fn serve_queue(self: &Arc<Self>, call: Call, lane: &Lane) {
        // One piece of work for the watchdog: it is only overdue if a handler is slow.
        let watched = lane.begin(self.id);
        self.context.watch();
        let began = Instant::now();
        let (mut next, mut at) = (Some(call), began);
        while let Some(call) = next {
            // A thread that took over meanwhile may have found the lock taken, and the handler may be slow.
            if self.has_events() {
                self.drive(0, None);
            }
            let (mut state, ended) = self.serve(call, at);
            let is_early = sync::either(ended.saturating_duration_since(began) < LONGEST_BATCH);
            let goes_on = watched && is_early && !lane.is_lost() && !state.session.is_full();
            next = if goes_on { state.queue.pop_front() } else { None };
            at = ended;
        }
        self.leave(WAKE);
    }

    /// Runs the handler of `call` on this thread from `began` on, and finishes the request; returns when the handler ended.
    fn serve(self: &Arc<Self>, call: Call, began: Instant) -> (MutexGuard<'_, State>, Instant) {
        let (id, handler) = (call.call(), Arc::clone(call.handler()));
        let answer = call.serve(|handler, request| {
            (handler.serve)(ServerRequest::new(request, Arc::<Self>::clone(self), id))
        });
        let ended = Instant::now();
        handler.latency.record(ended.saturating_duration_since(began));
        let mut state = self.state();
        state.session.finish(id, answer, ended);
        (state, ended)
    }

    /// Registers the readiness that the connection waits for, and its timer.
    fn watch(&self, state: &mut State) {
        let Some(poller) = self.context.poller.as_ref().filter(|_| !state.adopted) else { return };
        if state.watches_writing != state.blocked {
            state.watches_writing = state.blocked;
            if let Err(error) = poller.set_writing(&self.stream, self.id, state.blocked) {
                state.session.fail(error);
                self.leave(WAKE);
            }
        }
        if let Some(deadline) = state.session.deadline()
            && state.timer.is_none_or(|timer| deadline < timer)
        {
            let before = state.timer.replace(deadline);
            self.context.set_timer(self.id, before, deadline);
        }
    }

    /// Ends the connection, whose socket failed.
    pub(super) fn fail(self: &Arc<Self>, error: io::Error) {
        self.with(|state| state.session.fail(error));
        self.drive(0, None);
    }

    /// Sets the timer of a connection that was just accepted.
    pub(super) fn watch_first(self: &Arc<Self>) {
        self.with(|state| self.watch(state));
    }

    /// Hands the connection to the legacy handler, which starts with `buffered`.
    fn serve_legacy(self: &Arc<Self>, state: &mut State, buffered: Vec<u8>) {
        state.wants = Wants::Nothing;
        self.unwatch(state);
        let conn = Arc::clone(self);
        let job = Box::new(move || {
            let (context, peer) = (&conn.context, conn.state().session.peer());
            let error = match &context.legacy {
                None => Some(ServeError::LegacyNotServed),
                Some(handler) => {
                    let connection = LegacyConnection::new(buffered, Arc::<Self>::clone(&conn));
                    callback::run(|| handler(connection)).is_none().then_some(ServeError::HandlerPanicked)
                }
            };
            if let Some(error) = error {
                context.policy.telemetry.error_of(peer, &error);
            }
            conn.with(|state| conn.close(state));
        });
        if let Err(error) = self.context.pool.submit(job) {
            self.context.policy.report(&ServeError::NoThread(error));
            self.close(state);
        }
    }

    /// Notes that the legacy handler has read what was received before it began.
    pub(super) fn release_legacy(self: &Arc<Self>) {
        self.with(|state| state.session.release_legacy());
    }

    /// Refuses the requests that come by `until`, and answers a probe; then closes the connection. For a connection for which
    /// `error` left no thread.
    pub(super) fn refuse(self: &Arc<Self>, error: io::Error, until: Instant) {
        let mut state = self.state();
        state.session.refuse_peer(self.context.policy.no_thread(error));
        let mut bytes = [0; 4096];
        if let Ok(length @ 1..) = self.stream.read_deadline(&mut bytes, Some(until)) {
            state.session.receive(&bytes[..length], Instant::now());
        }
        state.session.process(drop);
        drop(state);
        self.write_blocking();
        self.with(|state| self.close(state));
    }

    fn close(&self, state: &mut State) {
        state.wants = Wants::Nothing;
        self.unwatch(state);
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
        self.notify(state);
    }

    fn unwatch(&self, state: &mut State) {
        if let Some(poller) = &self.context.poller
            && !std::mem::replace(&mut state.adopted, true)
        {
            poller.remove(&self.stream);
        }
    }
}

impl State {
    /// Returns whether the connection waits for nothing but the peer.
    fn may_be_adopted(&self) -> bool {
        self.wants == Wants::Read && !self.blocked && self.session.in_flight() == 0
    }
}

impl Connection for Conn {
    fn id(&self) -> u64 {
        self.id
    }

    fn leave(&self, events: u8) {
        self.leave(events);
    }

    fn drive(self: &Arc<Self>, lane: Option<&Lane>) {
        self.drive(0, lane);
    }

    fn adopt(self: &Arc<Self>) -> bool {
        self.adopt()
    }

    fn give_back(self: &Arc<Self>) {
        self.give_back();
    }

    fn read_blocking(self: &Arc<Self>, lane: &Lane) {
        self.read_blocking(lane);
    }

    fn disconnect(&self) {
        self.stream.disconnect();
    }
}

impl EventSender for Conn {
    fn send_event(self: Arc<Self>, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        Self::send_event(&self, call, payload)
    }
}

impl LegacyOwner for Conn {
    fn stream(&self) -> &LocalStream {
        &self.stream
    }

    fn release_legacy(self: Arc<Self>) {
        Self::release_legacy(&self);
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Conn").field("id", &self.id).finish_non_exhaustive()
    }
}
