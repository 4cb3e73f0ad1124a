//! Read barriers: a caller whose deadline has passed waits until the driver has read all that has arrived.

use super::{RequestQueue, wake_driver};
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
pub(super) struct ReadBarriers {
    /// The number of the newest barrier, counted from 1.
    requested: u64,
    /// The driver has passed all barriers up to this number.
    passed: u64,
    wakers: Vec<Waker>,
}

impl ReadBarriers {
    /// Returns the number of the newest barrier, if the driver has not passed it.
    pub(super) fn newest(&self) -> Option<u64> {
        (self.requested != self.passed).then_some(self.requested)
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }
}

impl RequestQueue {
    /// Waits until the driver has read all that has arrived by now, or the connection has ended.
    pub(in super::super) fn read_barrier(&self) -> impl Future<Output = ()> {
        let mut number = None;
        poll_fn(move |context| {
            let mut state = self.state();
            let is_new = number.is_none();
            let number = *number.get_or_insert_with(|| {
                state.barriers.requested += 1;
                state.barriers.requested
            });
            if state.barriers.passed >= number || state.end.is_some() {
                return Poll::Ready(());
            }
            state.barriers.wakers.push(context.waker().clone());
            if is_new {
                wake_driver(state);
            }
            Poll::Pending
        })
    }

    /// Lets the callers go on that wait for the barriers up to `number`: what had arrived was read.
    pub(in super::super) fn pass_barrier(&self, number: u64) {
        let mut state = self.state();
        state.barriers.passed = number;
        let wakers = state.barriers.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}
