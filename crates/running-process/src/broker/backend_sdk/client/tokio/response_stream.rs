//! The events of one request, and then its answer.

use super::client::AsyncFrameClient;
use super::limit::Limit;
use super::queue::{Response, Streamed, Ticket};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::protocol::Frame;
use std::future::poll_fn;

/// A request whose events are read one by one, ahead of its answer; made by
/// [`AsyncFrameClient::request_streaming`].
///
/// Dropped before its answer was read, it gives the request up and tells the daemon so. The connection lasts as long as the
/// stream does.
#[derive(Debug)]
pub struct AsyncResponseStream {
    client: AsyncFrameClient,
    ticket: Ticket,
    limit: Limit,
    /// It has come, and no event is before it.
    answer: Option<Response>,
}

impl AsyncResponseStream {
    pub(super) fn new(client: AsyncFrameClient, ticket: Ticket, limit: Limit) -> Self {
        Self { client, ticket, limit, answer: None }
    }

    /// Waits for the next event of the request; `None` once its answer has come, which [`response`](Self::response) gives.
    /// Nothing is lost if this future is dropped.
    ///
    /// # Errors
    ///
    /// [`FrameClientError::TimedOut`] at the deadline of the request, which gives it up, and what ended the connection. A refusal is
    /// an answer, and so none of them.
    pub async fn next_event(&mut self) -> Result<Option<Frame>, FrameClientError> {
        if self.answer.is_some() {
            return Ok(None);
        }
        let Self { client, ticket, limit, .. } = self;
        let desk = &client.0.desk;
        let streamed =
            limit.wait(desk, poll_fn(|context| desk.poll_streamed(*ticket, context.waker()))).await;
        match streamed.inspect_err(|_| desk.end_stream(*ticket))?? {
            Streamed::Event(frame) => Ok(Some(frame)),
            Streamed::Answer(response) => {
                self.answer = Some(response);
                Ok(None)
            }
        }
    }

    /// Waits for the answer. Events that were not taken are dropped.
    ///
    /// # Errors
    ///
    /// As [`AsyncFrameClient::request`], and [`FrameClientError::TimedOut`] at the deadline.
    pub async fn response(mut self) -> Result<Frame, FrameClientError> {
        while self.next_event().await?.is_some() {}
        let answer = self.answer.take().unwrap_or(Err(FrameClientError::NotInFlight));
        self.limit.judge(answer)
    }
}

impl Drop for AsyncResponseStream {
    fn drop(&mut self) {
        self.client.0.desk.end_stream(self.ticket);
    }
}
