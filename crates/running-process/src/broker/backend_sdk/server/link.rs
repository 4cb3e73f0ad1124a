//! One connection, shared by the thread that reads it and those that serve its requests.

use super::super::output::Output;
use super::super::server_connection::{
    Call, CallId, CancelReason, SendEventError, ServerConnection, ServerEvent,
};
use super::service::{InFlight, Peer};
use super::setup::Detector;
use super::shared::Shared;
use super::{Cancellation, Handler, IncomingRequest, InlineHandler, PeerCredentials, ServerTrouble};
use crate::broker::protocol::Refusal;
use crate::transport::LocalStream;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A connection that several threads work on. One reads it; whoever has something to write writes for all. Nobody holds
/// the lock while the socket or a concurrent handler takes its time.
pub(super) struct Link {
    pub(super) id: u64,
    pub(super) stream: Arc<LocalStream>,
    pub(super) shared: Arc<Shared>,
    state: Mutex<State>,
    /// Notified when output was written, a call has ended or was cancelled.
    advanced: Condvar,
}

struct State {
    connection: ServerConnection<Detector>,
    peer: Peer,
    /// The calls that handlers work on.
    calls: HashMap<CallId, Work>,
    /// The memory of their requests, in bytes.
    requests: usize,
    /// What the legacy handler starts with, until whoever reads takes it.
    legacy: Option<Vec<u8>>,
    /// A thread is writing the output, and will write whatever is added to it.
    writing: bool,
    /// Whoever reads only waits for the peer to go, and is to be woken when the last call has ended.
    watching: bool,
    /// Nothing can be written any more.
    gone: bool,
}

/// What is kept of a call while its handler works.
struct Work {
    cancellation: Cancellation,
    memory: usize,
}

/// A call for a concurrent handler.
pub(super) struct Concurrent {
    pub(super) call: CallId,
    pub(super) handler: Arc<super::ConcurrentHandler>,
    pub(super) request: IncomingRequest,
    pub(super) cancellation: Cancellation,
    pub(super) place: InFlight,
}

/// What whoever reads does next.
pub(super) enum Step {
    /// Read, until the time given.
    Read(Option<Instant>),
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
    /// The peer sends nothing more, and may be gone altogether.
    Eof {
        gone: bool,
    },
    Time,
    Gone,
    Failed(io::Error),
}

