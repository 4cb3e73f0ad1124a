//! The asynchronous client, on tokio.

mod driver;
mod sync;

use super::frame_client::{FrameClientError, MAX_WAITING_EVENTS};
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::protocol::{EncodingPolicy, Endpoint, Frame};
use crate::broker::runtime_clock::now;
use crate::transport::LocalStream;
use driver::Driver;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use sync::mpsc::error::SendError;
use sync::{AsyncStream, connect_async, into_async, mpsc, oneshot};

/// How many requests wait for the task to take them; further callers wait for a place.
const WAITING_REQUESTS: usize = 32;

/// A client of a daemon's framed lane, on tokio. Clones share one connection, which ends with the last of them.
///
/// Any number of requests may be in flight, from any number of tasks; responses come in any order. A request whose
/// future is dropped is given up, and the daemon is told so. Events of the daemon go to [`events`](Self::events).
///
/// One task owns the socket and never blocks. It takes requests only as fast as the daemon takes their bytes: a caller
/// waits for its place until then.
///
/// After [`FrameClientError::Refused`], [`FrameClientError::TimedOut`] and [`FrameClientError::Request`] the connection
/// goes on. Every other error of the connection ends it. Whoever waits then is told the reason, or if nobody waits, who
/// asks first; each further call returns [`FrameClientError::Dead`].
#[derive(Clone, Debug)]
pub struct AsyncFrameClient {
    requests: mpsc::Sender<Waiting>,
    /// Unbounded, and yet short: a request is given up once, and only after the task was given it.
    given_up: mpsc::UnboundedSender<Ticket>,
    shared: Arc<Shared>,
}

/// Frames that the daemon sent unasked, of one connection.
#[derive(Debug)]
pub struct FrameEvents {
    frames: mpsc::Receiver<Frame>,
    shared: Arc<Shared>,
    /// The end was told.
    over: bool,
}

/// Names a request between its caller and the task, which alone knows its id on the wire.
type Ticket = u64;

/// A request that the task has not taken yet.
#[derive(Debug)]
struct Waiting {
    payload_protocol: u32,
    payload: Vec<u8>,
    deadline_unix_ms: u64,
    ticket: Ticket,
    answer: oneshot::Sender<Answer>,
}

/// What became of a request: the inner error is one of a request that may have been sent.
pub(super) type Answer = Result<Result<Frame, FrameClientError>, NotSent>;

/// A request of which nothing was sent, because the connection ended before.
#[derive(Debug)]
pub(super) struct NotSent {
    pub(super) payload: Vec<u8>,
    /// Why the connection ended.
    error: FrameClientError,
}

#[derive(Debug)]
struct Shared {
    next_ticket: AtomicU64,
    /// Why the connection ended, once it has; set before anyone can notice.
    end: OnceLock<FrameClientError>,
    /// A request was told of the end.
    told: AtomicBool,
    /// Until somebody asks for the events.
    events: Mutex<Option<mpsc::Receiver<Frame>>>,
    encodings: Mutex<EncodingPolicy>,
}

impl Shared {
    fn end(&self) -> FrameClientError {
        self.end.get().map_or(FrameClientError::Dead, FrameClientError::again)
    }

    fn encodings(&self) -> EncodingPolicy {
        *self.encodings.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        into_async(stream.into()).map(Self::spawn).map_err(FrameClientError::Stream)
    }

    fn spawn(stream: AsyncStream) -> Self {
        let (client, driver) = Self::driven(stream);
        tokio::spawn(driver.run());
        client
    }

    /// A client, and what does its work.
    fn driven(stream: AsyncStream) -> (Self, Driver) {
        let (requests, waiting) = mpsc::channel(WAITING_REQUESTS);
        let (given_up, cancels) = mpsc::unbounded_channel();
        let (events, frames) = mpsc::channel(MAX_WAITING_EVENTS);
        let shared = Arc::new(Shared {
            next_ticket: AtomicU64::new(0),
            end: OnceLock::new(),
            told: AtomicBool::new(false),
            events: Mutex::new(Some(frames)),
            encodings: Mutex::new(EncodingPolicy::default()),
        });
        let driver = Driver::new(stream, waiting, cancels, events, Arc::clone(&shared));
        (Self { requests, given_up, shared }, driver)
    }

