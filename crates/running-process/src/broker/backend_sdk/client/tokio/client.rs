//! The asynchronous client, on tokio.

use super::response_stream::AsyncResponseStream;

use super::driver::Driver;
use super::limit::Limit;
use super::queue::{Answer, Desk};
use super::sync::{AsyncStream, connect_async, into_async};
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::protocol::{EncodingPolicy, Endpoint, Frame};
use crate::transport::LocalStream;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

/// A client of a daemon's framed lane, on tokio. Clones share one connection, which ends with the last of them.
///
/// Any number of requests may be in flight, from any number of tasks; responses come in any order. A request whose
/// future is dropped is given up, and the daemon is told so. [`request_streaming`](Self::request_streaming) gives the events of
/// its request first; those of no request go to [`events`](Self::events). Events that no caller asked for are dropped.
///
/// One task owns the socket and never blocks. It takes requests only as fast as the daemon takes their bytes: a caller
/// waits for its place until then. While [`MAX_WAITING_EVENT_BYTES`](crate::broker::backend_sdk::MAX_WAITING_EVENT_BYTES) of events, of all streams
/// together, wait to be taken, it reads nothing more, so every request waits until they are taken: take them, or drop the
/// stream.
///
/// After [`FrameClientError::Refused`], [`FrameClientError::TimedOut`] and [`FrameClientError::Request`] the connection
/// goes on. Every other error of the connection ends it. Whoever waits then is told the reason, or if nobody waits, who
/// asks first; each further call returns [`FrameClientError::Dead`].
#[derive(Clone, Debug)]
pub struct AsyncFrameClient(pub(super) Arc<Clients>);

/// All clones of a client. With the last of them the connection ends.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) desk: Arc<Desk>,
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.desk.leave();
    }
}

/// Frames that the daemon sent under no request, of one connection.
#[derive(Debug)]
pub struct FrameEvents {
    desk: Arc<Desk>,
    /// The end was told.
    over: bool,
}

