//! The blocking client.

mod drive;
mod limit;
mod response_stream;
pub(super) mod waiting;

pub use response_stream::ResponseStream;
#[cfg(feature = "tokio")]
pub(super) use waiting::kept_bytes;
pub use waiting::{DEFAULT_ANSWER_LIMIT, MAX_WAITING_EVENT_BYTES};

use super::error::FrameClientError;
use super::request_options::{RequestOptions, unix_ms_after};
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::backend_sdk::proto::client_connection::{ClientConnection, RequestId};
use crate::broker::backend_sdk::proto::id_map::ById;
use crate::broker::protocol::{EncodingPolicy, Endpoint, Frame};
use crate::transport::{LateReads, LocalStream};
use limit::Limit;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use waiting::Waiting;

/// While this many bytes or more wait to be written, they are written before another request is taken.
pub(super) const ENOUGH_OUTPUT: usize = 64 * 1024;

/// A client of a daemon's framed lane, blocking.
///
/// [`request`](Self::request) is one call, and [`request_streaming`](Self::request_streaming) one that gives the events of its
/// request first. [`send`](Self::send) and [`wait`](Self::wait) keep several requests in flight, whose responses may come in any
/// order, and [`queue`](Self::queue) has many of them written at once.
///
/// The client has no thread of its own: it reads only inside its calls. Frames for a later call are kept within bounds.
///
/// - Events that the caller did not ask for are dropped. Those of no request are asked for with
///   [`keep_events`](Self::keep_events) and taken with [`next_event`](Self::next_event).
/// - At most [`MAX_WAITING_EVENT_BYTES`] of events wait, and [`set_answer_limit`](Self::set_answer_limit) of answers that other
///   calls are to claim. A call that would have to read on returns [`FrameClientError::TooManyEvents`] or
///   [`TooManyAnswers`](FrameClientError::TooManyAnswers) instead; the daemon notices a socket that is full.
///
/// After [`FrameClientError::Refused`] and those two the connection goes on; after [`FrameClientError::TimedOut`], too, and a
/// response that comes late is dropped. After every other error of the connection it is closed at once,
/// [`is_usable`](Self::is_usable) says so, and each further call returns [`FrameClientError::Dead`].
#[derive(Debug)]
pub struct FrameClient {
    /// `None` once the connection has ended.
    stream: Option<LocalStream>,
    connection: ClientConnection,
    timeout: Option<Duration>,
    late: LateReads,
    waiting: Waiting,
    /// Of requests that were sent with one and are waited for later.
    deadlines: ById<RequestId, Instant>,
    /// The request whose events are kept.
    streaming: Option<RequestId>,
    /// Bytes that were read may hold more frames, for which there was no room.
    unsorted: bool,
}

impl FrameClient {
    /// Connects to `endpoint`, whoever answers there. [`BackendHandle`](crate::broker::backend_handle::BackendHandle)
    /// gives a client of a daemon that proved itself.
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

    /// A client on a connection that speaks frames, or nothing yet.
    #[must_use]
    pub fn from_stream(stream: impl Into<LocalStream>) -> Self {
        let mut connection = ClientConnection::new();
        connection.set_unsolicited_events(false);
        Self {
            stream: Some(stream.into()),
            connection,
            timeout: None,
            late: LateReads::default(),
            waiting: Waiting::default(),
            deadlines: ById::default(),
            streaming: None,
            unsorted: false,
        }
    }

