//! The blocking client.

mod descriptors;
mod drive;
mod inbox;
mod response_stream;

pub use response_stream::ResponseStream;

use super::call_deadline::CallDeadline;
use super::error::FrameClientError;
use super::incoming::IncomingDescriptors;
use super::limits::SEND_HIGH_WATER;
use super::reply::Reply;
use super::request_options::RequestOptions;
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::backend_sdk::proto::client_connection::{ClientConnection, RequestId};
use crate::broker::backend_sdk::proto::id_map::ById;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::{EncodingPolicy, Endpoint, Frame};
use crate::transport::{LateReads, LocalStream};
use inbox::Inbox;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A client of a daemon's framed lane, blocking.
///
/// [`request`](Self::request) is one call. [`request_streaming`](Self::request_streaming) returns the events of its request
/// first. [`send`](Self::send) and [`wait`](Self::wait) keep several requests in flight, whose responses may come in any order,
/// and [`queue`](Self::queue) writes many of them at once.
///
/// The client has no thread of its own: it reads only inside its calls. It keeps frames for later calls, within bounds.
///
/// - Events are dropped unless the caller asks for them. [`keep_events`](Self::keep_events) asks for those of no request, and
///   [`next_event`](Self::next_event) returns them.
/// - The client keeps at most [`MAX_WAITING_EVENT_BYTES`](super::MAX_WAITING_EVENT_BYTES) of events, and
///   [`set_response_limit`](Self::set_response_limit) of responses to other calls. A call that would have to read on returns
///   [`FrameClientError::TooManyEvents`] or [`TooManyResponses`](FrameClientError::TooManyResponses) instead; the daemon meets a
///   full socket.
///
/// After [`FrameClientError::Refused`] and those two the connection goes on. It also goes on after
/// [`FrameClientError::TimedOut`]: a late response is dropped, and what was not written is written by the next call. Every other
/// error of the connection closes it at once: [`is_usable`](Self::is_usable) returns `false`, [`wait`](Self::wait) returns the
/// same error for each request in flight, or [`FrameClientError::NotReceived`] if it was not written to its end, and no further
/// request is sent: [`FrameClientError::Dead`].
///
/// ```no_run
/// use running_process::{Endpoint, FrameClient};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // Without a proof: a client of a daemon that it trusts. A proven connection comes from `BackendHandle::into_client`.
/// let mut client = FrameClient::connect(&Endpoint::unix_socket("build", "/run/user/1000/build/socket")?)?;
/// let response = client.request(0xF0BD, b"main.rs".to_vec())?;
/// assert_eq!(response.payload_protocol, 0xF0BD);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FrameClient {
    /// `None` once the connection has ended.
    stream: Option<LocalStream>,
    /// The error that ended the connection.
    end: Option<FrameClientError>,
    connection: ClientConnection,
    descriptors: IncomingDescriptors,
    timeout: Option<Duration>,
    late: LateReads,
    inbox: Inbox,
    /// The deadlines of requests that were sent with one, for [`wait`](Self::wait).
    deadlines: ById<RequestId, Instant>,
    /// The request whose events are kept.
    streaming: Option<RequestId>,
    /// The connection may hold frames that are not in the inbox yet.
    undispatched: bool,
    /// The fault that follows the frames in the inbox.
    fault: Option<FrameClientError>,
    /// The daemon has said that another process serves the endpoint.
    moved: bool,
}

impl FrameClient {
    /// Connects to `endpoint`, without a proof of its daemon. A
    /// [`BackendHandle`](crate::broker::backend_handle::BackendHandle) gives a client of a daemon that was verified.
    ///
    /// # Errors
    ///
    /// There is no connection, or the environment asks for the legacy path.
    pub fn connect(endpoint: &Endpoint) -> Result<Self, FrameClientError> {
        if is_disabled() {
            return Err(FrameClientError::Disabled);
        }
        Ok(Self::from_stream(LocalStream::connect(&endpoint.path)?))
    }

    /// Returns a client on a connection that speaks frames, or has not spoken yet.
    #[must_use]
    pub fn from_stream(stream: impl Into<LocalStream>) -> Self {
        let mut connection = ClientConnection::new();
        connection.set_unsolicited_events(false);
        connection.want_moved();
        Self {
            stream: Some(stream.into()),
            end: None,
            connection,
            descriptors: IncomingDescriptors::default(),
            timeout: None,
            late: LateReads::default(),
            inbox: Inbox::default(),
            deadlines: ById::default(),
            streaming: None,
            undispatched: false,
            fault: None,
            moved: false,
        }
    }

