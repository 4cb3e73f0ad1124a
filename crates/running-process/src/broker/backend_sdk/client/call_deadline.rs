//! The deadline of one call.

use super::error::FrameClientError;
use super::request_options::unix_ms_after;
use crate::broker::protocol::{Refusal, RefusalReason};
use std::time::{Duration, Instant};

/// The moment until which a call waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallDeadline {
    pub(super) at: Option<Instant>,
    /// The time from the beginning of the call until `at`.
    timeout: Duration,
}

impl CallDeadline {
    pub(super) const NONE: Self = Self { at: None, timeout: Duration::ZERO };

    /// Returns the deadline `at` of a call that begins now. `clock` is asked only if there is a deadline.
    pub(super) fn new(at: Option<Instant>, clock: impl FnOnce() -> Instant) -> Self {
        at.map_or(Self::NONE, |at| Self { at: Some(at), timeout: at.saturating_duration_since(clock()) })
    }

    /// Fails if the deadline had passed when the call began.
    #[inline]
    pub(super) fn check(self) -> Result<(), FrameClientError> {
        if self.at.is_some() && self.timeout.is_zero() { Err(self.timed_out()) } else { Ok(()) }
    }

    /// Returns the deadline as the frame of a request has it: in milliseconds since the Unix epoch, 0 without one.
    #[inline]
    pub(super) fn unix_ms(self) -> u64 {
        self.at.map_or(0, |_| unix_ms_after(self.timeout))
    }

    pub(super) fn timed_out(self) -> FrameClientError {
        FrameClientError::TimedOut { timeout: self.timeout }
    }

    /// Returns the error for `refusal`. A daemon that refuses the request because the same deadline has passed is only
    /// quicker than this side.
    fn refused(self, refusal: Refusal, clock: impl FnOnce() -> Instant) -> FrameClientError {
        let passed =
            refusal.reason() == RefusalReason::DeadlinePassed && self.at.is_some_and(|at| at <= clock());
        if passed { self.timed_out() } else { FrameClientError::Refused(refusal) }
    }

    /// Returns `error`, or the timeout that it is as a [refusal](Self::refused).
    pub(super) fn timed_out_if_refused(
        self,
        error: FrameClientError,
        clock: impl FnOnce() -> Instant,
    ) -> FrameClientError {
        match error {
            FrameClientError::Refused(refusal) => self.refused(refusal, clock),
            error => error,
        }
    }
}
