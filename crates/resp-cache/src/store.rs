//! Keys, values and deadlines.
//!
//! The caller passes the time. A key whose deadline is not after `now` does not exist for any operation. Its memory is
//! freed when an operation names the key, or by [`Store::sweep`] in the order of the deadlines.

use crate::{glob, resp};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The keys and values of a cache.
#[derive(Debug)]
pub struct Store {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// Exactly the entries with a deadline. Only [`Store::insert`] and [`Store::take`] update this and `bytes`.
    deadlines: BTreeSet<(Instant, Arc<[u8]>)>,
    /// Size of all keys and values in bytes.
    bytes: usize,
    started: Instant,
    pub(crate) stats: Stats,
}

#[derive(Debug)]
struct Entry {
    value: Box<[u8]>,
    deadline: Option<Instant>,
}

/// Counters since the store was created, except for `connected_clients`, which is a current number.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) connected_clients: usize,
    pub(crate) connections_received: u64,
    pub(crate) commands_processed: u64,
    pub(crate) expired_keys: u64,
    pub(crate) keyspace_hits: u64,
    pub(crate) keyspace_misses: u64,
}

/// The deadline that a key gets when it is set.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    #[default]
    Never,
    At(Instant),
    /// The deadline that the key had; none for a new key.
    Keep,
}

/// The condition for setting a key.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    #[default]
    Always,
    IfMissing,
    IfPresent,
}

/// The remaining lifetime of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ttl {
    Missing,
    Never,
    /// A duration above zero.
    Left(Duration),
}

/// The reason why a value cannot be incremented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IncrementError {
    NotAnInteger,
    Overflow,
}

