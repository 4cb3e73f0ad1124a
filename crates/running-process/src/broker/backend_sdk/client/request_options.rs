//! Options of one request, for every client.

use crate::broker::backend_sdk::proto::client_connection::RequestHead;
use crate::broker::protocol::MAX_FRAME_DESCRIPTORS;
use crate::descriptor::PASSES_DESCRIPTORS;
use std::time::{Duration, Instant, SystemTime};

/// The fields of a request beside its payload. The blocking and the asynchronous client take the same.
///
/// ```
/// use running_process::broker::backend_sdk::RequestOptions;
/// use std::time::Duration;
///
/// let options = RequestOptions::new()
///     .with_timeout(Duration::from_secs(30))
///     .with_trace_context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestOptions {
    /// The moment at which the caller stops waiting. Default: none.
    ///
    /// The client keeps it by the monotonic clock. The daemon is told the same moment by the wall clock, in milliseconds since
    /// the Unix epoch and rounded up, so a step of the wall clock moves it for the daemon alone.
    pub deadline: Option<Instant>,
    /// The `traceparent` of W3C Trace Context. Default: empty, which is none.
    pub traceparent: String,
    /// The `tracestate` of W3C Trace Context. Default: empty, which is none.
    pub tracestate: String,
    /// The most descriptors that are taken with the response, and with each event, at most
    /// [`MAX_FRAME_DESCRIPTORS`](crate::broker::protocol::MAX_FRAME_DESCRIPTORS). The daemon is told it, and a frame with more ends the connection.
    /// Default: 0, none; a daemon then sends a payload that is a file as bytes.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows no descriptors are passed, and this has no effect.
    pub max_descriptors: usize,
}

/// The descriptors that a client takes with one frame if its caller wants a [`Reply`](super::Reply) and has set no number.
const DEFAULT_MAX_DESCRIPTORS: usize = 16;

impl RequestOptions {
    /// Returns options without a deadline and trace context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the deadline to `timeout` from now. A time that no clock can hold is no deadline.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// Sets `traceparent` and `tracestate`, which the daemon's answer repeats.
    #[must_use]
    pub fn with_trace_context(
        mut self,
        traceparent: impl Into<String>,
        tracestate: impl Into<String>,
    ) -> Self {
        (self.traceparent, self.tracestate) = (traceparent.into(), tracestate.into());
        self
    }

    /// Takes so many descriptors with the response, and with each event.
    #[must_use]
    pub fn with_max_descriptors(mut self, max_descriptors: usize) -> Self {
        self.max_descriptors = max_descriptors;
        self
    }

    /// Returns the options of a request whose caller takes descriptors: 16, if they say none.
    pub(super) fn of_reply(&self) -> Self {
        let max_descriptors = match self.max_descriptors {
            0 => DEFAULT_MAX_DESCRIPTORS,
            most => most,
        };
        Self { max_descriptors, ..self.clone() }
    }

    /// Returns whether there is more than a deadline.
    #[cfg(feature = "tokio")]
    pub(super) fn has_fields(&self) -> bool {
        !self.traceparent.is_empty() || !self.tracestate.is_empty() || self.max_descriptors > 0
    }

    /// Returns the fields of the frame, with the deadline `deadline_unix_ms`.
    #[inline]
    pub(super) fn head(&self, deadline_unix_ms: u64, events: bool) -> RequestHead<'_> {
        let Self { traceparent, tracestate, max_descriptors, .. } = self;
        let most = if PASSES_DESCRIPTORS { (*max_descriptors).min(MAX_FRAME_DESCRIPTORS) } else { 0 };
        let accepted_descriptors = u8::try_from(most).unwrap_or(u8::MAX);
        RequestHead { deadline_unix_ms, traceparent, tracestate, events, accepted_descriptors }
    }
}

/// Returns the wall clock's time in `left` from now, in milliseconds since the Unix epoch. It is rounded up, so that the daemon
/// gives up no earlier than its client.
pub(super) fn unix_ms_after(left: Duration) -> u64 {
    const UP: Duration = Duration::from_nanos(999_999);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_add(left).saturating_add(UP).as_millis()).unwrap_or(u64::MAX)
}
