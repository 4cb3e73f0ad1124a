//! One connection, driven by any thread that has something to do for it.

use super::adaptive::{Lane, LatencyEstimate};
use super::context::ServerContext;
use super::legacy::LegacyConnection;
use super::request::ServerRequest;
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::send_buffer::{MAX_IOVECS, SendBuffer};
use crate::broker::backend_sdk::proto::server_connection::{CallId, SendEventError};
use crate::broker::backend_sdk::server::config::ServeError;
use crate::broker::backend_sdk::server::handler::HandlerError;
use crate::broker::backend_sdk::server::session::{Action, Answer, Dispatched, Phase, ServerSession};
use crate::broker::backend_sdk::server::sync::atomic::{AtomicU8, Ordering, fence};
use crate::broker::backend_sdk::server::sync::{Condvar, LocalStream, Mutex, MutexGuard};
use crate::broker::backend_sdk::server::{callback, scratch};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Events of a connection: the socket may be read, written, has nothing more to read, is closed; or another reason to look.
pub(super) const READABLE: u8 = 1;
pub(super) const WRITABLE: u8 = 2;
pub(super) const READ_CLOSED: u8 = 4;
pub(super) const HUNG_UP: u8 = 8;
pub(super) const WAKE: u8 = 16;
/// The timer has fired.
pub(super) const TIMER: u8 = 32;

/// Most reads in a row before other connections have their turn, and before a deadline that has passed is judged.
const MAX_READS: u32 = 16;

/// Time without a byte after which a thread that reads one connection gives it back to the poller.
pub(super) const QUIET: Duration = Duration::from_millis(10);

/// Interval at which a thread that reads one connection, where there is no poller, looks for new deadlines.
const RECHECK: Duration = Duration::from_millis(50);

/// The handler of a payload protocol.
pub(super) struct BlockingHandler {
    pub(super) serve: Box<dyn Fn(ServerRequest) -> Result<Payload, HandlerError> + Send + Sync>,
    pub(super) latency: LatencyEstimate,
}

type Session = ServerSession<BlockingHandler>;
type Call = Dispatched<BlockingHandler>;

/// A connection of the server. The thread that holds the lock does all that can be done at once; a thread that finds it
/// locked leaves its events, and the holder looks at them after it has unlocked. No thread blocks under the lock but in
/// the daemon's inline handlers.
pub(super) struct Conn {
    pub(super) id: u64,
    pub(super) context: Arc<ServerContext>,
    pub(super) stream: LocalStream,
    /// Events that no thread has taken yet.
    events: AtomicU8,
    /// The phase that this connection alone has entered, because its slot is needed.
    phase: AtomicU8,
    state: Mutex<State>,
    /// Notified when output was written or a request cancelled.
    progress: Condvar,
}