    /// As [`FrameClient::set_encoding_policy`](super::FrameClient::set_encoding_policy), for every clone.
    pub fn set_encoding_policy(&self, policy: EncodingPolicy) {
        *self.shared.encodings.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    /// Whether requests can still be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.requests.is_closed() && !self.given_up.is_closed()
    }

    /// What the daemon sends unasked: events, and requests of its own. `None` if they were taken before, by any clone.
    ///
    /// At most [`MAX_WAITING_EVENTS`] wait, whether they were taken or not; one more ends the connection with
    /// [`FrameClientError::TooManyEvents`]. Once the receiver is dropped they are dropped as well.
    #[must_use]
    pub fn events(&self) -> Option<FrameEvents> {
        let frames = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(FrameEvents { frames, shared: Arc::clone(&self.shared), over: false })
    }

    /// Sends a request and waits for its response, for as long as the daemon keeps the connection.
    ///
    /// # Errors
    ///
    /// The request is too large or refused, or the connection has ended.
    pub async fn request(&self, payload_protocol: u32, payload: Vec<u8>) -> Result<Frame, FrameClientError> {
        self.exchange(payload_protocol, payload, 0).await.unwrap_or_else(|unsent| Err(unsent.error))
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
    pub async fn request_before(
        &self,
        payload_protocol: u32,
        payload: Vec<u8>,
        deadline: Instant,
    ) -> Result<Frame, FrameClientError> {
        self.exchange_before(payload_protocol, payload, deadline)
            .await
            .unwrap_or_else(|unsent| Err(unsent.error))
    }

    pub(super) async fn exchange_before(
        &self,
        payload_protocol: u32,
        payload: Vec<u8>,
        deadline: Instant,
    ) -> Answer {
        let timeout = deadline.saturating_duration_since(now());
        if timeout.is_zero() {
            return Ok(Err(FrameClientError::TimedOut { timeout }));
        }
        let exchange = self.exchange(payload_protocol, payload, unix_ms_after(timeout));
        let timed_out = |_| Ok(Err(FrameClientError::TimedOut { timeout }));
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(timed_out)
    }

    /// `deadline_unix_ms` is 0 for none.
    pub(super) async fn exchange(
        &self,
        payload_protocol: u32,
        payload: Vec<u8>,
        deadline_unix_ms: u64,
    ) -> Answer {
        let ticket = self.shared.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (answer, response) = oneshot::channel();
        let waiting = Waiting { payload_protocol, payload, deadline_unix_ms, ticket, answer };
        if let Err(SendError(Waiting { payload, .. })) = self.requests.send(waiting).await {
            let told = self.shared.told.swap(true, Ordering::Relaxed);
            let error = if told { FrameClientError::Dead } else { self.shared.end() };
            return Err(NotSent { payload, error });
        }
        let mut in_flight = InFlight { response, ticket: Some(ticket), given_up: &self.given_up };
        let answer = if self.given_up.is_closed() {
            // The task went, perhaps with its runtime and before it could take the request.
            in_flight.response.try_recv().ok()
        } else {
            (&mut in_flight.response).await.ok()
        };
        in_flight.ticket = None;
        answer.unwrap_or_else(|| {
            self.shared.told.store(true, Ordering::Relaxed);
            Ok(Err(self.shared.end()))
        })
    }
}

/// A request that the task was given. Dropped before its answer has come, it is given up.
struct InFlight<'a> {
    response: oneshot::Receiver<Answer>,
    /// `None` once there is an answer.
    ticket: Option<Ticket>,
    given_up: &'a mpsc::UnboundedSender<Ticket>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            // First, so that the task either sees it closed and sends nothing, or knows the ticket by the time it comes.
            self.response.close();
            // A task that has ended has nobody to tell.
            let _ = self.given_up.send(ticket);
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
        match self.frames.recv().await {
            Some(frame) => Ok(frame),
            None if std::mem::replace(&mut self.over, true) => Err(FrameClientError::Dead),
            None => Err(self.shared.end()),
        }
    }
}

/// The wall clock's time after `left`, in milliseconds since the Unix epoch.
fn unix_ms_after(left: Duration) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_add(left).as_millis()).unwrap_or(u64::MAX)
}
