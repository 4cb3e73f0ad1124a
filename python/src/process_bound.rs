//! Values that belong to the process that made them.
//!
//! The child of a fork has a copy of every client and none of the threads. A lock of the copy may be held for ever, so a copy is
//! neither called nor dropped.

use crate::error;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// The number of forks between the first process and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Returns the number of forks between the first process and this one.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Tells this process that it was forked: it is called in the child.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    crate::wait::after_fork_in_child();
}

/// A value of one process.
pub(crate) struct ProcessBound<T> {
    generation: u32,
    /// `None` only while the owner is dropped.
    value: Option<T>,
}

impl<T> ProcessBound<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { generation: generation(), value: Some(value) }
    }

    /// Takes the value, to drop it; `None` if this process is a fork of the one that made it.
    pub(crate) fn take(&mut self) -> Option<T> {
        if self.generation == generation() { self.value.take() } else { None }
    }

    /// Returns the value.
    ///
    /// # Errors
    ///
    /// This process is a fork of the one that made it.
    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<&T> {
        self.value.as_ref().filter(|_| self.generation == generation()).ok_or_else(|| error::forked(py))
    }
}

impl<T> Drop for ProcessBound<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            std::mem::forget(self.value.take());
        }
    }
}
