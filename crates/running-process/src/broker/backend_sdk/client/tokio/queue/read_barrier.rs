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
