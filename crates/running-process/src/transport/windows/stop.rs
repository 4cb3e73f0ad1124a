//! The signal that ends accepting.

use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::windows_wait::Event;

/// Tells every thread that accepts to stop. Clones are one signal; once given it stays given.
#[derive(Debug, Clone)]
pub struct StopSignal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    event: Event,
}

impl StopSignal {
    /// A signal that has not been given.
    ///
    /// # Errors
    ///
    /// What making an event gave.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Shared { stopped: AtomicBool::new(false), event: Event::new()? })))
    }

    /// Gives the signal. Doing it again does nothing.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::Release);
        self.0.event.set();
    }

    /// Whether the signal has been given.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }
}

/// Signaled once the signal has been given.
impl AsHandle for StopSignal {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.event.as_handle()
    }
}