impl Link {
    pub(super) fn new(shared: Arc<Shared>, id: u64, stream: LocalStream) -> io::Result<Self> {
        let state = State {
            connection: shared.service.connection(Instant::now()),
            peer: Peer::new(PeerCredentials::of(&stream)?),
            calls: HashMap::new(),
            requests: 0,
            legacy: None,
            writing: false,
            watching: false,
            gone: false,
        };
        Ok(Self { id, stream: Arc::new(stream), shared, state: Mutex::new(state), advanced: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Handlers that run under the lock are caught there if they panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What whoever reads does next; waits while there is nothing to do but to let calls end and output be written.
    pub(super) fn next_step(&self) -> Step {
        let mut state = self.state();
        state.watching = false;
        loop {
            if let Some(buffered) = state.legacy.take() {
                return Step::Legacy(buffered);
            }
            let connection = &state.connection;
            let deadline = connection.deadline();
            if connection.is_over() && connection.in_flight() > 0 && !state.gone {
                state.watching = true;
                return Step::Watch(deadline);
            }
            if connection.is_over() && connection.in_flight() == 0 && !state.writing {
                return Step::End;
            }
            if !connection.is_over() && connection.wants_input() {
                return Step::Read(deadline);
            }
            let Some(deadline) = deadline else {
                state = self.advanced.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Step::Time;
            }
            state = self.advanced.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes what came, and does what can be done at once; the calls are for other threads.
    pub(super) fn take(&self, input: Input<'_>) -> Vec<Concurrent> {
        let mut state = self.state();
        match input {
            Input::Bytes(bytes) => state.connection.receive(bytes, Instant::now()),
            Input::Eof { gone } => {
                state.connection.receive_eof();
                let asked = self.pump(&mut state);
                if !gone || state.connection.in_flight() == 0 {
                    return asked;
                }
                // They are told before anybody begins.
                state.hang_up();
                self.pump(&mut state);
                return asked;
            }
            Input::Time => state.connection.handle_timeout(Instant::now()),
            Input::Gone => state.hang_up(),
            Input::Failed(error) => self.fail(&mut state, error),
        }
        self.pump(&mut state)
    }

    fn fail(&self, state: &mut State, error: io::Error) {
        if !state.gone {
            self.trouble(&error.into());
            self.give_up(state);
        }
    }

    /// Ends the connection at once, also for the thread that reads it.
    fn give_up(&self, state: &mut State) {
        state.hang_up();
        self.stream.disconnect();
    }

    fn trouble(&self, trouble: &ServerTrouble) {
        (self.shared.service.observer)(trouble);
    }

    /// Goes through everything that the connection has to tell.
    fn pump(&self, state: &mut State) -> Vec<Concurrent> {
        let mut asked = Vec::new();
        loop {
            self.take_events(state, &mut asked);
            let State { connection, peer, requests, gone, .. } = state;
            let memory = connection.memory() + *requests;
            match self.shared.service.settle(peer, memory, connection.has_spoken()) {
                Err(trouble) if !*gone => {
                    self.trouble(&trouble);
                    self.give_up(state);
                }
                _ => return asked,
            }
        }
    }

    fn take_events(&self, state: &mut State, asked: &mut Vec<Concurrent>) {
        let service = &self.shared.service;
        loop {
            let State { connection, peer, calls, requests, .. } = state;
            match connection.next_event() {
                Ok(None) => return,
                Err(error) => self.trouble(&error.into()),
                Ok(Some(ServerEvent::Request(call))) => match service.admit(&call.frame, call.now(), peer) {
                    Err(refusal) => call.refuse(&refusal),
                    Ok(admission) => match admission.handler {
                        Handler::Inline(handler) => self.answer(handler, call),
                        Handler::Concurrent(handler) => match service.enter() {
                            Err(refusal) => call.refuse(&refusal),
                            Ok(place) => {
                                let frame = call.frame.to_frame();
                                let memory = frame.payload.len();
                                let request =
                                    IncomingRequest::new(frame, admission.deadline, peer.credentials);
                                let call = call.admit(admission.deadline);
                                let cancellation = Cancellation::default();
                                *requests += memory;
                                calls.insert(call, Work { cancellation: cancellation.clone(), memory });
                                let handler = Arc::clone(handler);
                                asked.push(Concurrent { call, handler, request, cancellation, place });
                            }
                        },
                    },
                },
                Ok(Some(ServerEvent::Cancelled(call, reason))) => {
                    if let Some(work) = calls.get(&call) {
                        work.cancellation.cancel(reason);
                    }
                    self.advanced.notify_all();
                }
                Ok(Some(ServerEvent::Legacy(buffered))) => {
                    if service.authorize(peer).is_ok() {
                        state.legacy = Some(buffered);
                    }
                }
                Ok(Some(
                    ServerEvent::ProbeAnswered
                    | ServerEvent::Unasked(_)
                    | ServerEvent::Refused(_)
                    | ServerEvent::Closed,
                )) => {}
            }
        }
    }

    fn answer(&self, handler: &InlineHandler, call: Call<'_>) {
        let service = &self.shared.service;
        let payload_protocol = call.frame.payload_protocol;
        match catch_unwind(AssertUnwindSafe(|| handler(&call.frame))) {
            Ok(Ok(payload)) => {
                if let Err(error) = call.respond(payload) {
                    service.unanswerable(payload_protocol, error);
                }
            }
            Ok(Err(error)) => call.refuse(&service.failed(payload_protocol, error)),
            Err(_panic) => call.refuse(&service.panicked()),
        }
    }

    /// `call` has ended with `answer`.
    pub(super) fn finish(
        self: &Arc<Self>,
        call: CallId,
        payload_protocol: u32,
        answer: Result<Vec<u8>, Refusal>,
    ) {
        let mut state = self.state();
        let State { connection, calls, requests, .. } = &mut *state;
        *requests -= calls.remove(&call).map_or(0, |work| work.memory);
        match answer {
            Ok(payload) => {
                if let Err(error) = connection.respond(call, payload) {
                    self.shared.service.unanswerable(payload_protocol, error);
                }
            }
            Err(refusal) => connection.refuse(call, &refusal),
        }
        self.write(state);
    }

    /// Blocks while the peer leaves enough output unread.
    pub(super) fn send_event(self: &Arc<Self>, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        let enough = self.shared.service.config.enough_output;
        let mut state = self.state();
        while state.connection.unwritten() >= enough && !state.gone && !state.is_cancelled(call) {
            state = self.advanced.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.connection.send_event(call, payload)?;
        self.write(state);
        Ok(())
    }

    /// Cancels every call: the daemon's patience has ended.
    pub(super) fn cancel_all(&self) {
        let mut state = self.state();
        state.connection.cancel_all(CancelReason::ShuttingDown);
        // Nothing new can come of it: the server was stopped long ago, and what had come is admitted.
        drop(self.pump(&mut state));
    }

    /// Writes what there is to write.
    pub(super) fn flush(self: &Arc<Self>) {
        self.write(self.state());
    }

    /// Writes until nothing is left, unless another thread does. What can be taken meanwhile is taken.
    fn write<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) {
        if state.writing {
            return;
        }
        state.writing = true;
        loop {
            if state.connection.is_postponed() {
                let asked = self.pump(&mut state);
                self.shared.submit(self, asked);
            }
            let mut output = state.connection.take_output();
            if output.is_empty() || state.gone {
                break;
            }
            drop(state);
            let deadline = Instant::now().checked_add(self.shared.service.config.write);
            let written = write_all(&self.stream, &mut output, deadline);
            state = self.state();
            state.connection.give_back_output(output, Instant::now());
            if let Err(error) = written {
                self.fail(&mut state, error);
                // The calls are told.
                drop(self.pump(&mut state));
            }
            self.advanced.notify_all();
        }
        state.writing = false;
        if state.watching && state.connection.in_flight() == 0 {
            self.stream.disconnect();
        }
        self.advanced.notify_all();
    }
}

/// How many pieces are written in one call.
const PIECES: usize = 16;

fn write_all(stream: &LocalStream, output: &mut Output, deadline: Option<Instant>) -> io::Result<()> {
    while !output.is_empty() {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let count = output.fill(&mut slices);
        let written = stream.write_vectored_before(&slices[..count], deadline)?;
        output.consume(written);
    }
    Ok(())
}

impl State {
    fn hang_up(&mut self) {
        self.gone = true;
        self.connection.hang_up();
    }

    fn is_cancelled(&self, call: CallId) -> bool {
        self.calls.get(&call).is_none_or(|work| work.cancellation.get().is_some())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shared.service.settle_all(&mut state.peer);
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").field("id", &self.id).finish_non_exhaustive()
    }
}
