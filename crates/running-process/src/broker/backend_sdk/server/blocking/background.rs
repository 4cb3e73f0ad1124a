//! A thread whose result is waited for until a deadline only.

use crate::sys::background;
use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

/// Work on a thread of its own, which goes on if no thread waits for it any more.
pub(super) struct Background<T>(Receiver<thread::Result<T>>);

impl<T: Send + 'static> Background<T> {
    /// # Errors
    ///
    /// No thread can be made.
    pub(super) fn spawn(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let (give, result) = mpsc::sync_channel(1);
        // The receiver may be gone already.
        background::spawn(work, move |result| drop(give.send(result)))?;
        Ok(Self(result))
    }

    /// Waits for the result of the work; `None` if it has not ended when `deadline` passes.
    ///
    /// # Panics
    ///
    /// As the work did.
    pub(super) fn wait_until(&self, deadline: Option<Instant>) -> Option<T> {
        let result = match deadline {
            Some(deadline) => self.0.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => self.0.recv().map_err(RecvTimeoutError::from),
        };
        result.ok().map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}
