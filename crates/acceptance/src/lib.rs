//! What the acceptance tests share: the test daemon and its legacy wire, child processes, and a watchdog.
//!
//! Nothing here waits longer than [`PATIENCE`], and no child outlives its test.

#![allow(clippy::missing_panics_doc, clippy::unwrap_used, reason = "every function here is part of a test")]

mod child;
pub mod crowd;
pub mod daemon;
mod driver;
#[cfg(target_os = "linux")]
mod peer;
pub mod wire;

pub use child::{Daemon, StreamExt, connect, installed, run, sibling};
pub use driver::Driver;
#[cfg(target_os = "linux")]
pub use peer::{Peer, Place, SECRET, TOKEN, copy_program, only_a_probe};

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes, shorter than anyone's patience.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The deadline of whatever begins now.
#[must_use]
pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Runs `work` on a thread and fails if it hangs.
///
/// # Panics
///
/// `work` panics, or still runs after [`PATIENCE`].
pub fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = mpsc::channel();
    let thread = thread::spawn(work);
    thread::spawn(move || done.send(thread.join()));
    match finished.recv_timeout(PATIENCE) {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(RecvTimeoutError::Timeout) => panic!("still running after {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => unreachable!("the result is sent whatever it is"),
    }
}
