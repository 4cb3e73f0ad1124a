//! The end of a run.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// The end of the run, for threads that wait.
#[derive(Default)]
pub(super) struct Stop(Mutex<bool>, Condvar);

impl Stop {
    pub(super) fn stop(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    /// Waits for `time`, and returns whether the run stops.
    pub(super) fn wait(&self, time: Duration) -> bool {
        *self.1.wait_timeout_while(self.0.lock().unwrap(), time, |stops| !*stops).unwrap().0
    }
}
