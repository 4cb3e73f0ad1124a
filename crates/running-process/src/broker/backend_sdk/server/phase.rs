//! The phase of a server's end, as threads and tasks share it.

use super::session::Phase;
use std::sync::atomic::{AtomicU8, Ordering};

/// A [`Phase`] that never goes back. The last one is `None`: what is still open ends at once.
#[derive(Debug, Default)]
pub(super) struct AtomicPhase(AtomicU8);

impl AtomicPhase {
    pub(super) fn get(&self) -> Option<Phase> {
        let phases = [Phase::Serving, Phase::Draining, Phase::Cancelling];
        phases.get(usize::from(self.0.load(Ordering::Acquire))).copied()
    }

    pub(super) fn enter(&self, phase: Option<Phase>) {
        self.0.fetch_max(phase.map_or(u8::MAX, |phase| phase as u8), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_goes_back() {
        let phase = AtomicPhase::default();
        assert_eq!(phase.get(), Some(Phase::Serving));
        for entered in [Some(Phase::Draining), Some(Phase::Cancelling), None] {
            phase.enter(entered);
            phase.enter(Some(Phase::Serving));
            assert_eq!(phase.get(), entered);
        }
    }
}