impl Store {
    /// Creates an empty store whose uptime counts from `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            entries: HashMap::new(),
            deadlines: BTreeSet::new(),
            bytes: 0,
            started: now,
            stats: Stats::default(),
        }
    }

    /// Returns the value of a key and counts a hit or a miss.
    pub(crate) fn get(&mut self, key: &[u8], now: Instant) -> Option<&[u8]> {
        self.expire(key, now);
        let value = self.entries.get(key).map(|entry| &*entry.value);
        match value {
            Some(_) => self.stats.keyspace_hits += 1,
            None => self.stats.keyspace_misses += 1,
        }
        value
    }

    /// Returns whether a key exists.
    pub(crate) fn contains(&mut self, key: &[u8], now: Instant) -> bool {
        self.expire(key, now);
        self.entries.contains_key(key)
    }

    /// Sets a key if the condition holds, and returns whether it did.
    ///
    /// A deadline that is not after `now` is allowed; the key expires at once.
    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: &[u8],
        condition: Condition,
        expiry: Expiry,
        now: Instant,
    ) -> bool {
        let allowed = match condition {
            Condition::Always => true,
            Condition::IfMissing => !self.contains(key, now),
            Condition::IfPresent => self.contains(key, now),
        };
        if allowed {
            self.expire(key, now);
            let (key, old) = match self.take(key) {
                Some((key, old)) => (key, old.deadline),
                None => (Arc::from(key), None),
            };
            let deadline = match expiry {
                Expiry::Never => None,
                Expiry::At(deadline) => Some(deadline),
                Expiry::Keep => old,
            };
            self.insert(key, Entry { value: value.into(), deadline });
        }
        allowed
    }

    /// Removes a key and returns whether it existed.
    pub(crate) fn remove(&mut self, key: &[u8], now: Instant) -> bool {
        self.expire(key, now);
        self.take(key).is_some()
    }

    /// Adds `by` to a key's integer and returns the sum. A missing key counts as 0. The deadline stays.
    ///
    /// # Errors
    ///
    /// The value is not an integer in canonical form, or the sum is out of the range of `i64`. Then nothing changes.
    pub(crate) fn increment(&mut self, key: &[u8], by: i64, now: Instant) -> Result<i64, IncrementError> {
        self.expire(key, now);
        let value = match self.entries.get(key) {
            Some(entry) => resp::integer(&entry.value).ok_or(IncrementError::NotAnInteger)?,
            None => 0,
        };
        let sum = value.checked_add(by).ok_or(IncrementError::Overflow)?;
        self.set(key, sum.to_string().as_bytes(), Condition::Always, Expiry::Keep, now);
        Ok(sum)
    }

    /// Returns the keys that match a glob pattern, in no order.
    pub(crate) fn keys(&self, pattern: &[u8], now: Instant) -> impl Iterator<Item = &[u8]> {
        let live = self
            .entries
            .iter()
            .filter(move |(_, entry)| entry.deadline.is_none_or(|deadline| deadline > now));
        live.map(|(key, _)| &**key).filter(move |key| glob::matches(pattern, key))
    }

    /// Returns the remaining lifetime of a key.
    pub(crate) fn ttl(&mut self, key: &[u8], now: Instant) -> Ttl {
        self.expire(key, now);
        match self.entries.get(key).map(|entry| entry.deadline) {
            None => Ttl::Missing,
            Some(None) => Ttl::Never,
            Some(Some(deadline)) => Ttl::Left(deadline - now),
        }
    }

    /// Removes all expired keys and returns the number of the others. Takes time linear in the number of expired keys.
    pub(crate) fn len(&mut self, now: Instant) -> usize {
        self.sweep(now, usize::MAX);
        self.entries.len()
    }

    /// Returns the remaining lifetime of each key with a deadline; zero for an expired key that is not removed yet.
    pub(crate) fn lifetimes(&self, now: Instant) -> impl ExactSizeIterator<Item = Duration> {
        self.deadlines.iter().map(move |(deadline, _)| deadline.saturating_duration_since(now))
    }

    /// Returns the size of all keys and values in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the time since the store was created.
    pub(crate) fn uptime(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Removes all keys.
    pub(crate) fn clear(&mut self) {
        self.entries = HashMap::new();
        self.deadlines = BTreeSet::new();
        self.bytes = 0;
    }

    /// Removes at most `limit` expired keys, the oldest deadlines first, and returns their number.
    ///
    /// Each key costs the logarithm of the number of keys with a deadline. A call without expired keys reads one deadline.
    pub(crate) fn sweep(&mut self, now: Instant, limit: usize) -> usize {
        let mut removed = 0;
        while removed < limit {
            match self.deadlines.first() {
                Some((deadline, key)) if *deadline <= now => {
                    let key = Arc::clone(key);
                    self.expire(&key, now);
                    removed += 1;
                }
                _ => break,
            }
        }
        removed
    }

    /// Returns the time at which the next key expires.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Removes a key whose deadline is not after `now`.
    fn expire(&mut self, key: &[u8], now: Instant) {
        // No key at all has expired, so the lookup is not needed.
        if self.next_deadline().is_none_or(|first| first > now) {
            return;
        }
        let deadline = self.entries.get(key).and_then(|entry| entry.deadline);
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.take(key);
            self.stats.expired_keys += 1;
        }
    }

    /// Removes a key with its entry.
    fn take(&mut self, key: &[u8]) -> Option<(Arc<[u8]>, Entry)> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.bytes -= key.len() + entry.value.len();
        let Some(deadline) = entry.deadline else { return Some((key, entry)) };
        let indexed = (deadline, key);
        self.deadlines.remove(&indexed);
        Some((indexed.1, entry))
    }

    /// Adds a key that is not in the store.
    fn insert(&mut self, key: Arc<[u8]>, entry: Entry) {
        self.bytes += key.len() + entry.value.len();
        if let Some(deadline) = entry.deadline {
            self.deadlines.insert((deadline, Arc::clone(&key)));
        }
        self.entries.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn set(store: &mut Store, key: &str, value: &str, expiry: Expiry, now: Instant) {
        assert!(store.set(key.as_bytes(), value.as_bytes(), Condition::Always, expiry, now));
    }

    #[test]
    fn a_key_expires_at_its_deadline() {
        let now = Instant::now();
        let mut store = Store::new(now);
        set(&mut store, "k", "v", Expiry::At(now + SECOND), now);
        let last = now + Duration::from_nanos(999_999_999);
        assert_eq!(store.get(b"k", last), Some(&b"v"[..]));
        assert_eq!(store.ttl(b"k", last), Ttl::Left(Duration::from_nanos(1)));
        assert_eq!(store.keys(b"*", now + SECOND).count(), 0);
        assert_eq!(store.ttl(b"k", now + SECOND), Ttl::Missing);
        assert_eq!(store.get(b"k", now + SECOND), None);
        assert_eq!(
            store.stats,
            Stats { expired_keys: 1, keyspace_hits: 1, keyspace_misses: 1, ..Stats::default() }
        );
    }

    #[test]
    fn setting_a_key_again_drops_or_keeps_its_deadline() {
        let now = Instant::now();
        let mut store = Store::new(now);
        set(&mut store, "k", "1", Expiry::At(now + SECOND), now);
        set(&mut store, "k", "2", Expiry::Keep, now);
        assert_eq!(store.increment(b"k", 1, now), Ok(3));
        assert_eq!(store.ttl(b"k", now), Ttl::Left(SECOND));
        set(&mut store, "k", "4", Expiry::Never, now);
        assert_eq!(store.ttl(b"k", now), Ttl::Never);
        assert_eq!(store.next_deadline(), None);
        assert_eq!(store.get(b"k", now + SECOND), Some(&b"4"[..]));
    }

    #[test]
    fn a_key_that_expired_has_no_deadline_to_keep() {
        let now = Instant::now();
        let mut store = Store::new(now);
        set(&mut store, "k", "v", Expiry::At(now + SECOND), now);
        assert!(!store.set(b"k", b"v", Condition::IfPresent, Expiry::Keep, now + SECOND));
        set(&mut store, "k", "v", Expiry::At(now + SECOND), now);
        assert!(store.set(b"k", b"v", Condition::IfMissing, Expiry::Keep, now + SECOND));
        assert_eq!(store.ttl(b"k", now + SECOND), Ttl::Never);
        set(&mut store, "n", "7", Expiry::At(now + SECOND), now);
        assert_eq!(store.increment(b"n", 1, now + SECOND), Ok(1));
    }

    #[test]
    fn a_sweep_removes_no_more_than_its_limit_and_the_oldest_first() {
        let now = Instant::now();
        let mut store = Store::new(now);
        for (index, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
            set(
                &mut store,
                key,
                "value",
                Expiry::At(now + SECOND * (1 + u32::try_from(index).expect("small"))),
                now,
            );
        }
        set(&mut store, "e", "value", Expiry::Never, now);
        let later = now + SECOND * 3;
        assert_eq!(store.sweep(later, 2), 2);
        assert_eq!((store.bytes(), store.next_deadline()), (18, Some(later)));
        assert_eq!(store.sweep(later, 9), 1);
        assert_eq!((store.sweep(later, 9), store.len(later)), (0, 2));
    }

    #[test]
    fn an_increment_that_fails_changes_nothing() {
        let now = Instant::now();
        let mut store = Store::new(now);
        for (value, error) in [
            ("9223372036854775807", IncrementError::Overflow),
            ("9223372036854775808", IncrementError::NotAnInteger),
            (" 1", IncrementError::NotAnInteger),
            ("01", IncrementError::NotAnInteger),
            ("", IncrementError::NotAnInteger),
        ] {
            set(&mut store, "k", value, Expiry::Never, now);
            assert_eq!(store.increment(b"k", 1, now), Err(error));
            assert_eq!(store.get(b"k", now), Some(value.as_bytes()));
        }
    }

    proptest! {
        /// Compares with a list that is searched from end to end.
        #[test]
        fn any_history_gives_what_a_naive_store_gives(steps in proptest::collection::vec((0..6u8, 0..4u8, 0..4u32), 0..64)) {
            let mut now = Instant::now();
            let mut store = Store::new(now);
            let mut naive: Vec<(u8, Vec<u8>, Option<Instant>)> = Vec::new();
            for (step, key, amount) in steps {
                naive.retain(|entry| entry.2.is_none_or(|deadline| deadline > now));
                let at = naive.iter().position(|entry| entry.0 == key);
                match step {
                    0 => now += SECOND * amount,
                    1 | 2 => {
                        let value = vec![b'x'; amount as usize];
                        let (expiry, deadline) = match amount {
                            0 => (Expiry::Never, None),
                            1 => (Expiry::Keep, at.and_then(|at| naive[at].2)),
                            _ => (Expiry::At(now + SECOND * amount), Some(now + SECOND * amount)),
                        };
                        store.set(&[key], &value, Condition::Always, expiry, now);
                        naive.retain(|entry| entry.0 != key);
                        naive.push((key, value, deadline));
                    }
                    3 => prop_assert_eq!(store.remove(&[key], now), at.map(|at| naive.remove(at)).is_some()),
                    4 => prop_assert_eq!(store.get(&[key], now), at.map(|at| &naive[at].1[..])),
                    _ => _ = store.sweep(now, 1),
                }
            }
            naive.retain(|entry| entry.2.is_none_or(|deadline| deadline > now));
            prop_assert_eq!(store.len(now), naive.len());
            prop_assert_eq!(store.bytes(), naive.iter().map(|entry| 1 + entry.1.len()).sum::<usize>());
            prop_assert_eq!(store.lifetimes(now).len(), naive.iter().filter(|entry| entry.2.is_some()).count());
        }
    }
}
