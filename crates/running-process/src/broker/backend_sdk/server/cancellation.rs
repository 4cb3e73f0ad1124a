//! The cancellation of a request, for the thread or task that serves it.

use super::sync::{Condvar, Mutex, MutexGuard};
use crate::broker::backend_sdk::proto::server_connection::CancelReason;
use std::sync::{Arc, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Tells a handler that the client does not wait for the answer any more. Clones share one state.
///
/// ```no_run
/// use running_process::Server;
///
/// fn serve(server: Server) -> Server {
///     server.serve(0xF00D, |request| {
///         let cancellation = request.cancellation();
///         for step in 0..1000 {
///             if cancellation.get().is_some() {
///                 return Err("the client has gone".into()); // nobody gets this answer
///             }
///             println!("step {step}");
///         }
///         Ok("done")
///     })
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    reason: OnceLock<CancelReason>,
    /// The task to wake. Locked while the reason is set, so that no thread begins to wait meanwhile.
    waker: Mutex<Option<Waker>>,
    cancelled: Condvar,
}

impl Cancellation {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why the client does not wait any more; `None` while it does.
    #[must_use]
    pub fn get(&self) -> Option<CancelReason> {
        self.0.reason.get().copied()
    }

    /// Blocks until the request is cancelled, and returns why; `None` once `deadline` has passed.
    #[must_use]
    pub fn wait(&self, deadline: Option<Instant>) -> Option<CancelReason> {
        let mut waker = self.waker();
        loop {
            if let Some(reason) = self.get() {
                return Some(reason);
            }
            waker = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.0.cancelled.wait(waker).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return None,
                Some(left) => {
                    self.0.cancelled.wait_timeout(waker, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Returns why the client does not wait any more. While it waits, registers the task of `context` to be woken; only the last
    /// task that polled is.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<CancelReason> {
        let mut waker = self.waker();
        match self.get() {
            Some(reason) => return Poll::Ready(reason),
            None => match &mut *waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            },
        }
        Poll::Pending
    }

    /// Cancels the request. The first reason stays.
    pub(super) fn cancel(&self, reason: CancelReason) {
        let waker = {
            let mut waker = self.waker();
            self.0.reason.get_or_init(|| reason);
            waker.take()
        };
        self.0.cancelled.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
