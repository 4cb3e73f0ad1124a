//! The asynchronous client, on tokio.

use super::driver::{Driver, OnMove};
use super::frame_events::FrameEvents;
use super::queue::{Outcome, Request, RequestQueue};
use super::sync::{AsyncStream, connect_async, into_async};
use super::timeout::within;
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::reply::Reply;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::{EncodingPolicy, Endpoint, Frame};
use crate::broker::runtime_clock::now;
use crate::transport::LocalStream;
use std::sync::Arc;
use std::time::Instant;

/// A client of a daemon's framed lane, on tokio. Clones share one connection, which ends with the last of them.
///
/// Any number of requests may be in flight, from any number of tasks, and responses come in any order. A request whose future
/// is dropped is cancelled. [`request_streaming`](Self::request_streaming) returns the events of its request first;
/// [`events`](Self::events) receives those of no request. All other events are dropped.
///
/// One task owns the socket and never blocks. It takes requests only as fast as the daemon reads them, so a caller waits for
/// its turn. While [`MAX_WAITING_EVENT_BYTES`](crate::broker::backend_sdk::MAX_WAITING_EVENT_BYTES) of events wait, of all
/// streams together, the task reads nothing more, and every request waits. Take the events, or drop the stream.
///
/// After [`FrameClientError::Refused`], [`FrameClientError::TimedOut`] and [`FrameClientError::Request`] the connection
/// goes on. Every other error of the connection ends it. The callers that wait then get the reason; if none waits, the next
/// request gets it. Each further call returns [`FrameClientError::Dead`].
///
/// ```no_run
/// use running_process::{AsyncFrameClient, Endpoint};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = AsyncFrameClient::connect(&Endpoint::unix_socket("build", "/run/user/1000/build/socket")?).await?;
/// let other = client.clone(); // the same connection
/// let library = tokio::spawn(async move { other.request(0xF0BD, b"library".to_vec()).await });
/// let tool = client.request(0xF0BD, b"tool".to_vec()).await?;
/// let library = library.await??;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct AsyncFrameClient(Arc<ClientInner>);

/// The state of all clones of a client.
#[derive(Debug)]
struct ClientInner {
    queue: Arc<RequestQueue>,
}

