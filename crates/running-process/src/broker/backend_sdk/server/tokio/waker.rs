use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Wakes the one task that listens.
#[derive(Debug, Default)]
pub(super) struct Bell(Mutex<Option<Waker>>);

impl Bell {
    /// Whoever polls is woken by the next [`ring`](Self::ring). It listens first and then looks at what it is rung for.
    pub(super) fn listen(&self, waker: &Waker) {
        let mut listener = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *listener {
            Some(listener) => listener.clone_from(waker),
            None => *listener = Some(waker.clone()),
        }
    }

    pub(super) fn ring(&self) {
        let listener = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            listener.wake();
        }
    }
}
