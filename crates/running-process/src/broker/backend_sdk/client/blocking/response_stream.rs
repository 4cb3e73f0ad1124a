//! The events of one request, and then its response.

use super::FrameClient;
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::proto::client_connection::RequestId;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::Frame;
use std::time::Instant;

impl FrameClient {
    /// Sends a request whose events are wanted. The stream returns them one by one, and then the response.
    ///
    /// ```no_run
    /// # use running_process::broker::backend_sdk::{FrameClient, FrameClientError};
    /// # const BUILD: u32 = 0xF00D;
    /// # fn build(client: &mut FrameClient) -> Result<Vec<u8>, FrameClientError> {
    /// let mut stream = client.request_streaming(BUILD, b"library")?;
    /// while let Some(event) = stream.next_event()? {
    ///     println!("{}", event.payload.escape_ascii());
    /// }
    /// Ok(stream.response()?.payload)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn request_streaming(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
    ) -> Result<ResponseStream<'_>, FrameClientError> {
        self.request_streaming_with(payload_protocol, payload, &RequestOptions::default())
    }

    /// Sends a request as [`request_streaming`](Self::request_streaming) does, with a deadline for all of it, or trace context.
    /// The [timeout](Self::set_timeout) is for each call of the stream alone, and the daemon is not told it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). If the deadline has passed already, nothing is sent.
    pub fn request_streaming_with(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<ResponseStream<'_>, FrameClientError> {
        if let Some(forgotten) = self.streaming {
            self.end_streaming(forgotten);
        }
        let deadline = CallDeadline::new(options.deadline, Instant::now);
        let request = self.enqueue(payload_protocol, payload.into(), options, deadline, true)?;
        self.streaming = Some(request);
        match self.flush_until(self.call_deadline(options.deadline)) {
            Ok(()) => Ok(ResponseStream::new(self, request, options.deadline)),
            Err(error) => {
                self.streaming = None;
                self.inbox.streamed.clear();
                Err(self.give_up(request, error))
            }
        }
    }
}

/// A request whose events are read one by one, ahead of its response; made by [`FrameClient::request_streaming`].
///
/// If it is dropped before the response was read, the request is cancelled.
///
/// ```
/// # #[cfg(unix)] {
/// use running_process::{Endpoint, FrameClient, HandlerError, Server};
///
/// # let directory = tempfile::tempdir()?;
/// # let socket = directory.path().join("socket").into_os_string().into_string().unwrap();
/// # let endpoint = Endpoint::unix_socket("count", socket)?;
/// let count = Server::bind(endpoint.clone())?.serve(0xF00D, |mut request| {
///     for number in 1..=3 {
///         request.send_event(number.to_string())?;
///     }
///     Ok::<_, HandlerError>("done")
/// });
/// let _running = count.start()?;
///
/// let mut client = FrameClient::connect(&endpoint)?;
/// let mut stream = client.request_streaming(0xF00D, "")?;
/// let mut numbers = Vec::new();
/// while let Some(event) = stream.next_event()? {
///     numbers.push(event.payload);
/// }
/// assert_eq!(numbers, [b"1", b"2", b"3"]);
/// assert_eq!(stream.response()?.payload, b"done");
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
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

    /// Returns the client, to send other requests in the meantime or to take the events of no request. To stream another
    /// request cancels this one.
    pub fn client(&mut self) -> &mut FrameClient {
        self.client
    }

    /// Waits for the next event of the request; `None` once its response has come, which [`response`](Self::response) returns.
    ///
    /// # Errors
    ///
    /// As [`FrameClient::wait`]. A refusal is a response, not an error of this method.
    pub fn next_event(&mut self) -> Result<Option<Frame>, FrameClientError> {
        Ok(self.next_event_reply()?.map(Reply::into_frame))
    }

    /// Waits as [`next_event`](Self::next_event) does, and returns the event with its descriptors. The request was sent with
    /// [`RequestOptions::max_descriptors`].
    ///
    /// # Errors
    ///
    /// As [`next_event`](Self::next_event).
    pub fn next_event_reply(&mut self) -> Result<Option<Reply>, FrameClientError> {
        let Self { client, request, deadline } = self;
        let deadline = client.call_deadline(*deadline);
        loop {
            if client.streaming != Some(*request) {
                return Err(FrameClientError::NotInFlight);
            }
            if let Some(event) = client.inbox.streamed.take() {
                return Ok(Some(event));
            }
            if client.inbox.has_response(*request) {
                return Ok(None);
            }
            let read = client.advance(*request, deadline).and_then(|()| client.dispatch());
            // Frames that came before the error come first.
            if !client.has_come(*request) {
                read?;
            }
        }
    }

    /// Waits for the response, and drops the events that were not read.
    ///
    /// # Errors
    ///
    /// As [`FrameClient::wait`], but every error cancels the request.
    pub fn response(self) -> Result<Frame, FrameClientError> {
        self.response_reply().map(Reply::into_frame)
    }

    /// Waits as [`response`](Self::response) does, and returns the response with its descriptors. The request was sent with
    /// [`RequestOptions::max_descriptors`].
    ///
    /// # Errors
    ///
    /// As [`response`](Self::response).
    pub fn response_reply(self) -> Result<Reply, FrameClientError> {
        let request = self.request;
        let client = &mut *self.client;
        let deadline = client.call_deadline(self.deadline);
        if client.streaming != Some(request) {
            return Err(FrameClientError::NotInFlight);
        }
        client.connection.drop_events(request);
        client.inbox.streamed.clear();
        client.wait_until(request, deadline)
    }
}

impl Drop for ResponseStream<'_> {
    fn drop(&mut self) {
        self.client.end_streaming(self.request);
    }
}
