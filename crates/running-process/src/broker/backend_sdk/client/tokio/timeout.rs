//! The end of a wait at its deadline.

use super::queue::RequestQueue;
use crate::broker::backend_sdk::client::call_deadline::CallDeadline;
use crate::broker::backend_sdk::client::error::FrameClientError;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Returns the output of `work`, unless the deadline passes first.
///
/// A response that has arrived by then counts: this process may have been stopped until now, so the driver reads once more
/// before `work` is given up.
pub(super) async fn within<T>(
    deadline: CallDeadline,
    queue: &RequestQueue,
    work: impl Future<Output = T>,
) -> Result<T, FrameClientError> {
    let Some(at) = deadline.at else { return Ok(work.await) };
    let mut work = pin!(work);
    if let Ok(output) = tokio::time::timeout_at(at.into(), work.as_mut()).await {
        return Ok(output);
    }
    queue.read_barrier().await;
    match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(deadline.timed_out()),
    }
}
