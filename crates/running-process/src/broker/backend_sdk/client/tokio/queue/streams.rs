//! Callers that take events.

use super::link::is_former;
use super::request::{Request, Response, Unsent};
use super::{Pending, RequestQueue, State, wake_driver, wake_drivers};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use std::task::{Poll, Waker};

/// The next item of a request whose events are taken.
pub(in super::super) enum StreamItem {
    Event(Reply),
    /// The last item.
    Response(Response),
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
            let State { pending, events, end, former, current, .. } = &mut *state;
            let Some(Pending::Streaming(stream)) = pending.get_mut(&id) else {
                return Poll::Ready(Err(FrameClientError::NotInFlight));
            };
            if let Some(event) = events.take_from(stream) {
                return Poll::Ready(Ok(StreamItem::Event(event)));
            }
            let item = match (stream.take_response(), end) {
                (Some(response), _) => Ok(StreamItem::Response(response)),
                (None, Some(end)) if !is_former(former, current, id) => Err(end.report()),
                (None, _) => {
                    stream.register(waker);
                    return Poll::Pending;
                }
            };
            pending.remove(&id);
            let is_unsent = state.withdraw(id).is_some();
            state.shrink();
            Poll::Ready(if is_unsent { item.map_err(FrameClientError::of_unsent) } else { item })
        })
    }

    /// Ends the stream of the request `id`, and gives the request up if it has no response.
    pub(in super::super) fn end_stream(&self, id: RequestId) {
        if self.make_room(|state| state.cancel(id)) {
            wake_drivers(self.state());
        }
    }

    /// Claims the events of no request for the caller. Returns `false` if another caller has them.
    pub(in super::super) fn subscribe(&self) -> bool {
        self.state().events.subscribe()
    }

    /// Drops the events of no request, and keeps no further ones.
    pub(in super::super) fn unsubscribe(&self) {
        self.make_room(|state| state.events.unsubscribe());
    }

    /// Polls for the next event of no request. The error is the reason why the connection has ended.
    pub(in super::super) fn poll_event(&self, waker: &Waker) -> Poll<Result<Reply, FrameClientError>> {
        self.make_room(|State { events, end, .. }| {
            if let Some(event) = events.take() {
                return Poll::Ready(Ok(event));
            }
            if let Some(end) = end {
                return Poll::Ready(Err(end.reason.clone()));
            }
            events.register(waker);
            Poll::Pending
        })
    }

    /// Changes the state by `take`. Wakes the driver if there is room for events then and was none before.
    fn make_room<T>(&self, take: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let was_full = state.events.room() == 0;
        let taken = take(&mut state);
        if was_full && state.events.room() > 0 {
            wake_drivers(state);
        }
        taken
    }
}
