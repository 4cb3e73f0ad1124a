#[cfg(target_os = "linux")]
use std::sync::MutexGuard;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longer than anything here takes, and short enough to wait for a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two looks at a state that nothing reports.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Runs `work` on a thread and fails if it hangs.
pub(crate) fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    join(thread::spawn(work))
}

/// Returns the result of a thread. Fails if the thread panics or hangs.
pub(crate) fn join<T: Send + 'static>(thread: JoinHandle<T>) -> T {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || done.send(thread.join()));
    match finished.recv_timeout(PATIENCE) {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(RecvTimeoutError::Timeout) => panic!("still running after {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => unreachable!("the thread's result is always sent"),
    }
}

/// Waits for the tests that use much memory or many descriptors, of which one runs at a time.
#[cfg(target_os = "linux")]
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the deadline of what begins now.
pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Calls `attempt` at intervals until it returns a value. Fails if it never does.
///
/// Only for what can be looked at but not waited for: a counter, a file, a place in a backlog.
#[track_caller]
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = soon();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "did not happen within {PATIENCE:?}");
        thread::sleep(POLL_INTERVAL);
    }
}

/// Returns the next message of `receiver`. Fails if none comes in time.
#[track_caller]
pub(crate) fn next<T>(receiver: &Receiver<T>) -> T {
    match receiver.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("no message came within {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("no sender is left"),
    }
}

/// A flag that a thread can wait for.
#[derive(Debug, Default)]
pub(crate) struct Flag {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Flag {
    pub(crate) fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the flag is set. Fails if it is not in time.
    pub(crate) fn wait(&self) {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, _) = self.changed.wait_timeout_while(set, PATIENCE, |set| !*set).unwrap();
        assert!(*set, "the flag was not set within {PATIENCE:?}");
    }
}

/// A gate at which handlers block. Clones are one gate.
#[derive(Clone)]
pub(crate) struct Gate {
    entered: Sender<Vec<u8>>,
    opened: Arc<Mutex<Receiver<()>>>,
}

/// The test's side of a [`Gate`]. The gate is open for all once this is dropped.
pub(crate) struct GateKeeper {
    /// Payloads of the handlers that have come to the gate.
    pub(crate) entered: Receiver<Vec<u8>>,
    open: Sender<()>,
}

impl Gate {
    pub(crate) fn new() -> (Self, GateKeeper) {
        let ((has_entered, entered), (open, opened)) = (mpsc::channel(), mpsc::channel());
        (Self { entered: has_entered, opened: Arc::new(Mutex::new(opened)) }, GateKeeper { entered, open })
    }

    /// Tells the keeper of `payload` without blocking.
    pub(crate) fn report(&self, payload: &[u8]) {
        // A keeper that is gone has opened the gate.
        let _ = self.entered.send(payload.to_vec());
    }

    /// Tells the keeper of `payload` and blocks until the keeper lets this handler pass. That is longer than any wait of a test.
    pub(crate) fn enter(&self, payload: &[u8]) {
        self.report(payload);
        let _ = self.opened.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(3 * PATIENCE);
    }
}

impl GateKeeper {
    /// Waits for the next handler at the gate and returns its payload.
    #[track_caller]
    pub(crate) fn next(&self) -> Vec<u8> {
        next(&self.entered)
    }

    /// Lets one handler pass.
    pub(crate) fn let_pass(&self) {
        self.open.send(()).unwrap();
    }

    pub(crate) fn is_entered(&self) -> bool {
        self.entered.try_recv().is_ok()
    }
}