    /// How long each further call waits. Default: `None`, as long as the daemon keeps the connection; a compilation
    /// may take minutes.
    ///
    /// The daemon is told the timeout of [`request`](Self::request) as the deadline of the request. For other calls
    /// [`RequestOptions::deadline`] says what it is told.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Which encodings of payloads the daemon may use, and requests are sent in once it has said that it decodes them.
    /// Default: those compiled in. What comes encoded is decoded before it is handed over.
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
            self.waiting.events.clear();
        }
    }

    /// Sets how many bytes of answers are kept for later calls of [`wait`](Self::wait), the [`Frame`]s included. Default:
    /// [`DEFAULT_ANSWER_LIMIT`]. One answer may exceed it.
    pub fn set_answer_limit(&mut self, bytes: usize) {
        self.waiting.answer_limit = bytes.max(1);
    }

    /// Whether requests can still be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.stream.is_some()
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    ///
    /// As [`request_with`](Self::request_with).
    pub fn request(&mut self, payload_protocol: u32, payload: Vec<u8>) -> Result<Frame, FrameClientError> {
        self.request_with(payload_protocol, payload, &RequestOptions::default())
    }

    /// [`request`](Self::request) with a deadline of its own, or trace context. The daemon is told the deadline, or the
    /// [timeout](Self::set_timeout) if that ends earlier.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send) and [`wait`](Self::wait), but every error gives the request up. Nothing is sent if the deadline has
    /// passed already.
    pub fn request_with(
        &mut self,
        payload_protocol: u32,
        payload: Vec<u8>,
        options: &RequestOptions,
    ) -> Result<Frame, FrameClientError> {
        let limit = self.limit(options.deadline);
        let request = self.append(payload_protocol, payload, options, limit, false)?;
        self.answer(request, limit).inspect_err(|_| self.give_up(request))
    }

    /// Sends a request whose events are wanted: the stream gives them one by one, and then the answer.
    ///
    /// ```no_run
    /// # use running_process::broker::backend_sdk::{FrameClient, FrameClientError};
    /// # const BUILD: u32 = 0xF00D;
    /// # fn build(client: &mut FrameClient) -> Result<Vec<u8>, FrameClientError> {
    /// let mut stream = client.request_streaming(BUILD, b"library".to_vec())?;
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
        payload: Vec<u8>,
    ) -> Result<ResponseStream<'_>, FrameClientError> {
        self.request_streaming_with(payload_protocol, payload, &RequestOptions::default())
    }

    /// [`request_streaming`](Self::request_streaming) with a deadline for all of it, or trace context. The
    /// [timeout](Self::set_timeout) is for each call of the stream alone, and the daemon is not told.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). Nothing is sent if the deadline has passed already.
    pub fn request_streaming_with(
        &mut self,
        payload_protocol: u32,
        payload: Vec<u8>,
        options: &RequestOptions,
    ) -> Result<ResponseStream<'_>, FrameClientError> {
        if let Some(forgotten) = self.streaming {
            self.end_streaming(forgotten);
        }
        let request = self.append(payload_protocol, payload, options, Limit::of(options), true)?;
        self.streaming = Some(request);
        let deadline = options.deadline;
        match self.flush_until(self.limit(deadline)) {
            Ok(()) => Ok(ResponseStream::new(self, request, deadline)),
            Err(error) => {
                self.end_streaming(request);
                Err(error)
            }
        }
    }

    /// Sends a request without waiting for its response. A large payload that is given away is not copied.
    ///
    /// Answers that come meanwhile are read if the daemon takes no more requests before that, so any number may be in
    /// flight, as long as their answers are within the [limit](Self::set_answer_limit).
    ///
    /// # Errors
    ///
    /// The request is too large, or could not be written within the timeout, which ends the connection.
    /// [`FrameClientError::TooManyAnswers`] and [`TooManyEvents`](FrameClientError::TooManyEvents) give the request up, if it was
    /// sent at all.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows nothing is read while a request is written: [`wait`](Self::wait) before more than a pipe's buffer is in
    /// flight in both directions, or set a timeout.
    pub fn send<'p>(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Cow<'p, [u8]>>,
    ) -> Result<RequestId, FrameClientError> {
        self.send_with(payload_protocol, payload, &RequestOptions::default())
    }

    /// [`send`](Self::send) with a deadline, which [`wait`](Self::wait) keeps and the daemon is told, or trace context.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). Nothing is sent if the deadline has passed already.
    pub fn send_with<'p>(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Cow<'p, [u8]>>,
        options: &RequestOptions,
    ) -> Result<RequestId, FrameClientError> {
        let request = self.append(payload_protocol, payload, options, Limit::of(options), false)?;
        self.flush_until(self.limit(options.deadline)).inspect_err(|_| self.give_up(request))?;
        if let Some(deadline) = options.deadline {
            self.deadlines.insert(request, deadline);
        }
        Ok(request)
    }

    /// [`send`](Self::send) that leaves the writing to what follows: to [`wait`](Self::wait) before it waits, to
    /// [`flush`](Self::flush), or to this once 64 KiB are to be written. Many small requests cost one system call then.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn queue<'p>(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Cow<'p, [u8]>>,
    ) -> Result<RequestId, FrameClientError> {
        let request =
            self.append(payload_protocol, payload, &RequestOptions::default(), Limit::NONE, false)?;
        if self.connection.unwritten() >= ENOUGH_OUTPUT {
            self.flush().inspect_err(|_| self.give_up(request))?;
        }
        Ok(request)
    }

    /// Puts a request into the output. `limit` is what the daemon is told.
    fn append<'p>(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Cow<'p, [u8]>>,
        options: &RequestOptions,
        limit: Limit,
        events: bool,
    ) -> Result<RequestId, FrameClientError> {
        self.check_usable()?;
        self.waiting.check_room()?;
        if limit.at.is_some() && limit.timeout.is_zero() {
            return Err(FrameClientError::TimedOut { timeout: limit.timeout });
        }
        let deadline_unix_ms = limit.at.map_or(0, |_| unix_ms_after(limit.timeout));
        let head = options.head(deadline_unix_ms, events);
        self.connection
            .send_request_with(payload_protocol, payload, &head)
            .map_err(|error| FrameClientError::Request(Arc::new(error)))
    }

    /// Writes what was [queued](Self::queue).
    ///
    /// # Errors
    ///
    /// It could not be written within the timeout, which ends the connection.
    pub fn flush(&mut self) -> Result<(), FrameClientError> {
        self.check_usable()?;
        self.flush_until(self.limit(None))
    }

    /// Waits for the response to `request`.
    ///
    /// # Errors
    ///
    /// [`FrameClientError::TimedOut`] gives the request up, and tells the daemon so as [`cancel`](Self::cancel) does.
    /// [`FrameClientError::Refused`] is the daemon's answer. After [`FrameClientError::TooManyAnswers`] and
    /// [`TooManyEvents`](FrameClientError::TooManyEvents) the request can be waited for again.
    pub fn wait(&mut self, request: RequestId) -> Result<Frame, FrameClientError> {
        let deadline = self.deadlines.get(&request).copied();
        let limit = self.limit(deadline);
        self.answer(request, limit)
    }

    /// Gives a request up: the daemon is told with what the socket takes at once, else with the next request. An answer or
    /// event that came, or comes all the same, is dropped.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows the daemon is told with the next request.
    pub fn cancel(&mut self, request: RequestId) {
        self.waiting.take_answer(request);
        self.give_up(request);
    }

    /// The next frame that the daemon sent under no request: an event, or a request of its own. Waits for one if none has come.
    /// From now on they are [kept](Self::keep_events).
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn next_event(&mut self) -> Result<Frame, FrameClientError> {
        self.connection.set_unsolicited_events(true);
        let limit = self.limit(None);
        loop {
            if let Some(event) = self.waiting.events.take() {
                return Ok(event);
            }
            self.check_usable()?;
            self.flush_until(limit)?;
            self.read_more(limit)?;
        }
    }
}
