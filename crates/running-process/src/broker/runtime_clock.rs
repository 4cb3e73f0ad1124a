//! Time as tasks see it: the runtime's clock, which a test may have stopped.

use std::time::Instant;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What `work` gives, unless `deadline` passes before; nothing of it is done if that has passed already.
pub(crate) async fn before<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    if deadline <= now() {
        return None;
    }
    tokio::time::timeout_at(deadline.into(), work).await.ok()
}
