//! One connection, shared by the thread that reads it and those that serve its requests.

mod room;

use super::adaptive::{self, Quick, Turn};
use super::cancellation::Cancellation;
use super::context::Shared;
use super::handler::ConcurrentHandler;
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::send_buffer::{Output, PIECES};
use crate::broker::backend_sdk::proto::server_connection::{CallId, CancelReason};
use crate::broker::backend_sdk::server::budget;
use crate::broker::backend_sdk::server::over_capacity::Place;
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::backend_sdk::server::policy::Caller;
use crate::broker::backend_sdk::server::session::{self, Session};
use crate::broker::backend_sdk::server::sync::atomic::{AtomicU64, Ordering};
use crate::broker::backend_sdk::server::sync::{Condvar, LocalStream, Mutex, MutexGuard};
use crate::broker::backend_sdk::server::telemetry::Fact;
use crate::broker::protocol::Refusal;
use crate::transport::timed_out;
use std::cell::OnceCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How exactly a read ends in time, and how long one that reads ahead of requests that wait goes on before it looks
/// whether they still do.
const TICK: Duration = Duration::from_millis(10);

/// A connection that several threads work on. One reads it; whoever has something to write writes for all. Nobody holds
/// the lock while the socket or a concurrent handler takes its time.
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) stream: Arc<LocalStream>,
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    state: Mutex<State>,
    /// Number of times that the peer has taken a part of the output, but not all.
    parts: AtomicU64,
    /// Notified when something has [advanced](Self::advance).
    advanced: Condvar,
}

struct State {
    session: Session<Cancellation>,
    /// A thread is writing the output, and will write whatever is added to it.
    writing: bool,
    /// Number of times that it has written all that there was.
    written: u64,
    /// Whoever reads only waits for the peer to go, and is to be woken when the last call has ended.
    watching: bool,
    /// How many threads wait for something to advance.
    waiting: usize,
    quick: Quick,
}

/// A call for a handler on a thread.
pub(super) type Concurrent = session::Concurrent<ConcurrentHandler, Cancellation>;

/// What is to be done with what came.
pub(super) struct Taken {
    /// For other threads.
    pub(super) calls: Vec<Concurrent>,
    /// There are more, for whoever has the turn.
    pub(super) quick: bool,
}

/// What whoever has the turn does next.
pub(super) enum Step {
    /// Serve a request that is expected to be quick. If it is the first, a watch is to begin.
    Serve { call: Concurrent, unwatched: bool },
    /// Nothing: another thread has the turn.
    Passed,
    /// Read, until the time given; onto the buffer, if there is one.
    Read(Option<Instant>, Option<Vec<u8>>),
    /// Wait for the peer to go, until the time given: it sends nothing more, and calls are at work.
    Watch(Option<Instant>),
    /// Tell the connection the time.
    Time,
    /// Hand the connection over, with what was received.
    Legacy(Vec<u8>),
    /// Nothing: the connection is over.
    End,
}

