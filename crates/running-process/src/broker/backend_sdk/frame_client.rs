//! The blocking client.

use super::client_connection::{ById, ClientConnection, ClientConnectionError, ClientEvent, RequestId};
use super::output::PIECES;
use crate::broker::backend_lifecycle::{DISABLE_VARIABLE, is_disabled};
use crate::broker::protocol::{EncodingPolicy, Endpoint, Frame, FramingError, Refusal};
use crate::transport::{ConnectError, Late, LocalStream};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

/// While this many bytes or more wait to be written, they are written before another request is taken.
pub(super) const ENOUGH_OUTPUT: usize = 64 * 1024;

/// How many frames that nobody asked for a client keeps until they are taken, by [`FrameClient::next_event`] or its
/// asynchronous twin.
pub const MAX_WAITING_EVENTS: usize = 4096;

/// A client of a daemon's framed lane, blocking.
///
/// [`request`](Self::request) is one call; [`send`](Self::send) and [`wait`](Self::wait) keep several requests in
/// flight, whose responses may come in any order, and [`queue`](Self::queue) has many of them written at once. Events of
/// the daemon wait in order for [`next_event`](Self::next_event).
///
/// After [`FrameClientError::Refused`] the connection goes on; after [`FrameClientError::TimedOut`], too, and a response
/// that comes late is dropped. After every other error of the connection it is closed at once,
/// [`is_usable`](Self::is_usable) says so, and each further call returns [`FrameClientError::Dead`].
#[derive(Debug)]
pub struct FrameClient {
    /// `None` once the connection has ended.
    stream: Option<LocalStream>,
    connection: ClientConnection,
    timeout: Option<Duration>,
    late: Late,
    answers: ById<RequestId, Result<Frame, Refusal>>,
    events: VecDeque<Frame>,
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameClientError {
    /// The environment asks for the legacy path.
    #[error("frames are switched off by {DISABLE_VARIABLE}=1")]
    Disabled,
    /// The endpoint could not be connected to.
    #[error("no connection to the daemon")]
    Connect(#[from] ConnectError),
    /// The request cannot be a frame; nothing was sent and the connection goes on.
    #[error("the request cannot be sent")]
    Request(#[source] FramingError),
    /// The daemon says that it does not serve the request, and why; the connection goes on.
    #[error("the daemon refused the request")]
    Refused(#[source] Refusal),
    /// The connection failed.
    #[error("the connection failed")]
    Stream(#[source] io::Error),
    /// The daemon broke the rules.
    #[error("the connection cannot be trusted any more")]
    Connection(#[from] ClientConnectionError),
    /// The daemon ended the connection; whether it has run the requests in flight is unknown.
    #[error("the daemon closed the connection before it answered")]
    Closed,
    /// Nothing came in time. The request was given up; the daemon may have run it.
    #[error("no answer within {timeout:?}")]
    TimedOut {
        /// The timeout that applied.
        timeout: Duration,
    },
    /// The request was answered already, given up, or sent by another client.
    #[error("the request is not in flight")]
    NotInFlight,
    /// The daemon sent more frames that nobody asked for than a client keeps.
    #[error("more than {MAX_WAITING_EVENTS} events wait to be taken")]
    TooManyEvents,
    /// An earlier error ended the connection.
    #[error("the connection was ended by an earlier error")]
    Dead,
}

impl FrameClientError {
    /// Whether the daemon may have run the request, as far as this side can tell. What has certainly not run can be sent
    /// again, whatever it does.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Disabled | Self::Connect(_) | Self::Request(_) => false,
            Self::Refused(refusal) => refusal.may_have_run(),
            Self::Stream(_)
            | Self::Connection(_)
            | Self::Closed
            | Self::TimedOut { .. }
            | Self::NotInFlight
            | Self::TooManyEvents
            | Self::Dead => true,
        }
    }
}

#[cfg(feature = "tokio")]
impl FrameClientError {
    /// The error that ended a connection, once more: all who wait on it are told.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Stream(error) => Self::Stream(io::Error::new(error.kind(), error.to_string())),
            Self::Connection(error) => Self::Connection(error.again()),
            Self::Closed => Self::Closed,
            Self::TooManyEvents => Self::TooManyEvents,
            // No other error ends a connection that exists.
            _ => Self::Dead,
        }
    }
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
        Self {
            stream: Some(stream.into()),
            connection: ClientConnection::new(),
            timeout: None,
            late: Late::default(),
            answers: ById::default(),
            events: VecDeque::new(),
        }
    }

    /// How long each further call waits. Default: `None`, as long as the daemon keeps the connection; a compilation
    /// may take minutes.
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

    /// Whether requests can still be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.stream.is_some()
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send) and [`wait`](Self::wait).
    pub fn request(&mut self, payload_protocol: u32, payload: Vec<u8>) -> Result<Frame, FrameClientError> {
        let request = self.send(payload_protocol, payload)?;
        self.wait(request)
    }

