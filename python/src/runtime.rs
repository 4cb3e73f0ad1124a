//! The sockets and timers of all clients.

use crate::process_bound::generation;
use pyo3::prelude::*;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

/// Turns of the runtime in which it writes what was just queued: one task has to see it, another one may have to be woken first.
const SETTLING_TURNS: usize = 4;

/// The sockets of the process of that generation. Only threads that hold the interpreter's lock take this one, so it is free at a fork.
static SOCKETS: Mutex<Option<(u32, &'static Sockets)>> = Mutex::new(None);

/// The sockets and timers of all clients of a process.
///
/// A thread that waits for a response drives them itself: nobody has to wake it. Once asyncio is used, a thread of their own drives them.
pub(crate) struct Sockets {
    pub(crate) runtime: Runtime,
    is_driven: AtomicBool,
}

/// Returns the sockets of this process.
///
/// # Errors
///
/// This process gets no more descriptors.
pub(crate) fn sockets(_py: Python<'_>) -> PyResult<&'static Sockets> {
    let mut sockets = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    match *sockets {
        Some((of, sockets)) if of == generation() => Ok(sockets),
        _ => {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            // They end with the process, and a child of a fork must not touch them.
            let made: &Sockets = Box::leak(Box::new(Sockets { runtime, is_driven: AtomicBool::new(false) }));
            *sockets = Some((generation(), made));
            Ok(made)
        }
    }
}

impl Sockets {
    /// Starts the thread that drives the sockets, unless it runs.
    ///
    /// # Errors
    ///
    /// This process gets no more threads.
    pub(crate) fn drive(&'static self) -> io::Result<()> {
        if self.is_driven.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let thread = thread::Builder::new().name("running-process".to_owned());
        let driver = thread.spawn(|| self.runtime.block_on(std::future::pending::<()>()));
        driver.map(drop).inspect_err(|_| self.is_driven.store(false, Ordering::SeqCst))
    }

    /// Writes what was queued just now, such as a cancel, and closes what was dropped, without waiting for a socket.
    pub(crate) fn settle(&self) {
        if !self.is_driven.load(Ordering::SeqCst) {
            self.runtime.block_on(async {
                for _ in 0..SETTLING_TURNS {
                    yield_now().await;
                }
            });
        }
    }
}
