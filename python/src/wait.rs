//! Waiting without the interpreter's lock.
//!
//! While the interpreter ends, it ends each daemon thread that asks for its lock, and does so by unwinding its stack. Frames of this
//! library must not be on it, or the process aborts. So each thread that is in the native half with the lock is counted as a [`Stay`],
//! [`at_exit`] waits until there is none, and a thread that comes later is kept without the lock.

use crate::error;
use crate::runtime::Sockets;
use pyo3::prelude::*;
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::time::timeout;

/// Time after which the main thread looks for signals, such as that of Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// The bit of [`GATE`] that is set once the interpreter ends.
const ENDS: usize = 1;
/// The unit of the stays in [`GATE`].
const ONE: usize = 2;
/// The bit [`ENDS`], and the number of stays.
static GATE: AtomicUsize = AtomicUsize::new(0);
/// The thread that ends the interpreter.
static ENDING_THREAD: OnceLock<ThreadId> = OnceLock::new();

/// The stay of a thread in the native half, with the interpreter's lock.
#[must_use]
pub(crate) struct Stay(());

impl Stay {
    /// Begins a stay. While the interpreter ends, only the thread that ends it returns.
    ///
    /// # Errors
    ///
    /// The interpreter ends.
    pub(crate) fn begin(py: Python<'_>) -> PyResult<Self> {
        match Self::unless_ending() {
            Some(stay) => Ok(stay),
            None if ENDING_THREAD.get() == Some(&thread::current().id()) => Err(error::interpreter_ends(py)),
            None => py.detach(|| -> ! { park_for_ever() }),
        }
    }

    fn unless_ending() -> Option<Self> {
        let more = |gate| (gate & ENDS == 0).then_some(gate + ONE);
        GATE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok().map(|_| Self(()))
    }

    /// Runs `work` without the interpreter's lock, and begins another stay.
    fn interrupted_by<T: Send>(self, py: Python<'_>, work: impl FnOnce() -> T + Send) -> (T, Self) {
        drop(self);
        py.detach(|| {
            let output = work();
            match Self::unless_ending() {
                Some(stay) => (output, stay),
                None => park_for_ever(),
            }
        })
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        GATE.fetch_sub(ONE, Ordering::SeqCst);
    }
}

/// Returns the output of `work`, which this thread drives together with the sockets, and the stay in which it is converted.
///
/// # Errors
///
/// A signal handler of Python raised, as that of Ctrl-C does: then `work` is dropped. Or the interpreter ends.
pub(crate) fn wait<F>(py: Python<'_>, sockets: &Sockets, work: F) -> PyResult<(F::Output, Stay)>
where
    F: Future<Output: Send> + Send,
{
    let waited = {
        let work = pin!(work);
        wait_pinned(py, sockets, work)
    };
    if waited.is_err() {
        sockets.settle();
    }
    waited
}

fn wait_pinned<F>(py: Python<'_>, sockets: &Sockets, mut work: Pin<&mut F>) -> PyResult<(F::Output, Stay)>
where
    F: Future<Output: Send> + Send,
{
    let mut stay = Stay::begin(py)?;
    let mut interval = Some(SIGNAL_INTERVAL);
    loop {
        let output;
        (output, stay) = stay.interrupted_by(py, || {
            sockets.runtime.block_on(async {
                match interval {
                    Some(interval) => timeout(interval, work.as_mut()).await.ok(),
                    None => Some(work.as_mut().await),
                }
            })
        });
        if let Some(output) = output {
            return Ok((output, stay));
        }
        py.check_signals()?;
        if !is_main_thread(py)? {
            interval = None;
        }
    }
}

/// Returns the output of `work`, which blocks, on a thread of its own. That goes on if this returns an error.
///
/// # Errors
///
/// As [`wait`].
pub(crate) fn wait_blocking<T: Send + 'static>(
    py: Python<'_>,
    sockets: &'static Sockets,
    work: impl FnOnce() -> T + Send + 'static,
) -> PyResult<(T, Stay)> {
    wait(py, sockets, blocking(sockets, work))
}

/// Returns the output of `work`, which blocks, on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    sockets: &'static Sockets,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match sockets.runtime.spawn_blocking(work).await {
        Ok(output) => output,
        // It is not cancelled, since the runtime is never shut down.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Waits until no thread is in the native half, and lets none in later. `atexit` calls it.
#[pyfunction]
pub(crate) fn at_exit(py: Python<'_>) {
    ENDING_THREAD.get_or_init(|| thread::current().id());
    GATE.fetch_or(ENDS, Ordering::SeqCst);
    // A stay never waits for anything but the lock.
    py.detach(|| {
        while GATE.load(Ordering::SeqCst) >= ONE {
            thread::yield_now();
        }
    });
}

/// Forgets the stays of the former process.
pub(crate) fn after_fork_in_child() {
    GATE.fetch_and(ENDS, Ordering::SeqCst);
}

/// Keeps the thread until the process ends.
fn park_for_ever() -> ! {
    loop {
        thread::park();
    }
}

/// Returns whether Python runs its signal handlers in this thread.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let current = threading.call_method0("current_thread")?;
    Ok(current.is(&threading.call_method0("main_thread")?))
}
