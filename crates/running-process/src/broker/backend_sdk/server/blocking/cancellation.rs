use crate::broker::backend_sdk::proto::server_connection::CancelReason;
use crate::broker::backend_sdk::server::session::Cancel;
use crate::broker::backend_sdk::server::sync::{Condvar, Mutex, MutexGuard};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Instant;

/// Tells a handler on a thread that nobody waits for its answer any more. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    reason: OnceLock<CancelReason>,
    /// Held while the reason is given, so that nobody begins to wait meanwhile.
    giving: Mutex<()>,
    given: Condvar,
}

impl Cancellation {
    fn giving(&self) -> MutexGuard<'_, ()> {
        self.0.giving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nobody waits any more; `None` while somebody does.
    #[must_use]
    pub fn get(&self) -> Option<CancelReason> {
        self.0.reason.get().copied()
    }

    /// Waits until nobody waits for the answer any more, but no longer than until `deadline`: `None` then.
    #[must_use]
    pub fn wait(&self, deadline: Option<Instant>) -> Option<CancelReason> {
        let mut giving = self.giving();
        loop {
            if let Some(reason) = self.get() {
                return Some(reason);
            }
            giving = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.0.given.wait(giving).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return None,
                Some(left) => {
                    self.0.given.wait_timeout(giving, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Cancel for Cancellation {
    fn cancel(&self, reason: CancelReason) {
        let giving = self.giving();
        self.0.reason.get_or_init(|| reason);
        drop(giving);
        self.0.given.notify_all();
    }

    fn is_cancelled(&self) -> bool {
        self.get().is_some()
    }
}
