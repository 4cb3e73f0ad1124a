//! The queue between the callers of a client and its driver: requests in one direction, responses and events in the other.

mod events;
mod link;
mod moving;
mod read_barrier;
mod request;
mod response_future;
mod streams;
mod unwritten;

pub(in super::super) use request::{Outcome, Unsent};
pub(super) use request::{Request, Response};
pub(super) use streams::StreamItem;

use super::sync::{Mutex, MutexGuard};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use crate::broker::backend_sdk::proto::id_map::ById;
use crate::broker::protocol::{EncodingPolicy, FRAME_HEADER_BYTES};
use events::{EventBuffer, StreamState};
use link::Link;
pub(super) use link::LinkName;
use read_barrier::ReadBarriers;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::sync::PoisonError;
use std::task::{Poll, Waker};

/// Capacity for this many requests is kept while there are none, at 160 bytes each.
const RETAINED_REQUESTS: usize = 1024;

/// The most requests or deliveries that pass the queue under one lock.
pub(super) const MAX_BATCH: usize = 64;

/// A frame that the driver delivers to a caller.
#[derive(Debug)]
pub(super) enum Delivery {
    Response(RequestId, Response),
    /// An event of a request.
    Event(RequestId, Reply),
    /// An event of no request, or a request of the daemon's own.
    Unsolicited(Reply),
}

/// The state that callers and the driver share. Its lock is held only to move what is in memory: never while waiting, and never
/// while a waker is called.
#[derive(Debug)]
pub(super) struct RequestQueue(Mutex<State>);

#[derive(Debug)]
struct State {
    next_id: u64,
    /// Requests whose responses the callers have not taken.
    pending: ById<RequestId, Pending>,
    /// Requests that the driver has not taken, in the order of their ids.
    unsent: VecDeque<(RequestId, Request)>,
    /// The connection whose driver takes requests.
    current: Link,
    /// Connections of daemons that were replaced, in order, until each has answered what it took.
    former: Vec<Link>,
    /// The daemon has said that another process serves the endpoint, and the client does not follow by itself.
    moved: bool,
    encodings: EncodingPolicy,
    /// A caller has sent descriptors, or has asked whether the daemon takes some.
    passes_descriptors: bool,
    barriers: ReadBarriers,
    events: EventBuffer,
    /// The last client was dropped.
    closed: bool,
    end: Option<End>,
}

#[derive(Debug)]
enum Pending {
    Waiting(Waker),
    Complete(Response),
    /// The caller takes the events of the request as well.
    Streaming(Box<StreamState>),
}

/// The end of the connection.
#[derive(Debug)]
struct End {
    reason: FrameClientError,
    /// A request has failed with the reason.
    reported: bool,
}

impl End {
    fn report(&mut self) -> FrameClientError {
        self.reported = true;
        self.reason.clone()
    }
}

/// The work that the driver takes from the queue at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) cancelled: Vec<RequestId>,
    pub(super) requests: Vec<(RequestId, Request)>,
    pub(super) encodings: EncodingPolicy,
    /// Events of no request are wanted.
    pub(super) unsolicited: bool,
    /// The queue has more requests.
    pub(super) more: bool,
    /// The number of the newest read barrier, if callers wait for it.
    pub(super) barrier: Option<u64>,
    /// Room for events, in bytes.
    pub(super) event_room: usize,
}

impl Default for RequestQueue {
    fn default() -> Self {
        Self(Mutex::new(State {
            // Zero is the id in the responses of a peer that does not correlate, one that of a driver's question.
            next_id: 2,
            pending: ById::default(),
            unsent: VecDeque::new(),
            current: Link::first(),
            former: Vec::new(),
            moved: false,
            encodings: EncodingPolicy::default(),
            passes_descriptors: false,
            barriers: ReadBarriers::default(),
            events: EventBuffer::default(),
            closed: false,
            end: None,
        }))
    }
}

