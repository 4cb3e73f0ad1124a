//! The phases of a server's end.

use super::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Longest time for which a peer may take nothing of its output once the server drains.
pub(crate) const DRAIN_STALL: Duration = Duration::from_secs(1);

/// The phase of a server: serving, or one of those in which it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Connections are accepted and read.
    #[default]
    Serving,
    /// Another process accepts the connections. Those that are open are read and served on, and peers that can follow are told to
    /// move.
    HandedOver,
    /// The requests that were received are answered, and nothing more is received.
    Draining,
    /// Requests that are still in flight are cancelled.
    Cancelling,
}

/// A [`Phase`] that never goes back. The last one is `None`: what is still open ends at once.
#[derive(Debug, Default)]
pub(super) struct AtomicPhase(AtomicU8);

impl AtomicPhase {
    pub(super) fn get(&self) -> Option<Phase> {
        let phases = [Phase::Serving, Phase::HandedOver, Phase::Draining, Phase::Cancelling];
        phases.get(usize::from(self.0.load(Ordering::SeqCst))).copied()
    }

    pub(super) fn enter(&self, phase: Option<Phase>) {
        self.0.fetch_max(phase.map_or(u8::MAX, |phase| phase as u8), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_goes_back() {
        let phase = AtomicPhase::default();
        assert_eq!(phase.get(), Some(Phase::Serving));
        for entered in [Some(Phase::HandedOver), Some(Phase::Draining), Some(Phase::Cancelling), None] {
            phase.enter(entered);
            phase.enter(Some(Phase::Serving));
            assert_eq!(phase.get(), entered);
        }
    }
}
