//! The future of one request.

use super::request::{Outcome, Request};
use super::{RequestQueue, wake_driver, wake_drivers};
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The outcome of a request that is queued when this is first polled. Dropped before that has come, it gives the request up.
#[derive(Debug)]
pub(in super::super) struct ResponseFuture<'q> {
    queue: &'q RequestQueue,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Unqueued(Request),
    Pending(RequestId),
    Done,
}

impl RequestQueue {
    /// Returns the outcome of `request`, which is queued when the future is first polled and given up when it is dropped.
    pub(in super::super) fn submit(&self, request: Request) -> ResponseFuture<'_> {
        ResponseFuture { queue: self, stage: Stage::Unqueued(request) }
    }
}

impl Future for ResponseFuture<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.queue.state();
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Unqueued(request) => match state.push(request, context.waker()) {
                Ok(id) => {
                    self.stage = Stage::Pending(id);
                    wake_driver(state);
                    Poll::Pending
                }
                Err(unsent) => Poll::Ready(Err(unsent)),
            },
            Stage::Pending(id) => {
                let outcome = state.poll_response(id, context.waker());
                if outcome.is_pending() {
                    self.stage = Stage::Pending(id);
                }
                outcome
            }
            Stage::Done => unreachable!("the future has given its output"),
        }
    }
}

impl Drop for ResponseFuture<'_> {
    fn drop(&mut self) {
        if let Stage::Pending(id) = self.stage {
            let mut state = self.queue.state();
            if state.cancel(id) {
                wake_drivers(state);
            }
        }
    }
}
