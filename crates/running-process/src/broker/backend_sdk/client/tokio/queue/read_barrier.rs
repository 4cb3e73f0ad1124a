//! Read barriers: a caller whose deadline has passed waits until each driver has read all that has arrived.

use std::task::Waker;

#[derive(Debug, Default)]
pub(super) struct ReadBarriers {
    /// The number of the newest barrier, counted from 1.
    requested: u64,
    wakers: Vec<Waker>,
}

impl ReadBarriers {
    /// Returns the number of the newest barrier; 0 if there was none.
    pub(super) fn newest(&self) -> u64 {
        self.requested
    }

    /// Adds a barrier, and returns its number.
    pub(super) fn add(&mut self) -> u64 {
        self.requested += 1;
        self.requested
    }

    /// Registers a caller that waits for a barrier.
    pub(super) fn register(&mut self, waker: &Waker) {
        self.wakers.push(waker.clone());
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::super::{Batch, RequestQueue};
    use crate::broker::backend_sdk::client::error::FrameClientError;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn a_former_connection_has_to_read_although_the_one_that_takes_requests_has_ended() {
        let queue = RequestQueue::default();
        let context = &mut Context::from_waker(Waker::noop());
        let (former, _) = queue.leave();
        queue.end(FrameClientError::Closed);
        let mut barrier = pin!(queue.read_barrier());
        assert!(barrier.as_mut().poll(context).is_pending());
        let mut batch = Batch::default();
        assert!(queue.take_batch(Some(former), 0, Waker::noop(), &mut batch));
        queue.pass_barrier(Some(former), batch.barrier.expect("a caller waits for it"));
        assert!(barrier.as_mut().poll(context).is_ready());

        let mut barrier = pin!(queue.read_barrier());
        assert!(barrier.as_mut().poll(context).is_pending());
        queue.end_former(former, &FrameClientError::Closed);
        assert!(barrier.as_mut().poll(context).is_ready());
    }
}
