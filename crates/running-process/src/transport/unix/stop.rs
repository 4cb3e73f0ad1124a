//! The signal that ends accepting.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells every thread that accepts to stop. Clones are one signal; once given it stays given.
#[derive(Debug, Clone)]
pub struct StopSignal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    // One byte is written and never read: from then on the reading end is ready for everyone who waits on it.
    writer: PipeWriter,
    reader: PipeReader,
}

impl StopSignal {
    /// A signal that has not been given.
    ///
    /// # Errors
    ///
    /// What making a pipe gave, such as too many open files.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self(Arc::new(Shared { stopped: AtomicBool::new(false), writer, reader })))
    }

    /// Gives the signal. Doing it again does nothing.
    pub fn stop(&self) {
        if !self.0.stopped.swap(true, Ordering::AcqRel) {
            // An empty pipe has room for a byte, and both ends are open here: this neither blocks nor fails.
            let _ = (&self.0.writer).write_all(&[1]);
        }
    }

    /// Whether the signal has been given.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::Acquire)
    }
}

/// Readable once the signal has been given.
impl AsFd for StopSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.reader.as_fd()
    }
}
