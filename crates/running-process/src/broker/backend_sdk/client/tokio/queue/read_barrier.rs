//! Read barriers: a caller whose deadline has passed waits until the driver has read all that has arrived.

use std::task::Waker;

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

    /// Adds a barrier, and returns its number.
    pub(super) fn add(&mut self) -> u64 {
        self.requested += 1;
        self.requested
    }

    pub(super) fn has_passed(&self, number: u64) -> bool {
        self.passed >= number
    }

    /// Registers a caller that waits for a barrier.
    pub(super) fn register(&mut self, waker: &Waker) {
        self.wakers.push(waker.clone());
    }

    /// Passes the barriers up to `number`. Returns the wakers to call.
    pub(super) fn pass(&mut self, number: u64) -> Vec<Waker> {
        self.passed = number;
        self.take_wakers()
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }
}