    /// Sets the longest time that each further call waits. Default: `None`, as long as the daemon keeps the connection; a
    /// compilation may take minutes.
    ///
    /// The daemon is told the timeout of [`request`](Self::request) as the deadline of the request. For other calls it is told
    /// [`RequestOptions::deadline`].
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Sets the encodings of payloads that the daemon may use, and in which requests are sent to a daemon that has said that it
    /// decodes them. Default: those that are compiled in. The client decodes responses and events before it returns them.
    ///
    /// Each request says what is accepted, so accept no less while one is in flight.
    pub fn set_encoding_policy(&mut self, policy: EncodingPolicy) {
        self.connection.set_encoding_policy(policy);
    }

    /// Sets whether events of no request, and requests of the daemon's own, are kept from now on for
    /// [`next_event`](Self::next_event), which asks for them as well. Default: no; they are dropped.
    pub fn keep_events(&mut self, keep: bool) {
        self.connection.set_unsolicited_events(keep);
        if !keep {
            self.inbox.events.clear();
        }
    }

    /// Sets how many bytes of responses are kept for later calls of [`wait`](Self::wait), the [`Frame`]s included. Default:
    /// [`DEFAULT_RESPONSE_LIMIT`](super::DEFAULT_RESPONSE_LIMIT). One response may exceed it.
    pub fn set_response_limit(&mut self, bytes: usize) {
        self.inbox.response_limit = bytes.max(1);
    }

