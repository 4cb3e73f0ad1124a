//! Where callers leave their requests and find their answers.

mod kept;

use super::sync::{Mutex, MutexGuard};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::proto::id_map::ById;
use crate::broker::protocol::{EncodingPolicy, FRAME_HEADER_BYTES, Frame};
pub(super) use kept::Streamed;
use kept::{Kept, Stream};
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

/// What became of a request: the inner error is one of a request that may have been sent.
pub(in super::super) type Answer = Result<Response, NotSent>;

pub(super) type Response = Result<Frame, FrameClientError>;

/// A request of which nothing was sent, because the connection ended before.
#[derive(Debug)]
pub(in super::super) struct NotSent {
    pub(in super::super) payload: Vec<u8>,
    /// Why the connection ended.
    pub(super) error: FrameClientError,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) payload_protocol: u32,
    pub(super) payload: Vec<u8>,
    /// 0 is none.
    pub(super) deadline_unix_ms: u64,
    /// The other options, if the frame carries any.
    pub(super) options: Option<Box<RequestOptions>>,
    /// Its events are wanted.
    pub(super) streamed: bool,
}

/// For how many callers memory is kept while there are none, of 160 bytes each.
const KEPT: usize = 1024;

/// Names a request between its caller and the task, which alone knows its id on the wire.
pub(super) type Ticket = u64;

/// An item that the task delivers for a caller, or under [`UNSOLICITED`] for the caller that takes the events of no request.
#[derive(Debug)]
pub(super) enum Delivery {
    Event(Frame),
    Answer(Response),
}

/// In the place of a ticket: of no request.
pub(super) const UNSOLICITED: Ticket = Ticket::MAX;

/// How many requests or responses cross the desk at once at most, so that nobody holds it for long.
pub(super) const BATCH: usize = 64;

/// What callers and the task tell each other. Whoever holds the lock moves what is in memory, and neither waits nor wakes
/// anyone.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next_ticket: Ticket,
    /// Everyone who waits, or whose response does.
    callers: ById<Ticket, Caller>,
    /// What the task has not taken, in the order of the tickets.
    requests: VecDeque<(Ticket, Request)>,
    /// What the task has taken and nobody waits for any more.
    given_up: Vec<Ticket>,
    encodings: EncodingPolicy,
    looks: Looks,
    kept: Kept,
    /// The last client is gone.
    left: bool,
    end: Option<End>,
    /// The task, until it is woken.
    task: Option<Waker>,
}

/// Callers whose deadline has passed, and which wait until the task has read what has arrived.
#[derive(Debug, Default)]
struct Looks {
    /// Number of looks that were asked for.
    asked: u64,
    /// Number of looks that the task has taken.
    done: u64,
    wakers: Vec<Waker>,
}

#[derive(Debug)]
enum Caller {
    Waits(Waker),
    Answered(Response),
    /// It reads the events of its request as well.
    Streams(Box<Stream>),
}

/// The connection has ended.
#[derive(Debug)]
struct End {
    reason: FrameClientError,
    /// A request was told of the end.
    told: bool,
}

impl End {
    fn tell(&mut self) -> FrameClientError {
        self.told = true;
        self.reason.clone()
    }
}

