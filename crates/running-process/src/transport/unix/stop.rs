//! A pipe whose reading end becomes ready for all waiting threads at once.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's part of [`StopSignal`](crate::transport::StopSignal).
#[derive(Debug)]
pub(crate) struct StopEvent {
    stopped: AtomicBool,
    // One byte is written and never read: from then on the reading end is ready for each thread that waits on it.
    writer: PipeWriter,
    reader: PipeReader,
}

impl StopEvent {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { stopped: AtomicBool::new(false), writer, reader })
    }

    pub(crate) fn stop(&self) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            // An empty pipe has room for a byte, and both ends are open here: this neither blocks nor fails.
            let _ = (&self.writer).write_all(&[1]);
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

impl AsFd for StopEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