    /// Sends a request without waiting for its response. A large payload that is given away is not copied.
    ///
    /// What the daemon answers meanwhile is read if it takes no more requests before that, so any number may be in flight.
    ///
    /// # Errors
    ///
    /// The request is too large, or could not be written within the timeout, which ends the connection.
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
        let request = self.append(payload_protocol, payload)?;
        self.flush()?;
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
        let request = self.append(payload_protocol, payload)?;
        if self.connection.unwritten() >= ENOUGH_OUTPUT {
            self.flush()?;
        }
        Ok(request)
    }

    fn append<'p>(
        &mut self,
        payload_protocol: u32,
        payload: impl Into<Cow<'p, [u8]>>,
    ) -> Result<RequestId, FrameClientError> {
        self.check_usable()?;
        self.connection.send_request(payload_protocol, payload).map_err(FrameClientError::Request)
    }

    /// Writes what was [queued](Self::queue).
    ///
    /// # Errors
    ///
    /// It could not be written within the timeout, which ends the connection.
    pub fn flush(&mut self) -> Result<(), FrameClientError> {
        self.check_usable()?;
        self.flush_before(self.deadline())
    }

    fn flush_before(&mut self, deadline: Option<Instant>) -> Result<(), FrameClientError> {
        while !self.connection.output().is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let count = self.connection.output_slices(&mut slices);
            let Some(stream) = &self.stream else { return Err(FrameClientError::Dead) };
            match stream.write_unless_readable(&slices[..count], || deadline).map_err(stream_error) {
                Ok(Some(written)) => self.connection.output_written(written),
                Ok(None) => self.read_more(deadline)?,
                // What the daemon answered before it closed is still to be read, up to the end that tells so.
                Err(FrameClientError::Closed) => loop {
                    match self.read_more(deadline) {
                        Ok(()) => {}
                        Err(FrameClientError::TimedOut { .. }) => {
                            return Err(self.end(FrameClientError::Closed));
                        }
                        Err(error) => return Err(error),
                    }
                },
                Err(error) => return Err(self.end(error)),
            }
        }
        Ok(())
    }

    /// Waits for the response to `request`.
    ///
    /// # Errors
    ///
    /// [`FrameClientError::TimedOut`] gives the request up: the daemon is told with the next request that is sent.
    /// [`FrameClientError::Refused`] is the daemon's answer.
    pub fn wait(&mut self, request: RequestId) -> Result<Frame, FrameClientError> {
        let deadline = self.deadline();
        loop {
            if let Some(answer) = self.answers.remove(&request) {
                return answer.map_err(FrameClientError::Refused);
            }
            self.check_usable()?;
            if !self.connection.is_pending(request) {
                return Err(FrameClientError::NotInFlight);
            }
            self.flush_before(deadline)?;
            self.read_more(deadline).inspect_err(|error| {
                if matches!(error, FrameClientError::TimedOut { .. }) {
                    self.connection.cancel(request);
                }
            })?;
        }
    }

    /// The next frame that the daemon sent unasked: an event, or a request of its own. Waits for one if none has come.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn next_event(&mut self) -> Result<Frame, FrameClientError> {
        let deadline = self.deadline();
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.check_usable()?;
            self.flush_before(deadline)?;
            self.read_more(deadline)?;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    fn check_usable(&self) -> Result<(), FrameClientError> {
        if self.is_usable() { Ok(()) } else { Err(FrameClientError::Dead) }
    }

    /// The connection is of no further use: the daemon learns it now, not once this value is dropped.
    fn end(&mut self, error: FrameClientError) -> FrameClientError {
        if let Some(stream) = self.stream.take() {
            stream.disconnect();
        }
        error
    }

    /// Reads once and sorts what came.
    fn read_more(&mut self, deadline: Option<Instant>) -> Result<(), FrameClientError> {
        let Some(stream) = &self.stream else { return Err(FrameClientError::Dead) };
        let buffer = self.connection.receive_buffer();
        let read = stream.read_onto(buffer, deadline);
        match self.late.or(read, || stream.read_arrived_onto(buffer)) {
            Ok(0) => {
                let error = match self.connection.receive_eof() {
                    Ok(()) => FrameClientError::Closed,
                    Err(truncated) => truncated.into(),
                };
                return Err(self.end(error));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(FrameClientError::TimedOut { timeout: self.timeout.unwrap_or_default() });
            }
            Err(error) => return Err(self.end(stream_error(error))),
        }
        self.sort_events().map_err(|error| self.end(error))
    }

    fn sort_events(&mut self) -> Result<(), FrameClientError> {
        while let Some(event) = self.connection.next_owned_event()? {
            match event {
                ClientEvent::Response(request, frame) => {
                    self.answers.insert(request, Ok(frame));
                }
                ClientEvent::Refused(request, refusal) => {
                    self.answers.insert(request, Err(refusal));
                }
                ClientEvent::Event(_) | ClientEvent::Other(_) if self.events.len() == MAX_WAITING_EVENTS => {
                    return Err(FrameClientError::TooManyEvents);
                }
                ClientEvent::Event(frame) | ClientEvent::Other(frame) => {
                    self.events.push_back(frame);
                }
            }
        }
        Ok(())
    }
}

/// A daemon that is gone is one condition, whether it had read everything (the end of the stream), had not (a reset),
/// or was written to (a broken pipe).
pub(super) fn stream_error(error: io::Error) -> FrameClientError {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => FrameClientError::Closed,
        _ => FrameClientError::Stream(error),
    }
}
