//! Events that wait for their callers, within one bound for a connection.

use super::{Pending, Request, RequestQueue, Response, State, Unsent, wake_driver};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::limits::{MAX_WAITING_EVENT_BYTES, frame_memory};
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use crate::broker::protocol::Frame;
use std::collections::VecDeque;
use std::task::{Poll, Waker};

/// The events of one connection that wait, and the bound on them.
#[derive(Debug, Default)]
pub(super) struct EventBuffer {
    /// The memory of all events that wait, those of streams included.
    bytes: usize,
    subscription: Subscription,
    /// The events of no request.
    unsolicited: VecDeque<Frame>,
    waker: Option<Waker>,
}

/// The caller's interest in the events of no request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Subscription {
    /// Events are kept until the first request, because the caller had no time to ask for them.
    #[default]
    Undecided,
    Active,
    Off,
}

/// The events of one request that wait, and its response.
#[derive(Debug, Default)]
pub(super) struct StreamState {
    events: VecDeque<Frame>,
    response: Option<Response>,
    waker: Option<Waker>,
}

/// The next item of a request whose events are taken.
pub(in super::super) enum StreamItem {
    Event(Frame),
    /// The last item.
    Response(Response),
}

impl EventBuffer {
    pub(super) fn wants_unsolicited(&self) -> bool {
        self.subscription != Subscription::Off
    }

    /// Returns the number of bytes of events for which there is room.
    pub(super) fn room(&self) -> usize {
        MAX_WAITING_EVENT_BYTES.saturating_sub(self.bytes)
    }

    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    /// Keeps an event of no request, if it is wanted. Returns the waker to call.
    pub(super) fn add(&mut self, frame: Frame) -> Option<Waker> {
        if !self.wants_unsolicited() {
            return None;
        }
        self.bytes += frame_memory(&frame);
        self.unsolicited.push_back(frame);
        self.waker.take()
    }

    /// Keeps an event of a request. Returns the waker to call.
    pub(super) fn add_to(&mut self, stream: &mut StreamState, frame: Frame) -> Option<Waker> {
        self.bytes += frame_memory(&frame);
        stream.events.push_back(frame);
        stream.waker.take()
    }

    /// Drops the events of `stream`. Returns whether its response had come.
    pub(super) fn forget(&mut self, stream: &StreamState) -> bool {
        self.bytes -= stream.events.iter().map(frame_memory).sum::<usize>();
        stream.response.is_some()
    }

    fn set(&mut self, subscription: Subscription) {
        self.subscription = subscription;
        if subscription == Subscription::Off {
            self.bytes -= self.unsolicited.drain(..).map(|frame| frame_memory(&frame)).sum::<usize>();
            self.unsolicited = VecDeque::new();
        }
    }

    /// Ends the time in which events are kept for a caller that has not asked for them.
    pub(super) fn request_begins(&mut self) {
        if self.subscription == Subscription::Undecided {
            self.set(Subscription::Off);
        }
    }
}

impl StreamState {
    pub(super) fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    pub(super) fn complete(&mut self, response: Response) -> Option<Waker> {
        self.response = Some(response);
        self.waker.take()
    }
}

impl RequestQueue {
    /// Queues a request whose events its caller takes.
    pub(in super::super) fn begin_stream(&self, request: Request) -> Result<RequestId, Unsent> {
        let mut state = self.state();
        let id = state.push(request, Waker::noop())?;
        wake_driver(state);
        Ok(id)
    }

    /// Polls for the next item of the request `id`.
    pub(in super::super) fn poll_stream(
        &self,
        id: RequestId,
        waker: &Waker,
    ) -> Poll<Result<StreamItem, FrameClientError>> {
        self.make_room(|state| {
            let State { pending, events, end, .. } = &mut *state;
            let Some(Pending::Streaming(stream)) = pending.get_mut(&id) else {
                return Poll::Ready(Err(FrameClientError::NotInFlight));
            };
            if let Some(event) = stream.events.pop_front() {
                events.bytes -= frame_memory(&event);
                return Poll::Ready(Ok(StreamItem::Event(event)));
            }
            let item = match (stream.response.take(), end) {
                (Some(response), _) => Ok(StreamItem::Response(response)),
                (None, Some(end)) => Err(end.report()),
                (None, None) => {
                    stream.waker = Some(waker.clone());
                    return Poll::Pending;
                }
            };
            pending.remove(&id);
            state.withdraw(id);
            state.shrink();
            Poll::Ready(item)
        })
    }

    /// Ends the stream of the request `id`, and gives the request up if it has no response.
    pub(in super::super) fn end_stream(&self, id: RequestId) {
        if self.make_room(|state| state.cancel(id)) {
            wake_driver(self.state());
        }
    }

    /// Claims the events of no request for the caller. Returns `false` if another caller has them.
    pub(in super::super) fn subscribe(&self) -> bool {
        let mut state = self.state();
        let is_free = state.events.subscription != Subscription::Active;
        state.events.set(Subscription::Active);
        is_free
    }

    /// Drops the events of no request, and keeps no further ones.
    pub(in super::super) fn unsubscribe(&self) {
        self.make_room(|state| state.events.set(Subscription::Off));
    }

    /// Polls for the next event of no request. The error is the reason why the connection has ended.
    pub(in super::super) fn poll_event(&self, waker: &Waker) -> Poll<Result<Frame, FrameClientError>> {
        self.make_room(|State { events, end, .. }| {
            if let Some(event) = events.unsolicited.pop_front() {
                events.bytes -= frame_memory(&event);
                return Poll::Ready(Ok(event));
            }
            if let Some(end) = end {
                return Poll::Ready(Err(end.reason.clone()));
            }
            events.waker = Some(waker.clone());
            Poll::Pending
        })
    }

    /// Changes the state by `take`. Wakes the driver if there is room for events then and was none before.
    fn make_room<T>(&self, take: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let was_full = state.events.room() == 0;
        let taken = take(&mut state);
        if was_full && state.events.room() > 0 {
            wake_driver(state);
        }
        taken
    }
}
