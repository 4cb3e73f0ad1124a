//! Deadlines that pass even if all threads of the runtime are blocked.

use crate::broker::runtime_clock::now;
use crate::sys::background;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::Poll;
use std::time::Instant;
use tokio::sync::Notify;
use tokio::time::timeout_at;

/// Waits for `future`; returns `None` if `deadline` passes before.
///
/// Code that blocks a thread of the runtime can keep the other threads from running its timers. So a separate thread watches
/// the deadline as well, unless `future` is ready at once.
pub(super) async fn before<F: Future>(deadline: Option<Instant>, future: F) -> Option<F::Output> {
    let Some(deadline) = deadline else { return Some(future.await) };
    let mut future = pin!(timeout_at(deadline.into(), future));
    if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        return done.ok();
    }
    let alarm = Arc::new(Notify::new());
    // Ends the thread when this function does.
    let (_waiting, waits) = mpsc::channel::<()>();
    let (rings, left) = (Arc::clone(&alarm), deadline.saturating_duration_since(now()));
    let watch = move || {
        if waits.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            rings.notify_one();
        }
    };
    // Without a thread, only the runtime's timer is left.
    let _ = background::spawn(watch, drop);
    let mut alarm = pin!(alarm.notified());
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(done.ok()),
        Poll::Pending => alarm.as_mut().poll(context).map(|()| None),
    })
    .await
}