    /// Returns whether requests can still be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.stream.is_some()
    }

    /// Returns whether another process serves the endpoint by now, as far as the daemon has said so. It reads what has arrived,
    /// without waiting. A daemon says it on a connection on which it got a request.
    ///
    /// The daemon then answers what is in flight, and further requests until it ends. A caller that goes on connects again, to
    /// the successor.
    pub fn has_moved(&mut self) -> bool {
        if !self.moved {
            self.read_arrived();
        }
        self.moved
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    ///
    /// As [`request_with`](Self::request_with).
    pub fn request(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
    ) -> Result<Frame, FrameClientError> {
        self.request_with(payload_protocol, payload, &RequestOptions::default())
    }

    /// Sends a [`request`](Self::request) with a deadline.
    ///
    /// # Errors
    ///
    /// As [`request_with`](Self::request_with).
    pub fn request_deadline(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        deadline: Instant,
    ) -> Result<Frame, FrameClientError> {
        let options = RequestOptions::new().with_deadline(deadline);
        self.request_with(payload_protocol, payload, &options)
    }

    /// Sends a [`request`](Self::request) with a deadline of its own, trace context, or both. The daemon is told the deadline, or
    /// the [timeout](Self::set_timeout) if that ends earlier.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send) and [`wait`](Self::wait), but every error cancels the request. If the deadline has passed already,
    /// nothing is sent.
    pub fn request_with(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<Frame, FrameClientError> {
        self.exchange(payload_protocol, payload.into(), options).map(Reply::into_frame)
    }

    /// Sends a request as [`request_with`](Self::request_with) does, and returns the response with its descriptors. At most
    /// [`RequestOptions::max_descriptors`] are taken, or 16 if that is 0. A payload that is a file comes as a file.
    ///
    /// # Errors
    ///
    /// As [`request_with`](Self::request_with).
    pub fn request_reply(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<Reply, FrameClientError> {
        self.exchange(payload_protocol, payload.into(), &options.of_reply())
    }

    fn exchange(
        &mut self,
        payload_protocol: u32,
        payload: Payload,
        options: &RequestOptions,
    ) -> Result<Reply, FrameClientError> {
        let deadline = self.call_deadline(options.deadline);
        let request = self.enqueue(payload_protocol, payload, options, deadline, false)?;
        self.wait_until(request, deadline).inspect_err(|_| self.cancel_if_pending(request))
    }

    /// Sends a request without waiting for its response.
    ///
    /// If the daemon takes no more requests before its responses are read, this reads them. So any number of requests may be in
    /// flight, as long as their responses are within the [limit](Self::set_response_limit).
    ///
    /// # Errors
    ///
    /// The request is too large. [`FrameClientError::TimedOut`], [`TooManyResponses`](FrameClientError::TooManyResponses) and
    /// [`TooManyEvents`](FrameClientError::TooManyEvents) cancel the request, if it was sent at all. While 64 KiB that an earlier
    /// call could not write still wait, nothing is added to them.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows a request that cannot be written within the timeout ends the connection, with [`FrameClientError::Stream`]: the
    /// pipe may have taken a part of it. Nothing is read while a request is written.
    /// Call [`wait`](Self::wait) before more than a pipe's buffer is in
    /// flight in both directions, or set a timeout.
    pub fn send(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
    ) -> Result<RequestId, FrameClientError> {
        self.send_with(payload_protocol, payload, &RequestOptions::default())
    }

    /// Sends a request as [`send`](Self::send) does, with trace context or a deadline. The daemon is told the deadline, and
    /// [`wait`](Self::wait) keeps it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). If the deadline has passed already, nothing is sent.
    pub fn send_with(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
        options: &RequestOptions,
    ) -> Result<RequestId, FrameClientError> {
        let deadline = CallDeadline::new(options.deadline, Instant::now);
        let request = self.enqueue(payload_protocol, payload.into(), options, deadline, false)?;
        self.flush_until(self.call_deadline(options.deadline))
            .map_err(|error| self.give_up(request, error))?;
        if let Some(deadline) = options.deadline {
            self.deadlines.insert(request, deadline);
        }
        Ok(request)
    }

    /// Queues a request, to be written with others: by [`wait`](Self::wait) before it waits, by [`flush`](Self::flush), or by this
    /// once 64 KiB are queued. Many small requests cost one system call then.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn queue(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Payload>,
    ) -> Result<RequestId, FrameClientError> {
        let options = RequestOptions::default();
        let request = self.enqueue(payload_protocol, payload.into(), &options, CallDeadline::NONE, false)?;
        if self.connection.unwritten() >= SEND_HIGH_WATER {
            self.flush().map_err(|error| self.give_up(request, error))?;
        }
        Ok(request)
    }

    /// Puts a request into the output. The daemon is told `deadline`.
    #[inline]
    fn enqueue(
        &mut self,
        payload_protocol: u32,
        payload: Payload,
        options: &RequestOptions,
        deadline: CallDeadline,
        events: bool,
    ) -> Result<RequestId, FrameClientError> {
        self.check_usable()?;
        self.inbox.check_room()?;
        deadline.check()?;
        if self.connection.unwritten() >= SEND_HIGH_WATER {
            // An earlier call could not write it.
            self.flush_until(self.call_deadline(deadline.at)).map_err(FrameClientError::of_unsent)?;
        }
        let payload =
            if payload.descriptor_count() == 0 { payload } else { self.with_descriptors(payload, deadline)? };
        let head = options.head(deadline.unix_ms(), events);
        self.connection
            .send_payload(payload_protocol, payload, &head)
            .map_err(|error| FrameClientError::Request(Arc::new(error)))
    }

    /// Writes the requests that were [queued](Self::queue).
    ///
    /// # Errors
    ///
    /// [`FrameClientError::TimedOut`] if they could not be written within the timeout. They stay in flight, and the next call writes
    /// what is left; on Windows the connection ends instead.
    pub fn flush(&mut self) -> Result<(), FrameClientError> {
        self.check_usable()?;
        self.flush_until(self.call_deadline(None))
    }

    /// Waits for the response to `request`.
    ///
    /// # Errors
    ///
    /// [`FrameClientError::TimedOut`] cancels the request, as [`cancel`](Self::cancel) does.
    /// [`FrameClientError::Refused`] is the daemon's response. After [`FrameClientError::TooManyResponses`] and
    /// [`TooManyEvents`](FrameClientError::TooManyEvents) the request can be waited for again.
    pub fn wait(&mut self, request: RequestId) -> Result<Frame, FrameClientError> {
        self.wait_reply(request).map(Reply::into_frame)
    }

    /// Waits as [`wait`](Self::wait) does, and returns the response with its descriptors. The request was sent with
    /// [`RequestOptions::max_descriptors`].
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    #[inline]
    pub fn wait_reply(&mut self, request: RequestId) -> Result<Reply, FrameClientError> {
        let deadline = self.deadlines.get(&request).copied();
        self.wait_until(request, self.call_deadline(deadline))
    }

    /// Cancels a request. The daemon is told at once if the socket takes the cancel without waiting, else with the next
    /// request. A response or event that has come, or still comes, is dropped.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows the daemon is told by the next call that writes, such as [`flush`](Self::flush).
    pub fn cancel(&mut self, request: RequestId) {
        self.inbox.take_response(request);
        self.cancel_if_pending(request);
    }

    /// Waits for the next frame that the daemon sends under no request: an event, or a request of its own. `None` once the
    /// connection has ended and all frames were taken. From now on such frames are [kept](Self::keep_events).
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn next_event(&mut self) -> Option<Result<Frame, FrameClientError>> {
        self.connection.set_unsolicited_events(true);
        let deadline = self.call_deadline(None);
        loop {
            if let Some(event) = self.inbox.events.take() {
                return Some(Ok(event.into_frame()));
            }
            if !self.is_usable() {
                return self.fault.take().map(Err);
            }
            let has_come = |client: &Self| !client.inbox.events.is_empty();
            let read = match self.flush_unless(deadline, has_come) {
                Ok(false) => self.read_more(deadline),
                flushed => flushed.map(drop),
            };
            match read {
                Err(error) if self.inbox.events.is_empty() => return Some(Err(error)),
                // It follows the frames that came before it.
                Err(error) if !self.is_usable() => self.fault = Some(error),
                _ => {}
            }
        }
    }
}
