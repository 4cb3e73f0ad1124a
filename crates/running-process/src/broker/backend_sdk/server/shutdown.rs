//! The end of a server as a function of time.

use super::phase::Phase;
use std::time::{Duration, Instant};

/// Time after cancelling for which refusals may still be written.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// The end of a server: it drains its connections, then cancels the requests in flight, and then closes what is left.
#[derive(Debug)]
pub struct Shutdown {
    phase: Phase,
    /// When the phase ends; `None` is never.
    deadline: Option<Instant>,
    /// Connections that were open when the drain timed out.
    late: usize,
}

/// The next step of a server that ends.
#[derive(Debug, PartialEq, Eq)]
pub enum ShutdownStep {
    /// Wait until a connection has ended, or until this moment.
    Wait(Option<Instant>),
    /// Make every connection [enter](super::ServerSession::enter) this phase.
    Enter(Phase),
    /// Close the connections that are still open.
    End {
        /// Number of connections that were open when the drain timed out.
        late: usize,
    },
}

impl Shutdown {
    /// Begins the end of a server at `now`, whose connections enter [`Phase::Draining`] and have `drain_timeout` to end.
    #[must_use]
    pub fn begin(now: Instant, drain_timeout: Duration) -> Self {
        Self { phase: Phase::Draining, deadline: now.checked_add(drain_timeout), late: 0 }
    }

    /// Returns what to do at `now`, while so many connections are `open`.
    pub fn step(&mut self, open: usize, now: Instant) -> ShutdownStep {
        if open == 0 {
            return ShutdownStep::End { late: self.late };
        }
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return ShutdownStep::Wait(self.deadline);
        }
        if self.phase == Phase::Cancelling {
            return ShutdownStep::End { late: self.late };
        }
        (self.phase, self.late, self.deadline) = (Phase::Cancelling, open, now.checked_add(CANCEL_GRACE));
        ShutdownStep::Enter(Phase::Cancelling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(5);

    #[test]
    fn connections_that_end_in_time_are_not_late() {
        let now = Instant::now();
        let mut shutdown = Shutdown::begin(now, DRAIN);
        assert_eq!(shutdown.step(2, now), ShutdownStep::Wait(Some(now + DRAIN)));
        assert_eq!(shutdown.step(0, now), ShutdownStep::End { late: 0 });
    }

    #[test]
    fn connections_that_are_late_are_cancelled_and_then_closed() {
        let now = Instant::now();
        let mut shutdown = Shutdown::begin(now, DRAIN);
        let late = now + DRAIN;
        assert_eq!(shutdown.step(2, late), ShutdownStep::Enter(Phase::Cancelling));
        assert_eq!(shutdown.step(2, late), ShutdownStep::Wait(Some(late + CANCEL_GRACE)));
        assert_eq!(shutdown.step(1, late + CANCEL_GRACE), ShutdownStep::End { late: 2 });
        assert_eq!(shutdown.step(0, late), ShutdownStep::End { late: 2 });
    }

    #[test]
    fn a_drain_without_a_timeout_waits_for_ever() {
        let now = Instant::now();
        let mut shutdown = Shutdown::begin(now, Duration::MAX);
        assert_eq!(shutdown.step(1, now + 1000 * DRAIN), ShutdownStep::Wait(None));
    }
}
