//! The clock of the runtime, which a test may have paused.

use std::time::Instant;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Returns the result of `work`, or `None` if `deadline` passes before. Does not start `work` if `deadline` has passed
/// already.
pub(crate) async fn before<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    if deadline <= now() {
        return None;
    }
    tokio::time::timeout_at(deadline.into(), work).await.ok()
}
