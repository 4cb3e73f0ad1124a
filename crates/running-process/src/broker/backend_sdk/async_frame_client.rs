//! The asynchronous client, on tokio.

mod desk;
mod driver;
mod sync;

use super::frame_client::{FrameClientError, MAX_WAITING_EVENTS};
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::protocol::{EncodingPolicy, Endpoint, Frame};
use crate::broker::runtime_clock::now;
use crate::transport::LocalStream;
use desk::{Answer, Desk, Request};
use driver::Driver;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};
use sync::{AsyncStream, connect_async, into_async};
use tokio::sync::mpsc;

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
pub struct AsyncFrameClient(Arc<Clients>);

/// All clones of a client. With the last of them the connection ends.
#[derive(Debug)]
struct Clients {
    desk: Arc<Desk>,
    /// Until somebody asks for the events.
    events: Mutex<Option<mpsc::Receiver<Frame>>>,
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.desk.leave();
    }
}

/// Frames that the daemon sent unasked, of one connection.
#[derive(Debug)]
pub struct FrameEvents {
    frames: mpsc::Receiver<Frame>,
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
        into_async(stream.into()).map(Self::spawn).map_err(FrameClientError::Stream)
    }

    fn spawn(stream: AsyncStream) -> Self {
        let (client, driver) = Self::driven(stream);
        tokio::spawn(driver.run());
        client
    }

    /// A client, and what does its work.
    fn driven(stream: AsyncStream) -> (Self, Driver) {
        let (events, frames) = mpsc::channel(MAX_WAITING_EVENTS);
        let desk = Arc::new(Desk::default());
        let driver = Driver::new(stream, Arc::clone(&desk), events);
        (Self(Arc::new(Clients { desk, events: Mutex::new(Some(frames)) })), driver)
    }

    /// As [`FrameClient::set_encoding_policy`](super::FrameClient::set_encoding_policy), for every clone.
    pub fn set_encoding_policy(&self, policy: EncodingPolicy) {
        self.0.desk.set_encodings(policy);
    }

    /// Whether requests can still be sent.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.0.desk.is_open()
    }

    /// What the daemon sends unasked: events, and requests of its own. `None` if they were taken before, by any clone.
    ///
    /// At most [`MAX_WAITING_EVENTS`] wait, whether they were taken or not; one more ends the connection with
    /// [`FrameClientError::TooManyEvents`]. Once the receiver is dropped they are dropped as well.
    #[must_use]
    pub fn events(&self) -> Option<FrameEvents> {
        let frames = self.0.events.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(FrameEvents { frames, desk: Arc::clone(&self.0.desk), over: false })
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
        let mut exchange = pin!(self.exchange(payload_protocol, payload, unix_ms_after(timeout)));
        if let Ok(answer) = tokio::time::timeout(timeout, exchange.as_mut()).await {
            return answer;
        }
        // An answer that has arrived counts, although this process may have been stopped until now.
        self.0.desk.look().await;
        match poll_fn(|context| Poll::Ready(exchange.as_mut().poll(context))).await {
            Poll::Ready(answer) => answer,
            Poll::Pending => Ok(Err(FrameClientError::TimedOut { timeout })),
        }
    }

    /// `deadline_unix_ms` is 0 for none.
    pub(super) async fn exchange(
        &self,
        payload_protocol: u32,
        payload: Vec<u8>,
        deadline_unix_ms: u64,
    ) -> Answer {
        self.0.desk.ask(Request { payload_protocol, payload, deadline_unix_ms }).await
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
            None => Err(self.desk.reason()),
        }
    }
}

/// The wall clock's time after `left`, in milliseconds since the Unix epoch.
fn unix_ms_after(left: Duration) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_add(left).as_millis()).unwrap_or(u64::MAX)
}
