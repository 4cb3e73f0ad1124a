//! The frames of no request.

use super::queue::RequestQueue;
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::protocol::Frame;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The receiver of events and requests that the daemon sends under no request; made by
/// [`AsyncFrameClient::events`](super::client::AsyncFrameClient::events).
///
/// It does not keep the connection: that ends with the last client. [`poll_next`](Self::poll_next) is what a
/// `futures::Stream` needs.
#[derive(Debug)]
pub struct FrameEvents {
    queue: Arc<RequestQueue>,
    /// The reason of the end was returned.
    ended: bool,
}

impl FrameEvents {
    pub(super) fn new(queue: Arc<RequestQueue>) -> Self {
        Self { queue, ended: false }
    }

    /// Returns the next frame; `None` once the connection has ended. This is cancel safe: no frame is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// The reason why the connection ended, once, after the last frame. There is none if the clients were dropped.
    pub async fn next(&mut self) -> Option<Result<Frame, FrameClientError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Polls for the [next](Self::next) frame.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame, FrameClientError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.queue.poll_event(context.waker()).map(|event| {
            self.ended = event.is_err();
            match event {
                Err(FrameClientError::Dead) => None,
                event => Some(event.map(Reply::into_frame)),
            }
        })
    }
}

impl Drop for FrameEvents {
    fn drop(&mut self) {
        self.queue.unsubscribe();
    }
}
