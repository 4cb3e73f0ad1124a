//! Waiting without the interpreter's lock.
//!
//! A thread that comes back while the interpreter ends would be unwound through frames of this library, which ends the process. So each
//! one that comes back is counted, [`at_exit`] waits for these, and a thread that is done later stays here.

use crate::error;
use pyo3::prelude::*;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Time after which the main thread looks for signals, such as that of Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// The bit of [`GATE`] that is set once the interpreter ends.
const ENDS: usize = 1;
/// The unit of the threads in [`GATE`] that come back.
const ONE: usize = 2;
/// The bit [`ENDS`], and the number of threads that come back to the interpreter.
static GATE: AtomicUsize = AtomicUsize::new(0);

/// Returns the output of `work`, whose sockets and timers `runtime` drives.
///
/// # Errors
///
/// A signal handler of Python raised, as that of Ctrl-C does: then `work` is dropped. Or the interpreter ends.
pub(crate) fn wait<F>(py: Python<'_>, runtime: &Handle, work: F) -> PyResult<F::Output>
where
    F: Future<Output: Send> + Send,
{
    let mut work = pin!(work);
    let mut interval = Some(SIGNAL_INTERVAL);
    loop {
        let until = interval.map(|interval| Instant::now() + interval);
        let polled = detached(py, || {
            let _entered = runtime.enter();
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut context = Context::from_waker(&waker);
            loop {
                if let Poll::Ready(output) = work.as_mut().poll(&mut context) {
                    return Some(output);
                }
                match until.map(|until| until.saturating_duration_since(Instant::now())) {
                    None => thread::park(),
                    Some(Duration::ZERO) => return None,
                    Some(left) => thread::park_timeout(left),
                }
            }
        })?;
        if let Some(output) = polled {
            return Ok(output);
        }
        py.check_signals()?;
        if !is_main_thread(py)? {
            interval = None;
        }
    }
}

/// Returns the output of `work`, which blocks, on a thread of the runtime's. That goes on if this returns an error.
///
/// # Errors
///
/// As [`wait`].
pub(crate) fn wait_blocking<T: Send + 'static>(
    py: Python<'_>,
    runtime: &Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<T> {
    wait(py, runtime, blocking(runtime.clone(), work))
}

/// Returns the output of `work`, which blocks, on a thread of the runtime's.
pub(crate) async fn blocking<T: Send + 'static>(
    runtime: Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match runtime.spawn_blocking(work).await {
        Ok(output) => output,
        // It is not cancelled, since the runtime is never shut down.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Waits until no thread comes back from a call to the interpreter, and lets none do it later. `atexit` calls it.
#[pyfunction]
pub(crate) fn at_exit(py: Python<'_>) {
    GATE.fetch_or(ENDS, Ordering::SeqCst);
    py.detach(|| {
        while GATE.load(Ordering::SeqCst) >= ONE {
            thread::yield_now();
        }
    });
}

/// Forgets the threads of the former process.
pub(crate) fn after_fork_in_child() {
    GATE.fetch_and(ENDS, Ordering::SeqCst);
}

/// Runs `work` without the interpreter's lock.
fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    if GATE.load(Ordering::SeqCst) & ENDS != 0 {
        return Err(error::interpreter_ends(py));
    }
    let output = py.detach(|| {
        let output = work();
        let come_back = |gate| (gate & ENDS == 0).then_some(gate + ONE);
        if GATE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, come_back).is_err() {
            loop {
                thread::park();
            }
        }
        output
    });
    GATE.fetch_sub(ONE, Ordering::SeqCst);
    Ok(output)
}

/// Returns whether Python runs its signal handlers in this thread.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let current = threading.call_method0("current_thread")?;
    Ok(current.is(&threading.call_method0("main_thread")?))
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
