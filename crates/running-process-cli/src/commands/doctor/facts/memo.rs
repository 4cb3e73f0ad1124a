//! Values that are found once for each key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Values by their keys, for all threads.
#[derive(Debug)]
pub(super) struct Memo<K, V>(Mutex<HashMap<K, V>>);

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Returns the value of `key`, which `find` finds if it is not known yet.
    pub(super) fn get(&self, key: K, find: impl FnOnce(&K) -> V) -> V {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known.get(&key) {
            return value.clone();
        }
        let value = find(&key);
        known.insert(key, value.clone());
        value
    }
}