/// What the task has to do.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) given_up: Vec<Ticket>,
    pub(super) requests: Vec<(Ticket, Request)>,
    pub(super) encodings: EncodingPolicy,
    /// Events of no request are wanted.
    pub(super) unsolicited: bool,
    /// There are more requests than were asked for.
    pub(super) more: bool,
    /// Callers wait until what has arrived is read, and are told by this number.
    pub(super) look: Option<u64>,
    /// Room for events, in bytes.
    pub(super) event_room: usize,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_encodings(&self, policy: EncodingPolicy) {
        self.state().encodings = policy;
    }

    /// Whether the connection goes on.
    pub(super) fn is_open(&self) -> bool {
        self.state().end.is_none()
    }

    /// Waits for what becomes of `request`. Dropped before that, it is given up.
    pub(super) fn ask(&self, request: Request) -> Asking<'_> {
        Asking { desk: self, stage: Stage::New(request) }
    }

    /// Waits until the task has read what has arrived by now, or the connection has ended.
    pub(super) fn look(&self) -> impl Future<Output = ()> {
        let mut number = None;
        poll_fn(move |context| {
            let mut state = self.state();
            let first = number.is_none();
            let number = *number.get_or_insert_with(|| {
                state.looks.asked += 1;
                state.looks.asked
            });
            if state.looks.done >= number || state.end.is_some() {
                return Poll::Ready(());
            }
            state.looks.wakers.push(context.waker().clone());
            if first {
                ring(state);
            }
            Poll::Pending
        })
    }

    /// The task has read what had arrived, after it was asked for `number`.
    pub(super) fn looked(&self, number: u64) {
        let mut state = self.state();
        state.looks.done = number;
        let wakers = std::mem::take(&mut state.looks.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// There is no client any more.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.left = true;
        ring(state);
    }

    /// Fills `work` with what there is to do: requests up to `room` bytes, and the one that exceeds them. If there is more later,
    /// `waker` is woken. `false` if there is no client any more.
    pub(super) fn take(&self, room: usize, waker: &Waker, work: &mut Work) -> bool {
        let mut state = self.state();
        match &mut state.task {
            Some(task) => task.clone_from(waker),
            None => state.task = Some(waker.clone()),
        }
        work.encodings = state.encodings;
        work.unsolicited = state.kept.wants_unsolicited();
        work.event_room = state.kept.room();
        work.given_up.append(&mut state.given_up);
        let mut taken = 0;
        while taken < room
            && work.requests.len() < BATCH
            && let Some(request) = state.requests.pop_front()
        {
            taken += FRAME_HEADER_BYTES + request.1.payload.len();
            work.requests.push(request);
        }
        work.more = !state.requests.is_empty();
        work.look = (state.looks.asked != state.looks.done).then_some(state.looks.asked);
        !state.left
    }

    /// Gives every caller that is still there what came for it. Returns how many bytes of events there is room for then; once
    /// that was none and there is some again, the task is woken. `wakers` is empty memory.
    pub(super) fn deliver(&self, deliveries: &mut Vec<(Ticket, Delivery)>, wakers: &mut Vec<Waker>) -> usize {
        let mut state = self.state();
        for (ticket, delivery) in deliveries.drain(..) {
            wakers.extend(state.deliver(ticket, delivery));
        }
        let room = state.kept.room();
        drop(state);
        wakers.drain(..).for_each(Waker::wake);
        room
    }

    /// The connection has ended; everyone who waits is told.
    pub(super) fn end(&self, reason: FrameClientError) {
        let mut state = self.state();
        state.end = Some(End { reason, told: false });
        let State { callers, kept, .. } = &mut *state;
        let waiting = callers.values_mut().filter_map(|caller| match caller {
            Caller::Waits(waker) => Some(waker.clone()),
            Caller::Answered(_) => None,
            Caller::Streams(stream) => stream.take_waker(),
        });
        let mut wakers: Vec<_> = waiting.chain(kept.take_waker()).collect();
        wakers.append(&mut state.looks.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn ask(&mut self, request: Request, waker: &Waker) -> Result<Ticket, NotSent> {
        if let Some(end) = &mut self.end {
            let error = if end.told { FrameClientError::Dead } else { end.tell() };
            return Err(NotSent { payload: request.payload, error });
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let caller =
            if request.streamed { Caller::Streams(Box::default()) } else { Caller::Waits(waker.clone()) };
        self.callers.insert(ticket, caller);
        self.requests.push_back((ticket, request));
        self.kept.begin();
        Ok(ticket)
    }

    /// Gives `ticket` what came for it, if its caller still wants it; returns the waker to call.
    fn deliver(&mut self, ticket: Ticket, delivery: Delivery) -> Option<Waker> {
        match (self.callers.get_mut(&ticket), delivery) {
            (Some(caller @ Caller::Waits(_)), Delivery::Answer(response)) => {
                match std::mem::replace(caller, Caller::Answered(response)) {
                    Caller::Waits(waker) => Some(waker),
                    Caller::Answered(_) | Caller::Streams(_) => None,
                }
            }
            (Some(Caller::Streams(stream)), Delivery::Answer(response)) => stream.answer(response),
            (Some(Caller::Streams(stream)), Delivery::Event(frame)) => self.kept.add_to(stream, frame),
            (None, Delivery::Event(frame)) if ticket == UNSOLICITED => self.kept.add(frame),
            _ => None,
        }
    }

    fn poll_answer(&mut self, ticket: Ticket, waker: &Waker) -> Poll<Answer> {
        let Entry::Occupied(mut caller) = self.callers.entry(ticket) else {
            unreachable!("whoever asks is there until it has its answer")
        };
        if let Caller::Waits(waits) = caller.get_mut()
            && self.end.is_none()
        {
            waits.clone_from(waker);
            return Poll::Pending;
        }
        let caller = caller.remove();
        self.shrink();
        if let Caller::Answered(response) = caller {
            return Poll::Ready(Ok(response));
        }
        let error = self.end.as_mut().map_or(FrameClientError::Dead, End::tell);
        Poll::Ready(match self.take_back(ticket) {
            Some(Request { payload, .. }) => Err(NotSent { payload, error }),
            None => Ok(Err(error)),
        })
    }

    /// Gives back what only a crowd needs, once nobody is left of it.
    fn shrink(&mut self) {
        if self.callers.is_empty() {
            self.callers.shrink_to(KEPT);
            self.requests.shrink_to(KEPT);
        }
    }

    /// The request of `ticket`, if the task has not taken it.
    fn take_back(&mut self, ticket: Ticket) -> Option<Request> {
        let index = self.requests.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        self.requests.remove(index).map(|(_, request)| request)
    }

    /// Nobody waits for the request of `ticket` any more. Whether the task has to know.
    fn give_up(&mut self, ticket: Ticket) -> bool {
        let waited = match self.callers.remove(&ticket) {
            Some(Caller::Waits(_)) => true,
            Some(Caller::Streams(stream)) => !self.kept.forget(&stream),
            Some(Caller::Answered(_)) | None => false,
        };
        let taken = waited && self.take_back(ticket).is_none();
        self.shrink();
        if taken {
            self.given_up.push(ticket);
        }
        taken
    }
}

/// Has the task look at the desk.
fn ring(mut state: MutexGuard<'_, State>) {
    let task = state.task.take();
    drop(state);
    if let Some(task) = task {
        task.wake();
    }
}

/// A caller of [`Desk::ask`].
#[derive(Debug)]
pub(super) struct Asking<'d> {
    desk: &'d Desk,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    New(Request),
    Asked(Ticket),
    Over,
}

impl Future for Asking<'_> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.desk.state();
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::New(request) => match state.ask(request, context.waker()) {
                Ok(ticket) => {
                    self.stage = Stage::Asked(ticket);
                    ring(state);
                    Poll::Pending
                }
                Err(unsent) => Poll::Ready(Err(unsent)),
            },
            Stage::Asked(ticket) => {
                let answer = state.poll_answer(ticket, context.waker());
                if answer.is_pending() {
                    self.stage = Stage::Asked(ticket);
                }
                answer
            }
            Stage::Over => unreachable!("it has given its answer"),
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Stage::Asked(ticket) = self.stage {
            let mut state = self.desk.state();
            if state.give_up(ticket) {
                ring(state);
            }
        }
    }
}
