//! Output that the socket does not take, and the time that its peer has to read it.

use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::server::phase::{DRAIN_STALL, Phase};
use std::time::{Duration, Instant};

/// Output that the socket did not take at once.
#[derive(Debug)]
pub(in super::super) struct BlockedWrite {
    /// The bytes that waited when the write blocked and still do.
    bytes: usize,
    deadline: Option<Instant>,
    /// When the socket last took any of them.
    last_written: Option<Instant>,
    /// The peer was given the time once more.
    extended: bool,
}

impl BlockedWrite {
    pub(in super::super) fn new(bytes: usize, now: Instant, timeout: Duration) -> Self {
        Self { bytes, deadline: now.checked_add(timeout), last_written: None, extended: false }
    }

    pub(in super::super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Shortens the deadline, because the server drains from `now` on.
    pub(in super::super) fn hasten(&mut self, now: Instant) {
        self.deadline = earliest(self.deadline, now.checked_add(DRAIN_STALL));
    }

    /// Returns what is still blocked after `bytes` were written at `now`.
    pub(in super::super) fn wrote(mut self, bytes: usize, now: Instant, phase: Phase) -> Option<Self> {
        self.bytes = self.bytes.checked_sub(bytes).filter(|left| *left > 0)?;
        self.last_written = Some(now);
        if phase >= Phase::Draining {
            // A draining server waits for a peer that reads on.
            self.deadline = now.checked_add(DRAIN_STALL);
        }
        Some(self)
    }

    /// Returns whether the peer had its time to read. If it took some of the output after the deadline, this process may
    /// have been stopped meanwhile: the peer then has `timeout` once more, for the `unwritten` bytes.
    pub(in super::super) fn has_expired(
        &mut self,
        now: Instant,
        unwritten: usize,
        timeout: Duration,
    ) -> bool {
        let Some(deadline) = self.deadline.filter(|deadline| *deadline <= now) else { return false };
        if self.extended || self.last_written.is_none_or(|at| at < deadline) {
            return true;
        }
        *self = Self { extended: true, ..Self::new(unwritten, now, timeout) };
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn a_peer_that_reads_nothing_has_one_timeout() {
        let now = Instant::now();
        let mut blocked = BlockedWrite::new(100, now, TIMEOUT);
        assert!(!blocked.has_expired(now + TIMEOUT / 2, 100, TIMEOUT));
        assert!(blocked.has_expired(now + TIMEOUT, 100, TIMEOUT));
    }

    #[test]
    fn a_peer_that_reads_after_the_deadline_has_one_more() {
        let now = Instant::now();
        let late = now + 2 * TIMEOUT;
        let mut blocked = BlockedWrite::new(100, now, TIMEOUT).wrote(10, late, Phase::Serving).unwrap();
        assert!(!blocked.has_expired(late, 90, TIMEOUT));
        let again = late + TIMEOUT;
        let mut blocked = blocked.wrote(10, again, Phase::Serving).unwrap();
        assert!(blocked.has_expired(again, 80, TIMEOUT));
    }

    #[test]
    fn a_peer_that_reads_at_the_deadline_itself_has_one_more() {
        let now = Instant::now();
        let at = now + TIMEOUT;
        let mut blocked = BlockedWrite::new(100, now, TIMEOUT).wrote(10, at, Phase::Serving).unwrap();
        assert!(!blocked.has_expired(at, 90, TIMEOUT));
        assert_eq!(blocked.deadline(), Some(at + TIMEOUT));
    }

    #[test]
    fn output_that_was_written_blocks_no_more() {
        let now = Instant::now();
        assert!(BlockedWrite::new(100, now, TIMEOUT).wrote(100, now, Phase::Serving).is_none());
    }

    #[test]
    fn a_draining_server_waits_a_second_after_each_read() {
        let now = Instant::now();
        let mut blocked = BlockedWrite::new(100, now, TIMEOUT);
        blocked.hasten(now);
        assert_eq!(blocked.deadline(), Some(now + DRAIN_STALL));
        let later = now + DRAIN_STALL / 2;
        let blocked = blocked.wrote(1, later, Phase::Draining).unwrap();
        assert_eq!(blocked.deadline(), Some(later + DRAIN_STALL));
    }
}
