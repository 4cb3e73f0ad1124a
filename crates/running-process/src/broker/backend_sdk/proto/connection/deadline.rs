//! The deadlines of a connection.

use super::{Connection, LegacyClassification, WaitingFor, WireState};
use crate::broker::backend_sdk::proto::deadline::earliest;
use std::time::Instant;

impl<F> Connection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Takes the time. Past the [`deadline`](Self::deadline), the next event judges the message that was waited for.
    ///
    /// A driver reads once more, without waiting, before it calls this: after a process was stopped, or a machine asleep,
    /// what the peer sent in time has arrived and was not read.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expired = self.deadline().is_some_and(|deadline| deadline <= now);
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) if nothing arrives before; `None` is never.
    ///
    /// Holds once [`next_event`](Self::next_event) has returned `None`, until something arrives or is written.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let message = match self.waiting_for()? {
            WaitingFor::FirstMessage => self.opened.checked_add(self.config.first_message_timeout),
            WaitingFor::RestOfMessage => self.message_began.checked_add(self.config.message_timeout),
            WaitingFor::MessageAfterProbe => self.last_activity.checked_add(self.config.probed_timeout),
            WaitingFor::NextMessage => self.last_activity.checked_add(self.config.idle_timeout?),
        };
        // A peer that keeps on sending while a frame is held back gains no time beyond the message's own.
        let held_back = self.held_back.then_some(self.last_received);
        earliest(message, held_back.and_then(|at| at.checked_add(self.config.undecided_frame_timeout)))
    }

    pub(crate) fn waiting_for(&self) -> Option<WaitingFor> {
        match self.wire {
            WireState::Over => None,
            WireState::Undecided | WireState::Probed | WireState::Framed if self.blocked.is_some() => None,
            WireState::Undecided => Some(WaitingFor::FirstMessage),
            WireState::Probed | WireState::Framed if !self.input.is_empty() => {
                Some(WaitingFor::RestOfMessage)
            }
            WireState::Probed | WireState::Framed if self.busy => None,
            WireState::Probed => Some(WaitingFor::MessageAfterProbe),
            WireState::Framed => Some(WaitingFor::NextMessage),
        }
    }

    /// Sets whether the peer waits for answers: then it is not idle.
    pub(crate) fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// Notes that bytes were received or written at `now`.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.last_activity = now;
    }

    /// Returns when a byte was last received or written.
    pub(crate) fn last_activity(&self) -> Instant {
        self.last_activity
    }
}