impl Drop for ClientInner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl AsyncFrameClient {
    /// Connects to `endpoint`, without a proof of its daemon. For a daemon that was verified, give
    /// [`from_stream`](Self::from_stream) the connection of a
    /// [`BackendHandle`](crate::broker::backend_handle::BackendHandle).
    ///
    /// When the daemon says that another process serves the endpoint by now, the client connects there at once, without a proof
    /// either. Requests that the former connection has not taken, and all later ones, go to that process; the others are
    /// answered by the former one. No request is sent twice.
    ///
    /// # Errors
    ///
    /// There is no connection, or the environment asks for the legacy path. A daemon that does not accept is an error at
    /// once, as for the blocking client.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that drives I/O.
    #[allow(
        clippy::unused_async,
        reason = "it runs inside the runtime, and its callers await it like everything else"
    )]
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, FrameClientError> {
        if is_disabled() {
            return Err(FrameClientError::Disabled);
        }
        let stream = connect_async(&endpoint.path)?;
        Ok(Self::spawn(stream, OnMove::Connect(endpoint.path.as_str().into())))
    }

    /// Returns a client on a connection that speaks frames, or has not spoken yet.
    ///
    /// # Errors
    ///
    /// [`FrameClientError::Stream`]: the system does not hand the connection to the runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that drives I/O.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows no clone of the connection may be in another runtime.
    pub fn from_stream(stream: impl Into<LocalStream>) -> Result<Self, FrameClientError> {
        Self::from_stream_with(stream.into(), OnMove::Stay)
    }

    /// Returns a client as [`from_stream`](Self::from_stream) does, whose connection ends by itself once its daemon
    /// [has moved](Self::has_moved) and no request is in flight.
    pub(in super::super) fn from_stream_until_moved(stream: LocalStream) -> Result<Self, FrameClientError> {
        Self::from_stream_with(stream, OnMove::End)
    }

    fn from_stream_with(stream: LocalStream, on_move: OnMove) -> Result<Self, FrameClientError> {
        match into_async(stream) {
            Ok(stream) => Ok(Self::spawn(stream, on_move)),
            Err(error) => Err(FrameClientError::Stream(Arc::new(error))),
        }
    }

    fn spawn(stream: AsyncStream, on_move: OnMove) -> Self {
        let (client, driver) = Self::with_driver(stream, on_move);
        tokio::spawn(driver.run());
        client
    }

    /// Returns a client, and the driver that has to run for it.
    pub(super) fn with_driver(stream: AsyncStream, on_move: OnMove) -> (Self, Driver) {
        let queue = Arc::new(RequestQueue::default());
        let driver = Driver::new(stream, Arc::clone(&queue), on_move);
        (Self(Arc::new(ClientInner { queue })), driver)
    }

    pub(super) fn queue(&self) -> &RequestQueue {
        &self.0.queue
    }

    /// Sets the encodings as [`FrameClient::set_encoding_policy`](crate::broker::backend_sdk::FrameClient::set_encoding_policy)
    /// does, for every clone.
    pub fn set_encoding_policy(&self, policy: EncodingPolicy) {
        self.queue().set_encoding_policy(policy);
    }

    /// Returns whether requests can still be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.queue().is_open()
    }

    /// Returns whether the daemon has said that another process serves the endpoint by now. A client of
    /// [`from_stream`](Self::from_stream) goes on with its connection until the daemon ends it, so a caller that wants the
    /// successor connects again. A client that has [connected](Self::connect) follows by itself, and this is `false`.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.queue().has_moved()
    }

    /// Returns the receiver of events of no request and of the daemon's own requests; `None` while any clone has another
    /// one.
    ///
    /// It receives the frames that come from now on; before the first request, also those that came before. At most
    /// [`MAX_WAITING_EVENT_BYTES`](crate::broker::backend_sdk::MAX_WAITING_EVENT_BYTES) wait for it. Once it is dropped, such
    /// frames are dropped as well.
    #[must_use]
    pub fn events(&self) -> Option<FrameEvents> {
        self.queue().subscribe().then(|| FrameEvents::new(Arc::clone(&self.0.queue)))
    }

    /// Sends a request and waits for its response, for as long as the daemon keeps the connection.
    ///
    /// # Errors
    ///
    /// The request is too large or refused, or the connection has ended.
    pub async fn request(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
    ) -> Result<Frame, FrameClientError> {
        let outcome = self.exchange(payload_protocol, payload.into(), None).await;
        outcome.unwrap_or_else(|unsent| Err(unsent.into_error())).map(Reply::into_frame)
    }

    /// Sends a [`request`](Self::request) with a deadline, which the daemon is told as well.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request). [`FrameClientError::TimedOut`] cancels the request. If the deadline has passed already,
    /// nothing is sent.
    ///
    /// # Panics
    ///
    /// In a tokio runtime without timers.
    pub async fn request_deadline(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        deadline: Instant,
    ) -> Result<Frame, FrameClientError> {
        let options = RequestOptions::new().with_deadline(deadline);
        self.request_with(payload_protocol, payload, &options).await
    }

    /// Sends a [`request`](Self::request) with a deadline, trace context, or both.
    ///
    /// # Errors
    ///
    /// As [`request_deadline`](Self::request_deadline).
    ///
    /// # Panics
    ///
    /// In a tokio runtime without timers, if there is a deadline.
    pub async fn request_with(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<Frame, FrameClientError> {
        let outcome = self.exchange(payload_protocol, payload.into(), Some(options)).await;
        outcome.unwrap_or_else(|unsent| Err(unsent.into_error())).map(Reply::into_frame)
    }

    /// Sends a request as [`request_with`](Self::request_with) does, and returns the response with its descriptors. At most
    /// [`RequestOptions::max_descriptors`] are taken, or 16 if that is 0. A payload that is a file comes as a file.
    ///
    /// # Errors
    ///
    /// As [`request_deadline`](Self::request_deadline).
    ///
    /// # Panics
    ///
    /// In a tokio runtime without timers, if there is a deadline.
    pub async fn request_reply(
        &self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<Reply, FrameClientError> {
        let outcome = self.exchange(payload_protocol, payload.into(), Some(&options.of_reply())).await;
        outcome.unwrap_or_else(|unsent| Err(unsent.into_error()))
    }

    pub(in super::super) async fn exchange(
        &self,
        payload_protocol: u32,
        payload: Payload,
        options: Option<&RequestOptions>,
    ) -> Outcome {
        let deadline = CallDeadline::new(options.and_then(|options| options.deadline), now);
        if let Err(error) = deadline.check() {
            return Ok(Err(error));
        }
        if payload.descriptor_count() > 0 {
            return Box::pin(self.exchange_descriptors(payload_protocol, payload, options, deadline)).await;
        }
        self.exchange_until(payload_protocol, payload, options, deadline).await
    }

    pub(super) async fn exchange_until(
        &self,
        payload_protocol: u32,
        payload: Payload,
        options: Option<&RequestOptions>,
        deadline: CallDeadline,
    ) -> Outcome {
        let request = Request::new(payload_protocol, payload, deadline, options, false);
        let outcome = self.queue().submit(request);
        if deadline.at.is_none() {
            return outcome.await;
        }
        match within(deadline, self.queue(), outcome).await {
            Ok(outcome) => {
                outcome.map(|response| response.map_err(|error| deadline.timed_out_if_refused(error, now)))
            }
            Err(error) => Ok(Err(error)),
        }
    }
}
