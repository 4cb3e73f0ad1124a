//! Access to what the threads of a daemon share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `part`.
pub(super) fn held<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs between two changes of it.
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
