//! A pool of threads: spawned when none is idle, ended after a while without a job.

use crate::broker::backend_sdk::server::callback;
use crate::broker::backend_sdk::server::sync::{Condvar, Mutex, MutexGuard, thread};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Time for which an idle thread waits for a job before it ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Work for a thread of the pool, which outlives its panic.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A pool with as many threads as there are jobs at once, so that a job may block and delays no other. The caller bounds the
/// number of jobs.
pub(super) struct Pool {
    queue: Mutex<Queue>,
    submitted: Condvar,
    /// Spawning fails; only tests set it.
    #[cfg(test)]
    pub(super) exhausted: std::sync::atomic::AtomicBool,
}

/// Each job has a thread that waits: `jobs.len() <= waiting`.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job, also those that were woken for one of the queue and do not run yet.
    waiting: usize,
    closed: bool,
}

impl Pool {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            submitted: Condvar::new(),
            #[cfg(test)]
            exhausted: false.into(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No job runs while the lock is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `job` on an idle thread; spawns one if there is none.
    ///
    /// # Errors
    ///
    /// No thread is idle and none can be spawned. The job is dropped; the next one tries again.
    pub(super) fn submit(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let mut queue = self.queue();
        if queue.waiting > queue.jobs.len() {
            queue.jobs.push_back(job);
            drop(queue);
            self.submitted.notify_one();
            return Ok(());
        }
        drop(queue);
        #[cfg(test)]
        if self.exhausted.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let pool = Arc::clone(self);
        thread::Builder::new().name("running-process".to_owned()).spawn(move || pool.work(job))?;
        Ok(())
    }

    /// Ends every thread after its job and those that are queued.
    pub(super) fn close(&self) {
        self.queue().closed = true;
        self.submitted.notify_all();
    }

    fn work(&self, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            callback::run(job);
            next = self.next();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        if !queue.jobs.is_empty() || queue.closed {
            return queue.jobs.pop_front();
        }
        queue.waiting += 1;
        loop {
            let (guard, waited) =
                self.submitted.wait_timeout(queue, IDLE_TIMEOUT).unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            let job = queue.jobs.pop_front();
            if job.is_some() || waited.timed_out() || queue.closed {
                queue.waiting -= 1;
                return job;
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;

    const SOON: Duration = Duration::from_secs(20);

    /// Makes `pool` run a job that waits until it is told, or its sender is gone; returns the sender once the job runs.
    fn occupy(pool: &Arc<Pool>) -> mpsc::Sender<()> {
        let ((go_on, gate), (report, runs)) = (mpsc::channel(), mpsc::channel());
        pool.submit(Box::new(move || {
            report.send(()).unwrap();
            let _ = gate.recv();
        }))
        .unwrap();
        runs.recv_timeout(SOON).unwrap();
        go_on
    }

    #[track_caller]
    fn assert_runs(pool: &Arc<Pool>) {
        let (report, runs) = mpsc::channel();
        pool.submit(Box::new(move || report.send(()).unwrap())).unwrap();
        runs.recv_timeout(SOON).expect("the job is run");
    }

    fn wait_until_idle(pool: &Arc<Pool>, threads: usize) {
        while pool.queue().waiting < threads {
            thread::yield_now();
        }
    }

    #[test]
    fn a_job_without_a_thread_is_refused_and_later_ones_are_run() {
        let pool = Pool::new();
        let first = occupy(&pool);
        pool.exhausted.store(true, Ordering::Relaxed);
        let (report, dropped) = mpsc::channel::<()>();
        for _ in 0..5 {
            let report = report.clone();
            assert!(pool.submit(Box::new(move || report.send(()).unwrap())).is_err());
        }
        drop(report);
        assert_eq!(dropped.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected));
        // An idle thread takes a job.
        drop(first);
        wait_until_idle(&pool, 1);
        assert_runs(&pool);
        // New threads take jobs again once they can be spawned.
        pool.exhausted.store(false, Ordering::Relaxed);
        let occupied = [occupy(&pool), occupy(&pool), occupy(&pool)];
        assert_runs(&pool);
        drop(occupied);
        wait_until_idle(&pool, 4);
        assert!(pool.queue().jobs.is_empty());
        pool.close();
    }

    #[test]
    fn a_thread_outlives_the_panics_of_its_jobs() {
        let pool = Pool::new();
        pool.submit(Box::new(|| panic!("this panic is part of the test"))).unwrap();
        wait_until_idle(&pool, 1);
        pool.exhausted.store(true, Ordering::Relaxed);
        assert_runs(&pool);
        pool.close();
    }
}