struct State {
    session: Session,
    /// Quick requests for the thread that reads, in order.
    queue: VecDeque<Call>,
    /// The socket may have something to read.
    readable: bool,
    /// The peer sends nothing more: after what is read comes the end.
    read_closed: bool,
    hung_up: bool,
    /// The socket has taken no more output.
    blocked: bool,
    /// The poller reports when it does.
    watches_writing: bool,
    /// A thread reads the connection, and the poller does not watch it.
    adopted: bool,
    /// The next action, as far as it concerns reading.
    wants: Wants,
    /// When the poller looks at the connection, whatever happens.
    timer: Option<Instant>,
    /// Threads that wait for `progress`.
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
    pub(super) fn new(id: u64, context: Arc<ServerContext>, stream: LocalStream, session: Session) -> Self {
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
        let (events, phase) = (AtomicU8::new(0), AtomicU8::new(Phase::Serving as u8));
        Self { id, context, stream, events, phase, state: Mutex::new(state), progress: Condvar::new() }
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

    /// Leaves `events` for the thread that drives the connection next.
    pub(super) fn leave(&self, events: u8) {
        self.events.fetch_or(events, Ordering::SeqCst);
    }

    /// Has the connection drain, because its slot is needed.
    pub(super) fn drain(&self) {
        self.phase.store(Phase::Draining as u8, Ordering::SeqCst);
    }

    /// Does all that can be done now, unless another thread does it. A thread with a `lane` serves quick requests itself.
    pub(super) fn drive(self: &Arc<Self>, events: u8, lane: Option<&Lane>) {
        self.leave(events | WAKE);
        let mut lane = lane;
        while self.events.load(Ordering::SeqCst) != 0 {
            let Some(mut state) = self.try_state() else { return };
            self.advance(&mut state, lane);
            let call = match lane {
                Some(_) if !state.session.is_full() => state.queue.pop_front(),
                _ => None,
            };
            drop(state);
            // A thread that found the lock taken has left its events before that; this reads them after the unlock.
            fence(Ordering::SeqCst);
            if let Some(call) = call {
                lane = lane.filter(|lane| lane.begin(self.id));
                self.context.watch();
                self.serve(call);
                lane = lane.filter(|lane| !lane.is_lost());
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
        let phase = self.context.phase().max(Phase::from(self.phase.load(Ordering::SeqCst)));
        if state.session.enter(phase, now) {
            self.stream.interrupt_reads();
            (state.readable, state.read_closed) = (true, true);
        }
        if state.wants == Wants::Nothing {
            return;
        }
        // The reader of an adopted connection reads it outside of the lock.
        let reads = !state.adopted || lane.is_some_and(Lane::reads_one);
        let mut late = reads && state.session.deadline().is_some_and(|deadline| deadline <= now);
        if late {
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
                _ if late => {
                    late = false;
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
        self.notify_progress(state);
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
                drop(conn.wait_for_room(id));
                conn.serve(call);
                conn.drive(0, None);
            });
            if let Err(error) = self.context.pool.submit(job) {
                let refusal = HandlerError::Refused(self.context.policy.no_thread(error));
                session.finish(id, Answer::Failed(refusal), Instant::now());
            }
        }
    }

    /// Runs the handler of `call` on this thread, and finishes the request.
    fn serve(self: &Arc<Self>, call: Call) {
        let (id, handler, began) = (call.call(), Arc::clone(call.handler()), Instant::now());
        let answer =
            call.serve(|handler, request| (handler.serve)(ServerRequest::new(request, Arc::clone(self), id)));
        let ended = Instant::now();
        handler.latency.record(ended.saturating_duration_since(began));
        self.state().session.finish(id, answer, ended);
        self.leave(WAKE);
    }

    /// Reads once what has arrived.
    fn read_arrived(self: &Arc<Self>, state: &mut State, lane: Option<&Lane>) {
        if let Some(mut buffer) = state.session.take_recv_buffer() {
            let room = buffer.capacity() - buffer.len();
            let read = self.stream.read_arrived_onto(&mut buffer);
            state.session.restore_recv_buffer(buffer, *read.as_ref().unwrap_or(&0), Instant::now());
            self.was_read(state, lane, read, room);
        } else {
            let (read, room) = scratch::with(|scratch| {
                let read = self.stream.read_arrived(scratch);
                if let Ok(length @ 1..) = read {
                    state.session.receive(&scratch[..length], Instant::now());
                }
                (read, scratch.len())
            });
            self.was_read(state, lane, read, room);
        }
    }

    /// Takes the result of a read into `room` bytes.
    fn was_read(
        self: &Arc<Self>,
        state: &mut State,
        lane: Option<&Lane>,
        read: io::Result<usize>,
        room: usize,
    ) {
        match read {
            Ok(0) => {
                state.readable = false;
                let is_gone = || self.stream.wait_hang_up(Some(Instant::now())).unwrap_or(true);
                self.dispatch(state, lane, |session, dispatch| session.end_of_input(is_gone, dispatch));
            }
            // A read that does not fill the room has emptied the socket: the next byte is an event.
            Ok(length) => state.readable = length == room || state.read_closed,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => state.readable = false,
            Err(error) => state.session.fail(error),
        }
    }

    /// Writes what the socket takes.
    fn write(&self, state: &mut State) {
        let State { session, blocked, .. } = state;
        while self.context.poller.is_some() && !*blocked && session.has_output() {
            let mut pieces = [IoSlice::new(&[]); MAX_IOVECS];
            let count = session.output_slices(&mut pieces);
            match self.stream.write_now(&pieces[..count]) {
                Ok(Some(written)) => session.output_written(written, Instant::now()),
                Ok(None) => {
                    *blocked = true;
                    session.write_blocked(Instant::now());
                }
                Err(error) => session.fail(error),
            }
        }
    }

    /// Has the poller watch for what the connection waits for, and set its timer.
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
        self.state().session.fail(error);
        self.drive(0, None);
    }

    /// Sets the timer of a connection that was just accepted.
    pub(super) fn watch_first(&self) {
        self.watch(&mut self.state());
    }

    fn notify_progress(&self, state: &mut State) {
        if state.session.take_progress() && state.waiting > 0 {
            self.progress.notify_all();
        }
    }

    /// Blocks until the peer has read enough, or does not wait for `call` any more.
    fn wait_for_room(self: &Arc<Self>, call: CallId) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while state.session.holds_back(call) {
            if state.adopted && self.context.poller.is_some() {
                // The thread that reads it may be this one, and the poller tells when there is room.
                self.release(&mut state);
            }
            state.waiting += 1;
            state = self.progress.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        state
    }

    /// Blocks while the peer leaves too much unread, then queues and writes an event.
    pub(super) fn send_event(self: &Arc<Self>, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        let sent = self.wait_for_room(call).session.send_event(call, payload);
        self.drive(0, None);
        sent
    }

    /// Has this thread read the connection, if it waits for nothing but the peer; returns whether it has.
    pub(super) fn adopt(&self) -> bool {
        let Some(mut state) = self.try_state() else { return false };
        let (Some(poller), true) = (&self.context.poller, state.may_be_adopted()) else { return false };
        poller.remove(&self.stream);
        (state.adopted, state.watches_writing) = (true, false);
        true
    }

    /// Gives the connection back to the poller.
    pub(super) fn give_back(self: &Arc<Self>) {
        self.release(&mut self.state());
    }

    fn release(self: &Arc<Self>, state: &mut State) {
        let Some(poller) = &self.context.poller else { return };
        if state.wants == Wants::Nothing || !std::mem::take(&mut state.adopted) {
            return;
        }
        state.watches_writing = state.blocked;
        if let Err(error) = poller.add(&self.stream, self.id, state.blocked) {
            state.session.fail(error);
            self.context.requeue(self);
        }
        self.watch(state);
    }

    /// Takes over from a thread that serves a request on `lane` for too long: the poller watches the connection, and the pool
    /// serves what waits behind the request. Does nothing while an inline handler has the connection.
    pub(super) fn relieve(self: &Arc<Self>) {
        if let Some(mut state) = self.try_state() {
            self.release(&mut state);
        }
        self.drive(0, None);
    }

    /// Reads the connection until it is over, or falls quiet and goes back to the poller.
    pub(super) fn read_blocking(self: &Arc<Self>, lane: &Lane) {
        loop {
            self.drive(0, Some(lane));
            if lane.is_lost() {
                return;
            }
            let mut state = self.state();
            if !state.adopted || state.wants == Wants::Nothing {
                return;
            }
            let poller = self.context.poller.as_ref();
            let polls = poller.is_some();
            let quiet = Instant::now() + if polls { QUIET } else { RECHECK };
            let until = earliest(state.session.deadline(), Some(quiet));
            let blocked = poller.filter(|_| state.blocked && state.wants == Wants::Read);
            let waited = if let Some(poller) = blocked {
                drop(state);
                poller.wait_ready(&self.stream, until).map(|()| self.leave(READABLE | WRITABLE))
            } else if polls && !state.may_be_adopted() {
                return self.release(&mut state);
            } else {
                match state.wants {
                    Wants::Read => self.read_one(state, lane, until),
                    Wants::HangUp => {
                        drop(state);
                        let gone = self.stream.wait_hang_up(until);
                        gone.map(|gone| self.leave(if gone { HUNG_UP } else { WAKE }))
                    }
                    Wants::Progress | Wants::Nothing => {
                        let left = quiet.saturating_duration_since(Instant::now());
                        state.waiting += 1;
                        let waited = self.progress.wait_timeout(state, left);
                        waited.unwrap_or_else(PoisonError::into_inner).0.waiting -= 1;
                        Ok(())
                    }
                }
            };
            match waited {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let mut state = self.state();
                    let late = state.session.deadline().is_some_and(|deadline| deadline <= Instant::now());
                    if polls && !late {
                        return self.release(&mut state);
                    }
                }
                Err(error) => self.state().session.fail(error),
            }
        }
    }