impl RequestQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock panics halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_encoding_policy(&self, policy: EncodingPolicy) {
        self.state().encodings = policy;
    }

    /// Notes that the daemon has said that another process serves the endpoint.
    pub(super) fn set_moved(&self) {
        self.state().moved = true;
    }

    pub(super) fn has_moved(&self) -> bool {
        self.state().moved
    }

    /// Notes that a caller is about to send descriptors. Returns the name of the connection that takes requests, and the most
    /// descriptors that its daemon takes with one frame, as far as it has said so.
    ///
    /// The driver of each later connection asks its daemon before it takes a request.
    pub(super) fn begin_descriptors(&self) -> (LinkName, u8) {
        let mut state = self.state();
        state.passes_descriptors = true;
        (state.current.name, state.current.daemon_descriptors)
    }

    /// Returns whether the connection `name` does not take requests any more, and another one does.
    pub(super) fn has_left(&self, name: LinkName) -> bool {
        self.state().current.name != name
    }

    /// Notes what the daemon of the driver's connection has said of descriptors.
    pub(super) fn set_daemon_descriptors(&self, former: Option<LinkName>, most: u8) {
        self.state().link(former).daemon_descriptors = most;
    }

    /// Returns whether the connection goes on.
    pub(super) fn is_open(&self) -> bool {
        self.state().end.is_none()
    }

    /// Ends the connection, since the last client was dropped.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        wake_drivers(state);
    }

    /// Fills `batch`: with requests up to `room` bytes, and the one that exceeds them. Wakes `waker` once there is more. Returns
    /// `false` if there is no client any more. The driver of a `former` connection gets no requests.
    pub(super) fn take_batch(
        &self,
        former: Option<LinkName>,
        room: usize,
        waker: &Waker,
        batch: &mut Batch,
    ) -> bool {
        let mut state = self.state();
        batch.encodings = state.encodings;
        batch.unsolicited = state.events.wants_unsolicited();
        batch.event_room = state.events.room();
        let newest = state.barriers.newest();
        let link = state.link(former);
        match &mut link.driver {
            Some(driver) => driver.clone_from(waker),
            None => link.driver = Some(waker.clone()),
        }
        batch.cancelled.append(&mut link.cancelled);
        batch.barrier = (newest != link.passed).then_some(newest);
        if former.is_some() {
            batch.more = false;
            return !state.closed;
        }
        let mut taken = 0;
        while taken < room
            && batch.requests.len() < MAX_BATCH
            && let Some(request) = state.unsent.pop_front()
        {
            taken += FRAME_HEADER_BYTES + request.1.payload.len();
            batch.requests.push(request);
        }
        batch.more = !state.unsent.is_empty();
        !state.closed
    }

    /// Delivers frames to the callers that still want them, and returns the room for events that is left then, in bytes. If that is
    /// none, the driver is woken once there is some. `wakers` is empty memory.
    pub(super) fn deliver(&self, deliveries: &mut Vec<Delivery>, wakers: &mut Vec<Waker>) -> usize {
        let mut state = self.state();
        for delivery in deliveries.drain(..) {
            wakers.extend(state.deliver(delivery));
        }
        let room = state.events.room();
        drop(state);
        wakers.drain(..).for_each(Waker::wake);
        room
    }

    /// Ends the queue with its connection, and wakes all callers. Does nothing if it has ended.
    pub(super) fn end(&self, reason: FrameClientError) {
        let wakers = self.state().end(reason);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until each driver has read all that has arrived by now, or its connection has ended.
    pub(super) fn read_barrier(&self) -> impl Future<Output = ()> {
        let mut number = None;
        poll_fn(move |context| {
            let mut state = self.state();
            let is_new = number.is_none();
            let number = *number.get_or_insert_with(|| state.barriers.add());
            if state.has_passed(number) {
                return Poll::Ready(());
            }
            state.barriers.register(context.waker());
            if is_new {
                wake_drivers(state);
            }
            Poll::Pending
        })
    }

    /// Notes that a driver has passed the barriers up to `number`: it has read what had arrived. Lets the callers go on that waited
    /// for it alone.
    pub(super) fn pass_barrier(&self, former: Option<LinkName>, number: u64) {
        let mut state = self.state();
        state.link(former).passed = number;
        let wakers = state.barriers.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns the requests that the driver has taken and whose callers wait for the response.
    #[cfg(all(test, shuttle))]
    pub(super) fn in_flight(&self) -> Vec<RequestId> {
        let state = self.state();
        let waits = |id: &RequestId| matches!(state.pending[id], Pending::Waiting(_));
        let sent = |id: &RequestId| state.unsent.iter().all(|(unsent, _)| unsent != id);
        state.pending.keys().copied().filter(|id| waits(id) && sent(id)).collect()
    }
}

impl State {
    /// Queues `request`. `waker` is woken once it has its response, if its caller does not take events.
    fn push(&mut self, request: Request, waker: &Waker) -> Result<RequestId, Unsent> {
        if let Some(end) = &mut self.end {
            let error = if end.reported { FrameClientError::Dead } else { end.report() };
            return Err(Unsent { payload: request.payload, error });
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let pending =
            if request.events { Pending::Streaming(Box::default()) } else { Pending::Waiting(waker.clone()) };
        self.pending.insert(id, pending);
        self.unsent.push_back((id, request));
        self.events.request_begins();
        Ok(id)
    }

    /// Ends the queue, unless it has ended. Returns the wakers to call.
    fn end(&mut self, reason: FrameClientError) -> Vec<Waker> {
        if self.end.is_some() {
            return Vec::new();
        }
        self.end = Some(End { reason, reported: false });
        let waiting = self.pending.values_mut().filter_map(|pending| match pending {
            Pending::Waiting(waker) => Some(waker.clone()),
            Pending::Complete(_) => None,
            Pending::Streaming(stream) => stream.take_waker(),
        });
        let mut wakers: Vec<_> = waiting.chain(self.events.take_waker()).collect();
        wakers.append(&mut self.barriers.take_wakers());
        wakers
    }

    /// Delivers a frame, if its caller still wants it. Returns the waker to call.
    fn deliver(&mut self, delivery: Delivery) -> Option<Waker> {
        let (id, frame) = match delivery {
            Delivery::Response(id, response) => {
                return match self.pending.get_mut(&id)? {
                    Pending::Streaming(stream) => stream.complete(response),
                    waiting => match std::mem::replace(waiting, Pending::Complete(response)) {
                        Pending::Waiting(waker) => Some(waker),
                        Pending::Complete(_) | Pending::Streaming(_) => None,
                    },
                };
            }
            Delivery::Event(id, frame) => (id, frame),
            Delivery::Unsolicited(frame) => return self.events.add(frame),
        };
        match self.pending.get_mut(&id)? {
            Pending::Streaming(stream) => self.events.add_to(stream, frame),
            Pending::Waiting(_) | Pending::Complete(_) => None,
        }
    }

    fn poll_response(&mut self, id: RequestId, waker: &Waker) -> Poll<Outcome> {
        let Entry::Occupied(mut pending) = self.pending.entry(id) else {
            unreachable!("a request is pending until its caller has the response")
        };
        if let Pending::Waiting(waiting) = pending.get_mut()
            && (self.end.is_none() || link::is_former(&self.former, &self.current, id))
        {
            waiting.clone_from(waker);
            return Poll::Pending;
        }
        let pending = pending.remove();
        self.shrink();
        if let Pending::Complete(response) = pending {
            return Poll::Ready(Ok(response));
        }
        let error = self.end.as_mut().map_or(FrameClientError::Dead, End::report);
        Poll::Ready(match self.withdraw(id) {
            Some(Request { payload, .. }) => Err(Unsent { payload, error }),
            None => Ok(Err(error)),
        })
    }

    /// Frees the memory that many requests needed, once none is left.
    fn shrink(&mut self) {
        if self.pending.is_empty() {
            self.pending.shrink_to(RETAINED_REQUESTS);
            self.unsent.shrink_to(RETAINED_REQUESTS);
        }
    }

    /// Takes a request back that the driver has not taken.
    fn withdraw(&mut self, id: RequestId) -> Option<Request> {
        let index = self.unsent.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.unsent.remove(index).map(|(_, request)| request)
    }

    /// Gives a request up. Returns whether the driver has to cancel it.
    fn cancel(&mut self, id: RequestId) -> bool {
        let waited = match self.pending.remove(&id) {
            Some(Pending::Waiting(_)) => true,
            Some(Pending::Streaming(stream)) => !self.events.forget(&stream),
            Some(Pending::Complete(_)) | None => false,
        };
        let sent = waited && self.withdraw(id).is_none();
        self.shrink();
        if sent {
            self.link_of(id).cancelled.push(id);
        }
        sent
    }
}

/// Wakes the driver, which takes another batch.
fn wake_driver(mut state: MutexGuard<'_, State>) {
    let driver = state.current.driver.take();
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
}

/// Wakes the drivers of all connections.
fn wake_drivers(mut state: MutexGuard<'_, State>) {
    let former: Vec<_> = state.former.iter_mut().filter_map(|former| former.driver.take()).collect();
    wake_driver(state);
    former.into_iter().for_each(Waker::wake);
}