/// What came of it.
pub(super) enum Input<'a> {
    Bytes(&'a [u8]),
    /// The buffer that was to be read onto, and how many bytes were.
    Onto(Vec<u8>, usize),
    /// The peer sends nothing more, and may be gone altogether.
    Eof {
        gone: bool,
    },
    Time,
    Gone,
    Failed(io::Error),
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, id: u64, stream: LocalStream, place: Place) -> io::Result<Self> {
        let peer = PeerCredentials::of(stream.user())?;
        let mut session = Session::new(&shared.service, peer, place, Instant::now());
        // Nothing next to the thread that reads it.
        session.connection.keep(budget::LARGEST_SHARE);
        let state = State {
            session,
            writing: false,
            written: 0,
            watching: false,
            waiting: 0,
            quick: Quick::default(),
        };
        let (state, parts, advanced) = (Mutex::new(state), AtomicU64::new(0), Condvar::new());
        Ok(Self { id, stream: Arc::new(stream), shared, place, state, parts, advanced })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Handlers that run under the lock are caught there if they panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the connection is locked.
    fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Looks at what the thread with the turn serves, unless the connection is locked.
    pub(super) fn try_quick<T>(&self, look: impl FnOnce(&mut Quick) -> T) -> Option<T> {
        self.try_state().map(|mut state| look(&mut state.quick))
    }

    /// Waits until something has [advanced](Self::advance), or so long.
    fn wait<'a>(&self, mut state: MutexGuard<'a, State>, at_most: Option<Duration>) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let mut state = match at_most {
            None => self.advanced.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(time) => self.advanced.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
        };
        state.waiting -= 1;
        state
    }

    /// Output was written, a call has ended or was cancelled. Asks nothing of the system unless somebody waits for it.
    fn advance(&self, state: &State) {
        if state.waiting > 0 {
            self.advanced.notify_all();
        }
    }

    /// What whoever has the turn does next; waits while there is nothing to do but to let calls end and output be written.
    pub(super) fn next_step(self: &Arc<Self>, turn: Turn) -> Step {
        let mut state = self.state();
        loop {
            if !state.quick.has(turn) {
                return Step::Passed;
            }
            if state.quick.is_empty() || !self.is_full(&state) {
                break;
            }
            // A thread that writes now has more room to tell of, or no thread writes.
            state = if state.writing {
                self.wait(state, None)
            } else {
                self.write(state, Some(turn));
                self.state()
            };
        }
        let unwatched = state.quick.wants_watch();
        if let Some(call) = state.quick.begin() {
            return Step::Serve { call, unwatched };
        }
        state.watching = false;
        loop {
            if let Some(buffered) = state.session.legacy.take() {
                return Step::Legacy(buffered);
            }
            let Session { connection, gone, .. } = &state.session;
            let deadline = connection.deadline();
            if connection.has_ended() && connection.in_flight() > 0 && !gone {
                state.watching = true;
                return Step::Watch(deadline);
            }
            if connection.is_over() && connection.in_flight() == 0 && !state.writing {
                return Step::End;
            }
            if connection.wants_input() {
                return Step::Read(self.read_until(&state), state.session.connection.lend_input());
            }
            let Some(deadline) = deadline else {
                state = self.wait(state, None);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Step::Time;
            }
            state = self.wait(state, Some(left));
        }
    }

    /// Until when to read. Nobody tells who reads that a call has ended or output was written meanwhile, with which a
    /// deadline of the peer's may begin, or that a request was taken that has one. While that can happen, it looks again.
    fn read_until(&self, state: &State) -> Option<Instant> {
        let connection = &state.session.connection;
        let limits = &self.shared.service.config.connection;
        let again = if connection.is_postponed() {
            Some(TICK)
        } else if state.writing || connection.in_flight() > 0 {
            Some(limits.idle.map_or(limits.message, |idle| idle.min(limits.message)).max(TICK))
        } else {
            None
        };
        let again = again.and_then(|again| Instant::now().checked_add(again));
        earliest(connection.deadline(), again)
    }

    /// Takes what came, and does what can be done at once: all of it, answers included, if there is nothing to serve.
    pub(super) fn take(self: &Arc<Self>, input: Input<'_>, turn: Turn) -> Taken {
        let mut state = self.state();
        let calls = self.take_input(&mut state, input, turn);
        let taken = Taken { calls, quick: !state.quick.is_empty() };
        if taken.calls.is_empty() && !taken.quick {
            self.write(state, Some(turn));
        }
        taken
    }

    fn take_input(&self, state: &mut State, input: Input<'_>, turn: Turn) -> Vec<Concurrent> {
        let State { session: Session { connection, .. }, quick, .. } = state;
        match input {
            Input::Bytes(bytes) => {
                let now = Instant::now();
                quick.busy = adaptive::is_busy(connection.last_activity(), now);
                connection.receive(bytes, now);
                self.note(Fact::Received { bytes: bytes.len() });
            }
            Input::Onto(buffer, bytes) => {
                let now = Instant::now();
                quick.busy = adaptive::is_busy(connection.last_activity(), now);
                connection.give_back_input(buffer, bytes, now);
                self.note(Fact::Received { bytes });
            }
            Input::Eof { gone } => {
                connection.receive_eof();
                let asked = self.pump(state, Some(turn));
                if gone && state.session.connection.in_flight() > 0 {
                    // They are told before anybody begins.
                    state.session.hang_up();
                    self.pump(state, None);
                }
                return asked;
            }
            Input::Time => connection.handle_timeout(Instant::now()),
            Input::Gone => state.session.hang_up(),
            Input::Failed(error) => self.fail(state, error),
        }
        self.pump(state, Some(turn))
    }

    /// Nothing was read onto the buffer.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        self.state().session.connection.give_back_input(buffer, 0, Instant::now());
    }

    fn fail(&self, state: &mut State, error: io::Error) {
        if !state.session.gone {
            self.note(Fact::Trouble(&error.into(), Some(state.session.peer())));
            state.session.hang_up();
        }
    }

    fn note(&self, fact: Fact<'_>) {
        self.shared.service.observation.note(fact);
    }

    /// Goes through everything that the connection has to tell. What is quick is left to `turn`, if that still is whose turn
    /// it is; the calls that it gives are for others.
    fn pump(&self, state: &mut State, turn: Option<Turn>) -> Vec<Concurrent> {
        let State { session, quick, .. } = state;
        let has_turn = turn.is_some_and(|turn| quick.has(turn));
        let mut others = Vec::new();
        session.pump(&self.shared.service, |call| {
            others.extend(if has_turn { quick.keep(&self.shared, call) } else { Some(call) });
        });
        if state.session.gone {
            // Also for the thread that reads it.
            self.stream.disconnect();
        }
        if std::mem::take(&mut state.session.cancelled) {
            self.advance(state);
        }
        others
    }

    /// Returns the credentials of the peer.
    pub(super) fn peer(&self) -> PeerCredentials {
        self.state().session.peer()
    }

    /// Returns the peer of `call`, and whether it waits for the answer.
    pub(super) fn caller(&self, call: CallId) -> Caller {
        self.state().session.caller(call)
    }

    /// `call` has ended with `answer` at `ended`. Whoever has the turn gets the next one, and writes the answers together
    /// once there is none, or there are enough.
    pub(super) fn finish(
        self: &Arc<Self>,
        call: CallId,
        answer: Result<Payload, Refusal>,
        ended: Instant,
        turn: Option<Turn>,
    ) -> Option<Concurrent> {
        let mut state = self.state();
        state.session.finish(&self.shared.service, call, answer, ended);
        self.tell_if_gone(&mut state);
        if turn.is_some() && self.is_full(&state) {
            self.write(state, turn);
            state = self.state();
        }
        let next = turn.and_then(|turn| state.quick.follow(turn));
        if next.is_none() {
            self.write(state, turn);
        }
        next
    }

    /// Refuses what the peer has asked for by `deadline`, and answers a probe. Runs no handler.
    pub(super) fn refuse_peer(self: &Arc<Self>, refusal: Refusal, turn: Turn, deadline: Instant) {
        self.state().session.refuse_peer(refusal);
        let mut bytes = [0; 4096];
        if let Ok(length @ 1..) = self.stream.read_deadline(&mut bytes, Some(deadline)) {
            self.take(Input::Bytes(&bytes[..length]), turn);
        }
    }

    /// Refuses calls.
    pub(super) fn refuse(self: &Arc<Self>, calls: Vec<(CallId, Refusal)>) {
        if !calls.is_empty() {
            let mut state = self.state();
            self.refuse_in(&mut state, calls);
            self.write(state, None);
        }
    }

    fn refuse_in(&self, state: &mut State, calls: Vec<(CallId, Refusal)>) {
        for (call, refusal) in calls {
            state.session.finish(&self.shared.service, call, Err(refusal), Instant::now());
        }
        self.advance(state);
    }

    /// Records that no thread watches what is quick; the next request tries again.
    pub(super) fn unwatched(&self) {
        self.state().quick.unwatched();
    }

    /// Gives the turn to the caller if the last of `begun` quick requests is still being served.
    pub(super) fn pass_turn(&self, begun: u64) -> Option<Turn> {
        self.state().quick.pass(begun)
    }

    /// Ends reading by the thread that has `turn`, and the connection if it is not over; `false` if another thread has the turn.
    pub(super) fn end(&self, turn: Turn) -> bool {
        let mut state = self.state();
        if !state.quick.has(turn) {
            return false;
        }
        if !state.session.connection.is_over() {
            state.session.hang_up();
            // The calls are told, and nothing new can come.
            drop(self.pump(&mut state, None));
        }
        // A thread that still holds the connection needs no memory of it.
        state.session.settle_all(&self.shared.service);
        true
    }

    /// Cancels every call, and tells the peer: the daemon's patience has ended.
    pub(super) fn cancel_all(self: &Arc<Self>) {
        let mut state = self.state();
        state.session.connection.cancel_all(CancelReason::ShuttingDown);
        // Nothing new can come of it: the server was stopped long ago, and what had come is admitted.
        drop(self.pump(&mut state, None));
        self.write(state, None);
    }

    /// Returns whether the peer has taken nothing of what waits to be written since this was called with `seen`; `false`
    /// while the connection is locked, as an inline handler may keep it.
    pub(super) fn is_stalled(&self, seen: &mut Option<(u64, u64)>) -> bool {
        let Some(state) = self.try_state() else { return false };
        let now = state.writing.then(|| (state.written, self.parts.load(Ordering::Relaxed)));
        std::mem::replace(seen, now).is_some_and(|seen| Some(seen) == now)
    }

    /// Ends the connection, whose peer does not read.
    pub(super) fn end_stalled(&self) {
        let mut state = self.state();
        self.fail(&mut state, timed_out());
        // Its calls are told, and the thread that writes.
        drop(self.pump(&mut state, None));
    }

    /// Returns whether a probe may wait for the identity of the daemon: once that is there, [`flush`](Self::flush) goes
    /// on. Does not wait for the thread that holds the connection, as an inline handler may.
    pub(super) fn may_await_identity(&self) -> bool {
        self.try_state().is_none_or(|state| state.session.connection.awaits_identity())
    }

    /// Writes what there is to write.
    pub(super) fn flush(self: &Arc<Self>) {
        self.write(self.state(), None);
    }

    /// Writes until nothing is left, unless another thread does. What can be taken meanwhile is taken, and what is quick
    /// of it left to the writer, if that has the turn.
    fn write<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>, turn: Option<Turn>) {
        if state.writing {
            return;
        }
        state.writing = true;
        loop {
            if state.session.connection.is_postponed() {
                let asked = self.pump(&mut state, turn);
                let refused = self.shared.submit(self, asked);
                self.refuse_in(&mut state, refused);
            }
            if state.session.gone || state.session.connection.output().is_empty() {
                break;
            }
            let mut output = state.session.connection.take_output();
            drop(state);
            let bytes = output.len();
            let written = self.write_all(&mut output);
            state = self.state();
            state.written += 1;
            state.session.connection.give_back_output(output, Instant::now());
            match written {
                Ok(()) => self.note(Fact::Sent { bytes }),
                Err(error) => self.fail(&mut state, error),
            }
            state.session.settle(&self.shared.service);
            self.tell_if_gone(&mut state);
            self.advance(&state);
        }
        state.writing = false;
        let connection = &state.session.connection;
        if state.watching && connection.in_flight() == 0 && !connection.awaits_identity() {
            self.stream.disconnect();
        }
        self.advance(&state);
    }

    /// Writes all of `output`, for which the peer has so much time from when it first takes nothing; once more so much if it has
    /// taken something when that has passed, because this process may have been stopped meanwhile.
    fn write_all(&self, output: &mut Output) -> io::Result<()> {
        let patience = self.shared.service.config.write;
        let mut deadline = OnceCell::new();
        let mut again = true;
        loop {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let count = output.fill(&mut slices);
            let until = || *deadline.get_or_init(|| Instant::now().checked_add(patience));
            let written = self.stream.write_vectored(&slices[..count], until)?;
            output.consume(written);
            if output.is_empty() {
                break;
            }
            self.parts.fetch_add(1, Ordering::Relaxed);
            let passed = |until: &Option<Instant>| until.is_some_and(|until| until <= Instant::now());
            if again && deadline.get().is_some_and(passed) {
                (deadline, again) = (OnceCell::new(), false);
            }
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.session.settle_all(&self.shared.service);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").field("id", &self.id).finish_non_exhaustive()
    }
}
