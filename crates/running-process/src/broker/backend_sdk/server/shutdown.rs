//! The end of a server as a function of time.

use super::phase::Phase;
use super::stop::ServerStop;
use std::time::{Duration, Instant};

/// Time after cancelling for which refusals may still be written.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// Longest time for which the connections of a server that was handed over drain, if that is less than a quarter of its drain
/// timeout.
const LAST_DRAIN: Duration = Duration::from_secs(1);

/// The end of a server: it drains its connections, then cancels the requests in flight, and then closes what is left. If it was
/// handed over, it serves the open connections on before it drains them.
#[derive(Debug)]
pub struct Shutdown {
    stop: ServerStop,
    phase: Phase,
    /// When the phase ends; `None` is never.
    deadline: Option<Instant>,
    /// When the requests are cancelled; `None` is never.
    drained_by: Option<Instant>,
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
    /// Begins the end of a server at `now`, whose connections enter the [phase](ServerStop::phase) of `stop` and have
    /// `drain_timeout` to end. After a handover they drain one second before that, or a quarter of it if that is less.
    #[must_use]
    pub fn begin(now: Instant, drain_timeout: Duration, stop: &ServerStop) -> Self {
        let drained_by = now.checked_add(drain_timeout);
        let (phase, deadline) = if stop.phase() == Phase::HandedOver {
            let last_drain = LAST_DRAIN.min(drain_timeout / 4);
            (Phase::HandedOver, now.checked_add(drain_timeout.saturating_sub(last_drain)))
        } else {
            (Phase::Draining, drained_by)
        };
        Self { stop: stop.clone(), phase, deadline, drained_by, late: 0 }
    }

    /// Returns what to do at `now`, while so many connections are `open`. A driver also asks when the server that was handed over
    /// is stopped.
    pub fn step(&mut self, open: usize, now: Instant) -> ShutdownStep {
        if open == 0 {
            return ShutdownStep::End { late: self.late };
        }
        let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
        match self.phase {
            Phase::Serving | Phase::HandedOver if is_over || self.stop.is_stopped() => {
                (self.phase, self.deadline) = (Phase::Draining, self.drained_by);
            }
            Phase::Draining if is_over => {
                (self.phase, self.late, self.deadline) =
                    (Phase::Cancelling, open, now.checked_add(CANCEL_GRACE));
            }
            Phase::Cancelling if is_over => return ShutdownStep::End { late: self.late },
            _ => return ShutdownStep::Wait(self.deadline),
        }
        ShutdownStep::Enter(self.phase)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(5);

    fn stopped() -> ServerStop {
        let stop = ServerStop::default();
        stop.stop();
        stop
    }

    fn handed_over() -> ServerStop {
        let stop = ServerStop::default();
        stop.hand_over();
        stop
    }

    #[test]
    fn connections_that_end_in_time_are_not_late() {
        let now = Instant::now();
        let mut shutdown = Shutdown::begin(now, DRAIN, &stopped());
        assert_eq!(shutdown.step(2, now), ShutdownStep::Wait(Some(now + DRAIN)));
        assert_eq!(shutdown.step(0, now), ShutdownStep::End { late: 0 });
    }

    #[test]
    fn connections_that_are_late_are_cancelled_and_then_closed() {
        let now = Instant::now();
        let mut shutdown = Shutdown::begin(now, DRAIN, &stopped());
        let late = now + DRAIN;
        assert_eq!(shutdown.step(2, late), ShutdownStep::Enter(Phase::Cancelling));
        assert_eq!(shutdown.step(2, late), ShutdownStep::Wait(Some(late + CANCEL_GRACE)));
        assert_eq!(shutdown.step(1, late + CANCEL_GRACE), ShutdownStep::End { late: 2 });
        assert_eq!(shutdown.step(0, late), ShutdownStep::End { late: 2 });
    }

    #[test]
    fn a_drain_without_a_timeout_waits_for_ever() {
        let now = Instant::now();
        let mut shutdown = Shutdown::begin(now, Duration::MAX, &stopped());
        assert_eq!(shutdown.step(1, now + 1000 * DRAIN), ShutdownStep::Wait(None));
    }

    #[test]
    fn a_server_that_was_handed_over_serves_on_and_drains_in_the_end() {
        let now = Instant::now();
        let mut shutdown = Shutdown::begin(now, DRAIN, &handed_over());
        let drains = now + Duration::from_secs(4);
        assert_eq!(shutdown.step(2, now), ShutdownStep::Wait(Some(drains)));
        assert_eq!(shutdown.step(2, drains), ShutdownStep::Enter(Phase::Draining));
        assert_eq!(shutdown.step(2, drains), ShutdownStep::Wait(Some(now + DRAIN)));
        assert_eq!(shutdown.step(1, now + DRAIN), ShutdownStep::Enter(Phase::Cancelling));
        assert_eq!(shutdown.step(0, now + DRAIN), ShutdownStep::End { late: 1 });
    }

    #[test]
    fn a_short_drain_timeout_leaves_three_quarters_to_serve_on() {
        let now = Instant::now();
        let mut shutdown = Shutdown::begin(now, Duration::from_secs(2), &handed_over());
        assert_eq!(shutdown.step(1, now), ShutdownStep::Wait(Some(now + Duration::from_millis(1500))));
        assert_eq!(shutdown.step(0, now), ShutdownStep::End { late: 0 });
    }

    #[test]
    fn a_server_that_was_handed_over_without_a_timeout_serves_on_for_ever() {
        let now = Instant::now();
        let mut shutdown = Shutdown::begin(now, Duration::MAX, &handed_over());
        assert_eq!(shutdown.step(1, now + 1000 * DRAIN), ShutdownStep::Wait(None));
    }

    #[test]
    fn a_stop_after_the_handover_drains_at_once_and_gets_no_more_time() {
        let (now, stop) = (Instant::now(), handed_over());
        let mut shutdown = Shutdown::begin(now, DRAIN, &stop);
        let later = now + DRAIN / 2;
        assert!(matches!(shutdown.step(1, later), ShutdownStep::Wait(_)));
        stop.stop();
        assert_eq!(shutdown.step(1, later), ShutdownStep::Enter(Phase::Draining));
        assert_eq!(shutdown.step(1, later), ShutdownStep::Wait(Some(now + DRAIN)));
    }
}
