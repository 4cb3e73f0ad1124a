//! One byte budget for the buffers of all connections.

use super::sync::atomic::{AtomicUsize, Ordering};

/// What each connection has to itself, at most, in bytes: a few ordinary messages.
pub(super) const LARGEST_SHARE: usize = 16 * 1024;

/// Each connection has a small share that nobody can take from it; what goes beyond comes from a common pool, half of
/// which is out of reach for peers that the daemon has not said it serves.
#[derive(Debug)]
pub(crate) struct Budget {
    share: usize,
    pool: usize,
    taken: AtomicUsize,
}

/// What one connection has taken from the pool, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Reservation(usize);

impl Budget {
    /// A budget of `memory` bytes for at most `connections`.
    pub(crate) fn new(memory: usize, connections: usize) -> Self {
        let connections = connections.max(1);
        // Half of it for the shares at most, so that there always is a pool.
        let share = LARGEST_SHARE.min(memory / 2 / connections);
        Self { share, pool: memory - share * connections, taken: AtomicUsize::new(0) }
    }

    /// Whether half of the pool is taken.
    pub(crate) fn is_tight(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.pool / 2
    }

    /// Takes what the connection of `reservation` needs beyond its share to use `memory` bytes from the pool, or gives back what
    /// it does not need any more; `false` if the pool does not have it. Peers that are `served` may use the whole pool.
    ///
    /// An attempt that fails takes nothing, not even for a moment: no other connection is refused because of it.
    pub(crate) fn charge(&self, reservation: &mut Reservation, memory: usize, served: bool) -> bool {
        let wanted = memory.saturating_sub(self.share);
        if wanted < reservation.0 {
            self.taken.fetch_sub(reservation.0 - wanted, Ordering::Relaxed);
        } else if wanted > reservation.0 {
            let (more, limit) = (wanted - reservation.0, self.limit(served));
            let take = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= limit);
            if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                return false;
            }
        }
        reservation.0 = wanted;
        true
    }

    /// Returns whether the connection of `reservation` could use `memory` bytes now.
    pub(crate) fn affords(&self, reservation: &Reservation, memory: usize, served: bool) -> bool {
        let more = memory.saturating_sub(self.share).saturating_sub(reservation.0);
        more == 0 || self.taken.load(Ordering::Relaxed).saturating_add(more) <= self.limit(served)
    }

    fn limit(&self, served: bool) -> usize {
        if served { self.pool } else { self.pool / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_nobody_elses_and_the_pool_is_common() {
        let budget = Budget::new(1_000_000, 10);
        let pool = 1_000_000 - 10 * LARGEST_SHARE;
        let (mut greedy, mut modest, mut third) = <(Reservation, Reservation, Reservation)>::default();
        assert!(budget.charge(&mut greedy, LARGEST_SHARE + pool, true));
        assert!(budget.charge(&mut modest, LARGEST_SHARE, true));
        assert!(!budget.charge(&mut third, LARGEST_SHARE + 1, true));
        assert!(budget.charge(&mut greedy, LARGEST_SHARE + pool - 1, true));
        assert!(budget.charge(&mut third, LARGEST_SHARE + 1, true));
        for mut reservation in [greedy, modest, third] {
            assert!(budget.charge(&mut reservation, 0, true));
        }
        assert_eq!(budget.taken.into_inner(), 0);
    }

    #[test]
    fn half_of_the_pool_is_out_of_reach_for_strangers() {
        let budget = Budget::new(1_000_000, 10);
        let half = (1_000_000 - 10 * LARGEST_SHARE) / 2;
        let (mut stranger, mut known) = <(Reservation, Reservation)>::default();
        assert!(budget.charge(&mut stranger, LARGEST_SHARE + half, false));
        assert!(!budget.charge(&mut stranger, LARGEST_SHARE + half + 1, false));
        assert!(!budget.affords(&stranger, LARGEST_SHARE + half + 1, false));
        assert!(budget.affords(&known, LARGEST_SHARE + half, true));
        assert!(budget.charge(&mut known, LARGEST_SHARE + half, true));
        assert!(!budget.affords(&known, LARGEST_SHARE + half + 1, true));
    }

    #[test]
    fn a_tiny_budget_leaves_a_pool() {
        let budget = Budget::new(100, 1000);
        assert!(budget.charge(&mut Reservation::default(), 100, true));
        assert!(!budget.charge(&mut Reservation::default(), 1, true));
    }
}
