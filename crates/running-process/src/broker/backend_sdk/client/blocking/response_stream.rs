//! The events of one request, and then its answer.

use super::FrameClient;
use super::limit::Limit;
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use crate::broker::protocol::Frame;
use std::time::Instant;

/// A request whose events are read one by one, ahead of its answer; made by
/// [`FrameClient::request_streaming`].
///
/// Dropped before its answer was read, it gives the request up and tells the daemon so.
#[derive(Debug)]
pub struct ResponseStream<'c> {
    client: &'c mut FrameClient,
    request: RequestId,
    deadline: Option<Instant>,
}

impl<'c> ResponseStream<'c> {
    pub(super) fn new(client: &'c mut FrameClient, request: RequestId, deadline: Option<Instant>) -> Self {
        Self { client, request, deadline }
    }

    /// Returns the id of the request.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.request
    }

    /// Returns the client, to send other requests while this one is at work, or to take the events of no request. Streaming
    /// another request gives this one up.
    pub fn client(&mut self) -> &mut FrameClient {
        self.client
    }

    /// Waits for the next event of the request; `None` once its answer has come, which [`response`](Self::response) gives.
    ///
    /// # Errors
    ///
    /// As [`FrameClient::wait`]. A refusal is an answer, and so none of them.
    pub fn next_event(&mut self) -> Result<Option<Frame>, FrameClientError> {
        let Self { client, request, deadline } = self;
        let limit = client.limit(*deadline);
        loop {
            if client.streaming != Some(*request) {
                return Err(FrameClientError::NotInFlight);
            }
            if let Some(event) = client.waiting.streamed.take() {
                return Ok(Some(event));
            }
            if client.waiting.has_answer(*request) {
                return Ok(None);
            }
            client.advance(*request, limit)?;
        }
    }

    /// Waits for the answer. Events that were not taken are dropped.
    ///
    /// # Errors
    ///
    /// As [`FrameClient::wait`], but every error gives the request up.
    pub fn response(self) -> Result<Frame, FrameClientError> {
        let Self { ref client, request, deadline } = self;
        let limit = client.limit(deadline);
        self.response_until(request, limit)
    }

    fn response_until(self, request: RequestId, limit: Limit) -> Result<Frame, FrameClientError> {
        if self.client.streaming != Some(request) {
            return Err(FrameClientError::NotInFlight);
        }
        self.client.connection.drop_events(request);
        self.client.waiting.streamed.clear();
        self.client.answer(request, limit)
    }
}

impl Drop for ResponseStream<'_> {
    fn drop(&mut self) {
        self.client.end_streaming(self.request);
    }
}
