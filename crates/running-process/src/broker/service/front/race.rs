//! Two futures at once.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Returns the output of `future`, or that of `other` as an error if it is ready before.
pub(super) async fn unless<F: Future, O: Future>(other: O, future: F) -> Result<F::Output, O::Output> {
    let (mut other, mut future) = (pin!(other), pin!(future));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => other.as_mut().poll(context).map(Err),
    })
    .await
}
