//! The thread that runs the sockets of all clients.

use crate::process_bound::generation;
use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::{Builder, Handle};

/// The runtime of the process of that generation. Only threads that hold the interpreter's lock take this one, so it is free at a fork.
static RUNTIME: Mutex<Option<(u32, Handle)>> = Mutex::new(None);

/// Returns the runtime of this process, which has one thread for sockets and timers, and starts others only for proofs and services.
///
/// # Errors
///
/// The system gives this process no thread or no descriptor.
pub(crate) fn runtime(_py: Python<'_>) -> PyResult<Handle> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    match &*runtime {
        Some((of, handle)) if *of == generation() => Ok(handle.clone()),
        _ => {
            let mut builder = Builder::new_multi_thread();
            let started = builder.worker_threads(1).thread_name("running-process").enable_all().build()?;
            let handle = started.handle().clone();
            // Its thread ends with the process, and a child of a fork must not touch it.
            std::mem::forget(started);
            *runtime = Some((generation(), handle.clone()));
            Ok(handle)
        }
    }
}
