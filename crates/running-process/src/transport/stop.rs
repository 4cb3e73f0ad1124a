//! The signal that ends accepting.

use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(windows)]
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::sync::Arc;

use super::imp;

/// A signal that tells every thread that accepts to stop. Clones are one signal; once given it stays given.
#[derive(Debug, Clone)]
pub struct StopSignal(pub(super) Arc<imp::StopEvent>);

impl StopSignal {
    /// Returns a signal that has not been given.
    ///
    /// # Errors
    ///
    /// The error of making a pipe, or an event on Windows, such as too many open files.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(imp::StopEvent::new()?)))
    }

    /// Gives the signal. Does nothing if it has been given.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Returns whether the signal has been given.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }
}

/// Readable once the signal has been given.
#[cfg(unix)]
impl AsFd for StopSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Signaled once the signal has been given.
#[cfg(windows)]
impl AsHandle for StopSignal {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}
