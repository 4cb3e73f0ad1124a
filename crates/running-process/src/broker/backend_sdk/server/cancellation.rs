use super::super::server_connection::CancelReason;
use super::session::Cancel;
use super::sync::{Condvar, Mutex, MutexGuard};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Tells a handler on a thread that nobody waits for its answer any more. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    reason: Mutex<Option<CancelReason>>,
    given: Condvar,
}

impl Cancellation {
    fn reason(&self) -> MutexGuard<'_, Option<CancelReason>> {
        self.0.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nobody waits any more; `None` while somebody does.
    #[must_use]
    pub fn get(&self) -> Option<CancelReason> {
        *self.reason()
    }

    /// Waits until nobody waits for the answer any more, but no longer than until `deadline`: `None` then.
    #[must_use]
    pub fn wait(&self, deadline: Option<Instant>) -> Option<CancelReason> {
        let mut reason = self.reason();
        while reason.is_none() {
            reason = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.0.given.wait(reason).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return None,
                Some(left) => {
                    self.0.given.wait_timeout(reason, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *reason
    }
}

impl Cancel for Cancellation {
    fn cancel(&self, reason: CancelReason) {
        self.reason().get_or_insert(reason);
        self.0.given.notify_all();
    }

    fn is_cancelled(&self) -> bool {
        self.get().is_some()
    }
}
