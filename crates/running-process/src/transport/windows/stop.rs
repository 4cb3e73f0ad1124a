//! A manual-reset event.

use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::windows_wait::Event;

/// The system's part of [`StopSignal`](crate::transport::StopSignal).
#[derive(Debug)]
pub(crate) struct StopEvent {
    stopped: AtomicBool,
    event: Event,
}

impl StopEvent {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { stopped: AtomicBool::new(false), event: Event::new()? })
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.event.set();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl AsHandle for StopEvent {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.event.as_handle()
    }
}
