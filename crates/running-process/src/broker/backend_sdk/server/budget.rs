//! One byte budget for the buffers of all connections.

use super::sync::atomic::{AtomicUsize, Ordering};

/// What each connection has to itself, at most, in bytes: a few ordinary messages.
pub(super) const LARGEST_SHARE: usize = 16 * 1024;

/// Each connection has a small share that nobody can take from it; what goes beyond comes from a common pool, half of
/// which is out of reach for peers that have not sent anything valid.
#[derive(Debug)]
pub(in super::super) struct Budget {
    share: usize,
    pool: usize,
    taken: AtomicUsize,
}

/// What one connection has taken from the pool, in bytes.
#[derive(Debug, Default)]
pub(in super::super) struct Account(usize);

impl Budget {
    /// A budget of `memory` bytes for at most `connections`.
    pub(in super::super) fn new(memory: usize, connections: usize) -> Self {
        let connections = connections.max(1);
        // Half of it for the shares at most, so that there always is a pool.
        let share = LARGEST_SHARE.min(memory / 2 / connections);
        Self { share, pool: memory - share * connections, taken: AtomicUsize::new(0) }
    }

    /// Whether half of the pool is taken.
    pub(in super::super) fn is_tight(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.pool / 2
    }

    /// The connection of `account` uses `memory` bytes now; `false` if that does not fit any more. `proven` peers may
    /// use the whole pool.
    pub(in super::super) fn settle(&self, account: &mut Account, memory: usize, proven: bool) -> bool {
        let wanted = memory.saturating_sub(self.share);
        let Some(more) = wanted.checked_sub(account.0) else {
            self.taken.fetch_sub(account.0 - wanted, Ordering::Relaxed);
            account.0 = wanted;
            return true;
        };
        let limit = if proven { self.pool } else { self.pool / 2 };
        if more > 0 && self.taken.fetch_add(more, Ordering::Relaxed) + more > limit {
            self.taken.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        account.0 = wanted;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_nobody_elses_and_the_pool_is_common() {
        let budget = Budget::new(1_000_000, 10);
        let pool = 1_000_000 - 10 * LARGEST_SHARE;
        let (mut greedy, mut modest, mut third) = <(Account, Account, Account)>::default();
        assert!(budget.settle(&mut greedy, LARGEST_SHARE + pool, true));
        assert!(budget.settle(&mut modest, LARGEST_SHARE, true));
        assert!(!budget.settle(&mut third, LARGEST_SHARE + 1, true));
        assert!(budget.settle(&mut greedy, LARGEST_SHARE + pool - 1, true));
        assert!(budget.settle(&mut third, LARGEST_SHARE + 1, true));
        for mut account in [greedy, modest, third] {
            assert!(budget.settle(&mut account, 0, true));
        }
        assert_eq!(budget.taken.into_inner(), 0);
    }

    #[test]
    fn half_of_the_pool_is_out_of_reach_for_who_has_shown_nothing() {
        let budget = Budget::new(1_000_000, 10);
        let half = (1_000_000 - 10 * LARGEST_SHARE) / 2;
        let (mut stranger, mut known) = <(Account, Account)>::default();
        assert!(budget.settle(&mut stranger, LARGEST_SHARE + half, false));
        assert!(!budget.settle(&mut stranger, LARGEST_SHARE + half + 1, false));
        assert!(budget.settle(&mut known, LARGEST_SHARE + half, true));
    }

    #[test]
    fn a_tiny_budget_leaves_a_pool() {
        let budget = Budget::new(100, 1000);
        assert!(budget.settle(&mut Account::default(), 100, true));
        assert!(!budget.settle(&mut Account::default(), 1, true));
    }
}
