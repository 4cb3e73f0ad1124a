//! The end of a server without work, as a function of its connections and of time.

use std::time::{Duration, Instant};

/// Time for which connections that waited when an idle server ended are served as ever, before they drain.
pub(super) const BACKLOG_TIMEOUT: Duration = Duration::from_secs(1);

/// Shortest time for which the daemon of a service waits for its first client.
const FIRST_CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The times without work after which a server ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdleTimeouts {
    /// Once it has had work.
    pub(super) after_work: Duration,
    /// Before its first work.
    pub(super) before_work: Duration,
}

impl IdleTimeouts {
    /// Returns the times of a server that ends after `timeout`. The daemon of a service waits longer for its first client: the
    /// one that has started it is on its way.
    pub(super) fn of(timeout: Duration, is_service: bool) -> Self {
        let before_work = if is_service { timeout.max(FIRST_CLIENT_TIMEOUT) } else { timeout };
        Self { after_work: timeout, before_work }
    }
}

/// The time since which a server has no work, which is an open connection.
///
/// One thread or task of the driver takes the [steps](Self::step) and waits in between. The others tell when the last open
/// connection has ended, and wake that one only if it waits without a deadline.
#[derive(Debug)]
pub(super) struct IdleExit {
    timeouts: IdleTimeouts,
    has_worked: bool,
    /// When the last connection ended, or the server was registered; `None` before that.
    since: Option<Instant>,
    /// No deadline is waited for.
    waits: bool,
}

/// The next step of a server that ends when it is idle.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IdleStep {
    /// Wait until this moment, or until a [call](IdleExit::idle_since) returns `true`.
    Wait(Option<Instant>),
    /// End the server.
    Exit,
}

impl IdleExit {
    /// Returns the state of a server that ends after these times without work, and that is not registered yet.
    pub(super) fn new(timeouts: IdleTimeouts) -> Self {
        Self { timeouts, has_worked: false, since: None, waits: false }
    }

    /// Notes that the server is registered at `now`, from which on it may be idle. Returns whether to take a step.
    pub(super) fn registered(&mut self, now: Instant) -> bool {
        self.since = Some(now);
        std::mem::take(&mut self.waits)
    }

    /// Notes that the last open connection ended at `now`. Returns whether to take a step.
    pub(super) fn emptied(&mut self, now: Instant) -> bool {
        self.has_worked = true;
        self.since.is_some() && self.registered(now)
    }

    /// Returns the next step at `now`, while so many connections are `open`.
    pub(super) fn step(&mut self, open: usize, now: Instant) -> IdleStep {
        let since = self.since.filter(|_| open == 0);
        let IdleTimeouts { after_work, before_work } = self.timeouts;
        let timeout = if self.has_worked { after_work } else { before_work };
        let deadline = since.and_then(|since| since.checked_add(timeout));
        self.waits = deadline.is_none();
        match deadline {
            Some(deadline) if deadline <= now => IdleStep::Exit,
            deadline => IdleStep::Wait(deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    fn registered(now: Instant) -> IdleExit {
        let mut idle = IdleExit::new(IdleTimeouts::of(TIMEOUT, false));
        idle.registered(now);
        idle
    }

    #[test]
    fn a_server_is_idle_only_once_it_is_registered() {
        let now = Instant::now();
        let mut idle = IdleExit::new(IdleTimeouts::of(TIMEOUT, false));
        assert_eq!(idle.step(0, now), IdleStep::Wait(None));
        assert!(!idle.emptied(now), "a connection before that changes nothing");
        assert!(idle.registered(now + TIMEOUT), "the waiter has no deadline");
        assert_eq!(idle.step(0, now + TIMEOUT), IdleStep::Wait(Some(now + 2 * TIMEOUT)));
        assert_eq!(idle.step(0, now + 2 * TIMEOUT), IdleStep::Exit);
    }

    #[test]
    fn an_open_connection_is_work() {
        let now = Instant::now();
        let mut idle = registered(now);
        assert_eq!(idle.step(1, now + 2 * TIMEOUT), IdleStep::Wait(None));
        let ended = now + 3 * TIMEOUT;
        assert!(idle.emptied(ended));
        assert_eq!(idle.step(0, ended), IdleStep::Wait(Some(ended + TIMEOUT)));
        assert_eq!(idle.step(0, ended + TIMEOUT), IdleStep::Exit);
    }

    #[test]
    fn connections_that_come_and_go_wake_no_waiter_with_a_deadline() {
        let now = Instant::now();
        let mut idle = registered(now);
        assert_eq!(idle.step(0, now), IdleStep::Wait(Some(now + TIMEOUT)));
        let ended = now + TIMEOUT / 2;
        assert!(!idle.emptied(ended) && !idle.emptied(ended));
        assert_eq!(idle.step(0, now + TIMEOUT), IdleStep::Wait(Some(ended + TIMEOUT)));
    }

    #[test]
    fn a_timeout_beyond_all_time_never_passes() {
        let now = Instant::now();
        let mut idle = IdleExit::new(IdleTimeouts::of(Duration::MAX, true));
        idle.registered(now);
        assert_eq!(idle.step(0, now + 1000 * TIMEOUT), IdleStep::Wait(None));
    }

    #[test]
    fn a_server_may_wait_longer_for_its_first_work() {
        let now = Instant::now();
        let mut idle = IdleExit::new(IdleTimeouts { after_work: TIMEOUT, before_work: 5 * TIMEOUT });
        idle.registered(now);
        assert_eq!(idle.step(0, now), IdleStep::Wait(Some(now + 5 * TIMEOUT)));
        assert_eq!(idle.step(1, now), IdleStep::Wait(None));
        idle.emptied(now + TIMEOUT);
        assert_eq!(idle.step(0, now + TIMEOUT), IdleStep::Wait(Some(now + 2 * TIMEOUT)));
    }
}
