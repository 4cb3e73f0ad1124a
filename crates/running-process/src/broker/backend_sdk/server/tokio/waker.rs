//! A waker that other tasks and threads wake.

use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Wakes the one task that registered last.
#[derive(Debug, Default)]
pub(super) struct AtomicWaker(Mutex<Option<Waker>>);

impl AtomicWaker {
    /// Registers the task that polls, for the next [`wake`](Self::wake). The task registers first, and then looks at the state
    /// that others change before they wake it.
    pub(super) fn register(&self, waker: &Waker) {
        let mut registered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *registered {
            Some(registered) => registered.clone_from(waker),
            None => *registered = Some(waker.clone()),
        }
    }

    /// Wakes the task that registered last, unless it was woken since.
    pub(super) fn wake(&self) {
        let registered = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = registered {
            waker.wake();
        }
    }
}
