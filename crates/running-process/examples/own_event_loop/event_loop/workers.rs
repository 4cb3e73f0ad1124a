//! Threads for handlers, which may block.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Time for which a thread without work waits for more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

/// A job runs at once: on an idle thread, or on a new one. Clones share their threads.
#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    job_came: Condvar,
}

#[derive(Default)]
struct State {
    /// Jobs for threads that wait. There are never more of them than threads that wait.
    jobs: VecDeque<Job>,
    /// Threads that wait, less those that a job has been left for.
    idle: usize,
}

impl Workers {
    /// Runs `job`, which does not panic.
    ///
    /// # Errors
    ///
    /// No thread is idle, and the system has no more.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.0.state();
        if let Some(idle) = state.idle.checked_sub(1) {
            state.idle = idle;
            state.jobs.push_back(Box::new(job));
            self.0.job_came.notify_one();
            return Ok(());
        }
        drop(state);
        let shared = Arc::clone(&self.0);
        let work = move || {
            job();
            while let Some(job) = shared.next_job() {
                job();
            }
        };
        thread::Builder::new().name("worker".to_owned()).spawn(work).map(drop)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No job runs while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next job. Returns `None` if none comes in time.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.state();
        state.idle += 1;
        let mut timed_out = false;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if timed_out {
                state.idle -= 1;
                return None;
            }
            let (waited, timeout) =
                self.job_came.wait_timeout(state, IDLE_TIMEOUT).unwrap_or_else(PoisonError::into_inner);
            (state, timed_out) = (waited, timeout.timed_out());
        }
    }
}
