//! The events of one request, and then its response.

use super::client::AsyncFrameClient;
use super::queue::{Request, Response, StreamItem, Unsent};
use super::timeout::within;
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::Frame;
use crate::broker::runtime_clock::now;
use std::future::poll_fn;

impl AsyncFrameClient {
    /// Sends a request whose events are wanted. The stream returns them one by one, and then the response. Any number of
    /// requests may be streamed at once; each stream gets the events of its own.
    ///
    /// ```no_run
    /// # use running_process::broker::backend_sdk::{AsyncFrameClient, FrameClientError};
    /// # const BUILD: u32 = 0xF00D;
    /// # async fn build(client: AsyncFrameClient) -> Result<Vec<u8>, FrameClientError> {
    /// let mut stream = client.request_streaming(BUILD, b"library").await?;
    /// while let Some(event) = stream.next_event().await? {
    ///     println!("{}", event.payload.escape_ascii());
    /// }
    /// Ok(stream.response().await?.payload)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The connection has ended. The stream returns the error of a request that is too large.
    pub async fn request_streaming(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
    ) -> Result<AsyncResponseStream, FrameClientError> {
        self.request_streaming_with(payload_protocol, payload, &RequestOptions::default()).await
    }

    /// Sends a request as [`request_streaming`](Self::request_streaming) does, with a deadline for all of it, or trace context.
    ///
    /// # Errors
    ///
    /// As [`request_streaming`](Self::request_streaming). If the deadline has passed already, the error is
    /// [`FrameClientError::TimedOut`], and nothing is sent.
    pub async fn request_streaming_with(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<AsyncResponseStream, FrameClientError> {
        let deadline = CallDeadline::new(options.deadline, now);
        deadline.check()?;
        self.begin_streaming(payload_protocol, payload.into(), options, deadline)
            .await
            .unwrap_or_else(|unsent| Err(unsent.into_error()))
    }

    pub(in super::super) async fn begin_streaming(
        &self,
        payload_protocol: u32,
        mut payload: Payload,
        options: &RequestOptions,
        deadline: CallDeadline,
    ) -> Result<Result<AsyncResponseStream, FrameClientError>, Unsent> {
        if payload.descriptor_count() > 0 {
            payload = match Box::pin(self.with_descriptors(payload, deadline)).await? {
                Ok(payload) => payload,
                Err(error) => return Ok(Err(error)),
            };
        }
        let request = Request::new(payload_protocol, payload, deadline, Some(options), true);
        let id = self.queue().begin_stream(request)?;
        Ok(Ok(AsyncResponseStream::new(self.clone(), id, deadline)))
    }
}

/// A request whose events are read one by one, ahead of its response; made by
/// [`AsyncFrameClient::request_streaming`].
///
/// If it is dropped before the response was read, the request is cancelled. The connection lasts at least as long as the
/// stream.
///
/// ```no_run
/// # use running_process::broker::backend_sdk::{AsyncFrameClient, FrameClientError};
/// # async fn example(client: AsyncFrameClient) -> Result<(), FrameClientError> {
/// let mut stream = client.request_streaming(0xF00D, "").await?;
/// while let Some(event) = stream.next_event().await? {
///     println!("{}", event.payload.escape_ascii());
/// }
/// println!("{}", stream.response().await?.payload.escape_ascii());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct AsyncResponseStream {
    client: AsyncFrameClient,
    id: RequestId,
    deadline: CallDeadline,
    /// The response, once it has come and no event is before it.
    response: Option<Response>,
}

impl AsyncResponseStream {
    pub(super) fn new(client: AsyncFrameClient, id: RequestId, deadline: CallDeadline) -> Self {
        Self { client, id, deadline, response: None }
    }

    /// Waits for the next event of the request; `None` once its response has come, which [`response`](Self::response) returns.
    /// This is cancel safe: no event is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// [`FrameClientError::TimedOut`] at the deadline of the request, which cancels it, and the reason why the connection ended.
    /// A refusal is a response, not an error of this method.
    pub async fn next_event(&mut self) -> Result<Option<Frame>, FrameClientError> {
        Ok(self.next_event_reply().await?.map(Reply::into_frame))
    }

    /// Waits as [`next_event`](Self::next_event) does, and returns the event with its descriptors. The request was sent with
    /// [`RequestOptions::max_descriptors`]. This is cancel safe.
    ///
    /// # Errors
    ///
    /// As [`next_event`](Self::next_event).
    pub async fn next_event_reply(&mut self) -> Result<Option<Reply>, FrameClientError> {
        if self.response.is_some() {
            return Ok(None);
        }
        let (queue, id) = (self.client.queue(), self.id);
        let item = within(self.deadline, queue, poll_fn(|context| queue.poll_stream(id, context.waker())));
        match item.await.inspect_err(|_| queue.end_stream(id))?? {
            StreamItem::Event(frame) => Ok(Some(frame)),
            StreamItem::Response(response) => {
                self.response = Some(response);
                Ok(None)
            }
        }
    }

    /// Waits for the response, and drops the events that were not read.
    ///
    /// # Errors
    ///
    /// As [`AsyncFrameClient::request`], and [`FrameClientError::TimedOut`] at the deadline.
    pub async fn response(self) -> Result<Frame, FrameClientError> {
        self.response_reply().await.map(Reply::into_frame)
    }

    /// Waits as [`response`](Self::response) does, and returns the response with its descriptors. The request was sent with
    /// [`RequestOptions::max_descriptors`].
    ///
    /// # Errors
    ///
    /// As [`response`](Self::response).
    pub async fn response_reply(mut self) -> Result<Reply, FrameClientError> {
        while self.next_event_reply().await?.is_some() {}
        let response = self.response.take().unwrap_or(Err(FrameClientError::NotInFlight));
        response.map_err(|error| self.deadline.timed_out_if_refused(error, now))
    }
}

impl Drop for AsyncResponseStream {
    fn drop(&mut self) {
        self.client.queue().end_stream(self.id);
    }
}
