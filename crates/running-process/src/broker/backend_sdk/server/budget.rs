//! One byte budget for the buffers of all connections.

use super::sync::atomic::{AtomicUsize, Ordering};

/// Largest share of one connection, in bytes: a few ordinary messages.
pub(super) const LARGEST_SHARE: usize = 16 * 1024;

/// A budget of bytes. Each connection has a small share of its own and takes more from a common pool. Half of the pool is
/// reserved for peers that the daemon's rule has accepted.
#[derive(Debug)]
pub(crate) struct Budget {
    share: usize,
    pool: usize,
    taken: AtomicUsize,
}

/// The bytes that one connection has taken from the pool.
#[derive(Debug, Default)]
pub(crate) struct Reservation(usize);

impl Budget {
    /// Returns a budget of `memory` bytes for at most `connections`.
    pub(crate) fn new(memory: usize, connections: usize) -> Self {
        let connections = connections.max(1);
        // The shares take half of it at most, so that there always is a pool.
        let share = LARGEST_SHARE.min(memory / 2 / connections);
        Self { share, pool: memory - share * connections, taken: AtomicUsize::new(0) }
    }

    /// Returns whether half of the pool is taken.
    pub(crate) fn is_tight(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.pool / 2
    }

    /// Changes `reservation` so that its connection may use `memory` bytes: takes bytes beyond the share from the pool, or
    /// returns those that it does not need any more. Returns `false` if the pool has too few. Peers that are `served` may use
    /// the whole pool.
    ///
    /// An attempt that fails takes nothing, not even for a moment: no other connection is refused because of it.
    #[inline]
    pub(crate) fn charge(&self, reservation: &mut Reservation, memory: usize, served: bool) -> bool {
        let wanted = memory.saturating_sub(self.share);
        wanted == reservation.0 || self.change(reservation, wanted, served)
    }

    /// Changes `reservation` to `wanted` bytes of the pool.
    fn change(&self, reservation: &mut Reservation, wanted: usize, served: bool) -> bool {
        if wanted < reservation.0 {
            self.taken.fetch_sub(reservation.0 - wanted, Ordering::Relaxed);
        } else {
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
    #[inline]
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
    fn a_share_belongs_to_one_connection_and_the_pool_to_all() {
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
    fn half_of_the_pool_is_reserved_for_peers_that_are_served() {
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
    fn a_tiny_budget_still_has_a_pool() {
        let budget = Budget::new(100, 1000);
        assert!(budget.charge(&mut Reservation::default(), 100, true));
        assert!(!budget.charge(&mut Reservation::default(), 1, true));
    }
}