impl AsyncFrameClient {
    /// Connects to `endpoint`, whoever answers there. A daemon is proven with a
    /// [`BackendHandle`](crate::broker::backend_handle::BackendHandle), whose connection
    /// [`from_stream`](Self::from_stream) takes.
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
        Ok(Self::spawn(connect_async(&endpoint.path)?))
    }

    /// A client on a connection that speaks frames, or nothing yet.
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
        into_async(stream.into()).map(Self::spawn).map_err(|error| FrameClientError::Stream(Arc::new(error)))
    }

    fn spawn(stream: AsyncStream) -> Self {
        let (client, driver) = Self::driven(stream);
        tokio::spawn(driver.run());
        client
    }

    /// A client, and what does its work.
    pub(super) fn driven(stream: AsyncStream) -> (Self, Driver) {
        let desk = Arc::new(Desk::default());
        let driver = Driver::new(stream, Arc::clone(&desk));
        (Self(Arc::new(Clients { desk })), driver)
    }

    /// As [`FrameClient::set_encoding_policy`](crate::broker::backend_sdk::FrameClient::set_encoding_policy), for every clone.
    pub fn set_encoding_policy(&self, policy: EncodingPolicy) {
        self.0.desk.set_encodings(policy);
    }

    /// Whether requests can still be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.0.desk.is_open()
    }

    /// Returns the receiver of what the daemon sends under no request: events, and requests of its own. `None` while there is
    /// another one, of any clone.
    ///
    /// It gets what came since it was made, or since the connection was, if no request was made before. At most
    /// [`MAX_WAITING_EVENT_BYTES`](crate::broker::backend_sdk::MAX_WAITING_EVENT_BYTES) wait for it. Once it is dropped they are dropped as well.
    #[must_use]
    pub fn events(&self) -> Option<FrameEvents> {
        let desk = &self.0.desk;
        desk.claim_events().then(|| FrameEvents { desk: Arc::clone(desk), over: false })
    }

    /// Sends a request and waits for its response, for as long as the daemon keeps the connection.
    ///
    /// # Errors
    ///
    /// The request is too large or refused, or the connection has ended.
    pub async fn request(&self, payload_protocol: u32, payload: Vec<u8>) -> Result<Frame, FrameClientError> {
        self.exchange(payload_protocol, payload, None).await.unwrap_or_else(|unsent| Err(unsent.error))
    }

    /// [`request`](Self::request) with a deadline, which the daemon is told as well.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request); [`FrameClientError::TimedOut`] gives the request up and tells the daemon so. Nothing
    /// is sent if the deadline has passed already.
    ///
    /// # Panics
    ///
    /// In a tokio runtime without timers.
    pub async fn request_deadline(
        &self,
        payload_protocol: u32,
        payload: Vec<u8>,
        deadline: Instant,
    ) -> Result<Frame, FrameClientError> {
        let options = RequestOptions::new().with_deadline(deadline);
        self.request_with(payload_protocol, payload, &options).await
    }

    /// [`request`](Self::request) with a deadline, trace context, or both.
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
        payload: Vec<u8>,
        options: &RequestOptions,
    ) -> Result<Frame, FrameClientError> {
        let answer = self.exchange(payload_protocol, payload, Some(options)).await;
        answer.unwrap_or_else(|unsent| Err(unsent.error))
    }

    /// Sends a request whose events are wanted: the stream gives them one by one, and then the answer. Any number of requests may
    /// be streamed at once; each stream gets the events of its own.
    ///
    /// ```no_run
    /// # use running_process::broker::backend_sdk::{AsyncFrameClient, FrameClientError};
    /// # const BUILD: u32 = 0xF00D;
    /// # async fn build(client: AsyncFrameClient) -> Result<Vec<u8>, FrameClientError> {
    /// let mut stream = client.request_streaming(BUILD, b"library".to_vec()).await?;
    /// while let Some(event) = stream.next_event().await? {
    ///     println!("{}", event.payload.escape_ascii());
    /// }
    /// Ok(stream.response().await?.payload)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The connection has ended. A request that is too large is told by the stream.
    pub async fn request_streaming(
        &self,
        payload_protocol: u32,
        payload: Vec<u8>,
    ) -> Result<AsyncResponseStream, FrameClientError> {
        self.request_streaming_with(payload_protocol, payload, &RequestOptions::default()).await
    }

    /// [`request_streaming`](Self::request_streaming) with a deadline for all of it, or trace context.
    ///
    /// # Errors
    ///
    /// As [`request_streaming`](Self::request_streaming). [`FrameClientError::TimedOut`] if the deadline has passed already; nothing
    /// is sent then.
    #[allow(clippy::unused_async, reason = "its callers await it like everything else")]
    pub async fn request_streaming_with(
        &self,
        payload_protocol: u32,
        payload: Vec<u8>,
        options: &RequestOptions,
    ) -> Result<AsyncResponseStream, FrameClientError> {
        let limit = Limit::of(Some(options));
        limit.check()?;
        let request = limit.request(payload_protocol, payload, Some(options), true);
        let ticket = self.0.desk.stream(request).map_err(|unsent| unsent.error)?;
        Ok(AsyncResponseStream::new(self.clone(), ticket, limit))
    }

    pub(in super::super) async fn exchange(
        &self,
        payload_protocol: u32,
        payload: Vec<u8>,
        options: Option<&RequestOptions>,
    ) -> Answer {
        let limit = Limit::of(options);
        if let Err(error) = limit.check() {
            return Ok(Err(error));
        }
        let asked = self.0.desk.ask(limit.request(payload_protocol, payload, options, false));
        if limit.at.is_none() {
            return asked.await;
        }
        match limit.wait(&self.0.desk, asked).await {
            Ok(answer) => answer.map(|response| limit.judge(response)),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl FrameEvents {
    /// The next frame. Nothing is lost if this future is dropped.
    ///
    /// # Errors
    ///
    /// Why the connection ended, after the last frame; then [`FrameClientError::Dead`], also if the last client was
    /// dropped.
    pub async fn next(&mut self) -> Result<Frame, FrameClientError> {
        let next = poll_fn(|context| self.desk.poll_event(context.waker())).await;
        if next.is_err() && std::mem::replace(&mut self.over, true) {
            return Err(FrameClientError::Dead);
        }
        next
    }
}

impl Drop for FrameEvents {
    fn drop(&mut self) {
        self.desk.drop_events();
    }
}
