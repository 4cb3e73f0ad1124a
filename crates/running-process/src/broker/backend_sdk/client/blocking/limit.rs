//! The deadline until which a call of the blocking client waits.

use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::request_options::RequestOptions;
use crate::broker::protocol::{Refusal, RefusalReason};
use std::time::{Duration, Instant};

/// The deadline until which a call waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) at: Option<Instant>,
    /// Time that was left until `at` when the call began.
    pub(super) timeout: Duration,
}

impl Limit {
    pub(super) const NONE: Self = Self { at: None, timeout: Duration::ZERO };

    pub(super) fn new(at: Option<Instant>, now: Instant) -> Self {
        Self { at, timeout: at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)) }
    }

    /// The deadline that the caller gave, which the daemon is told.
    pub(super) fn of(options: &RequestOptions) -> Self {
        options.deadline.map_or(Self::NONE, |deadline| Self::new(Some(deadline), Instant::now()))
    }

    /// Returns the error that a refusal is. A daemon whose deadline passes at the same moment may be quicker to say so than this
    /// side is to notice.
    pub(super) fn judge(self, refusal: Refusal) -> FrameClientError {
        let passed = self.at.is_some_and(|at| at <= Instant::now());
        if passed && refusal.reason() == RefusalReason::DeadlinePassed {
            return FrameClientError::TimedOut { timeout: self.timeout };
        }
        FrameClientError::Refused(refusal)
    }
}
