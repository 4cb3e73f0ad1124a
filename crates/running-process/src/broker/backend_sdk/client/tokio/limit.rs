//! The deadline until which a caller waits.

use super::queue::{Desk, Request, Response};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::request_options::{RequestOptions, unix_ms_after};
use crate::broker::protocol::RefusalReason;
use crate::broker::runtime_clock::now;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) at: Option<Instant>,
    /// Time that was left until `at` when the request began.
    timeout: Duration,
}

impl Limit {
    pub(super) fn of(options: Option<&RequestOptions>) -> Self {
        let at = options.and_then(|options| options.deadline);
        Self { at, timeout: at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now())) }
    }

    /// Fails if it has passed already.
    pub(super) fn check(self) -> Result<(), FrameClientError> {
        if self.at.is_some() && self.timeout.is_zero() { Err(self.timed_out()) } else { Ok(()) }
    }

    /// The request that tells the daemon of it.
    pub(super) fn request(
        self,
        payload_protocol: u32,
        payload: Vec<u8>,
        options: Option<&RequestOptions>,
        streamed: bool,
    ) -> Request {
        let deadline_unix_ms = self.at.map_or(0, |_| unix_ms_after(self.timeout));
        let says_more =
            |options: &&RequestOptions| !options.traceparent.is_empty() || !options.tracestate.is_empty();
        let options = options.filter(says_more).cloned().map(Box::new);
        Request { payload_protocol, payload, deadline_unix_ms, options, streamed }
    }

    /// Returns the output of `work`, unless the deadline passes before. An answer that has arrived counts, although this
    /// process may have been stopped until now.
    pub(super) async fn wait<T>(
        self,
        desk: &Desk,
        work: impl Future<Output = T>,
    ) -> Result<T, FrameClientError> {
        let Some(at) = self.at else { return Ok(work.await) };
        let mut work = pin!(work);
        if let Ok(done) = tokio::time::timeout_at(at.into(), work.as_mut()).await {
            return Ok(done);
        }
        desk.look().await;
        match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
            Poll::Ready(done) => Ok(done),
            Poll::Pending => Err(self.timed_out()),
        }
    }

    /// A daemon whose deadline passes at the same moment may be quicker to say so than this side is to notice.
    pub(super) fn judge(self, response: Response) -> Response {
        response.map_err(|error| match error {
            FrameClientError::Refused(refusal)
                if refusal.reason() == RefusalReason::DeadlinePassed
                    && self.at.is_some_and(|at| at <= now()) =>
            {
                self.timed_out()
            }
            error => error,
        })
    }

    fn timed_out(self) -> FrameClientError {
        FrameClientError::TimedOut { timeout: self.timeout }
    }
}