    /// Reads once, blocking, outside of the lock.
    fn read_one(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        lane: &Lane,
        until: Option<Instant>,
    ) -> io::Result<()> {
        if let Some(mut buffer) = state.session.take_recv_buffer() {
            drop(state);
            let room = buffer.capacity() - buffer.len();
            let read = self.stream.read_onto(&mut buffer, until);
            let mut state = self.state();
            state.session.restore_recv_buffer(buffer, *read.as_ref().unwrap_or(&0), Instant::now());
            self.was_read(&mut state, Some(lane), Ok(read?), room);
        } else {
            drop(state);
            let (mut state, length, room) = scratch::with(|scratch| {
                let length = self.stream.read_deadline(scratch, until)?;
                let mut state = self.state();
                if length > 0 {
                    state.session.receive(&scratch[..length], Instant::now());
                }
                Ok::<_, io::Error>((state, length, scratch.len()))
            })?;
            self.was_read(&mut state, Some(lane), Ok(length), room);
        }
        Ok(())
    }

    /// Writes all output, blocking, outside of the lock, unless another thread does: where there is no poller.
    fn write_blocking(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.writing || !state.session.has_output() {
                return;
            }
            state.writing = true;
            let mut output = state.session.take_output();
            drop(state);
            let length = output.len();
            let written = self.write_all(&mut output);
            let mut state = self.state();
            state.writing = false;
            state.session.restore_output(output, length, Instant::now());
            if let Err(error) = written {
                state.session.fail(error);
            }
            self.notify_progress(&mut state);
            self.leave(WAKE);
        }
    }

    fn write_all(&self, output: &mut SendBuffer) -> io::Result<()> {
        let timeout = self.context.policy.write_timeout(self.context.phase());
        while !output.is_empty() {
            let until = Instant::now().checked_add(timeout);
            let mut pieces = [IoSlice::new(&[]); MAX_IOVECS];
            let count = output.fill(&mut pieces);
            let written = self.stream.write_vectored(&pieces[..count], || until)?;
            output.consume(written);
        }
        Ok(())
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
                    let connection = LegacyConnection::new(buffered, &conn);
                    callback::run(|| handler(connection)).is_none().then_some(ServeError::HandlerPanicked)
                }
            };
            if let Some(error) = error {
                context.policy.telemetry.error_of(peer, &error);
            }
            conn.close(&mut conn.state());
        });
        if let Err(error) = self.context.pool.submit(job) {
            self.context.policy.report(&ServeError::NoThread(error));
            self.close(state);
        }
    }

    /// Notes that the legacy handler has read what was received before it began.
    pub(super) fn release_legacy(&self) {
        self.state().session.release_legacy();
    }

    /// Refuses with `refusal` what the peer asks for by `until`, and answers a probe; then closes the connection. For a
    /// connection that no thread can read.
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
        self.close(&mut self.state());
    }

    fn close(&self, state: &mut State) {
        state.wants = Wants::Nothing;
        state.session.close();
        if state.session.is_reset() {
            self.stream.disconnect();
        }
        self.unwatch(state);
        self.notify_progress(state);
        self.context.closed(self.id, state.timer.take());
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

impl fmt::Debug for Conn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Conn").field("id", &self.id).finish_non_exhaustive()
    }
}
