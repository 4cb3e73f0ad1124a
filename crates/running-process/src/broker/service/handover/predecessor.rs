//! The daemon that runs, as its successor sees it.

use super::channel::{Channel, Received};
use super::messages::Message;
use crate::sys::ProcessHandle;
use std::io;
use std::time::{Duration, Instant};

/// Time for which a process that has closed its connection may take to end.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for the last message of the former daemon. If it was stopped, it lets go as soon as it runs again.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The daemon that has passed its endpoint to this process, and can still end this process and go on.
#[derive(Debug)]
pub(super) struct Predecessor {
    pub(super) channel: Channel,
    pub(super) process: ProcessHandle,
}

impl Predecessor {
    /// Returns whether the daemon has ended, so that this process is alone.
    ///
    /// # Errors
    ///
    /// It lives and has ended the handover.
    pub(super) fn has_ended(&mut self) -> io::Result<bool> {
        match self.channel.receive(None, Some(Instant::now())) {
            Ok(Received::TimedOut) => Ok(false),
            _ if self.ends() => Ok(true),
            _ => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the daemon that runs ended the handover, and goes on",
            )),
        }
    }

    /// Tells the daemon that the identity file is this process's, and waits until the daemon has let go. Returns `false` if it
    /// goes on instead.
    pub(super) fn leaves(&mut self) -> bool {
        if self.channel.send(&Message::Published, &[]).is_err() {
            return self.ends();
        }
        match self.channel.receive(None, Some(Instant::now() + LEAVE_TIMEOUT)) {
            // A daemon that was stopped reads what was sent before it does anything else.
            Ok(Received::Message(Message::Left, _) | Received::TimedOut) => true,
            _ => self.ends(),
        }
    }

    /// Returns whether the process ends within a moment.
    fn ends(&self) -> bool {
        self.process.wait_exit(Some(Instant::now() + END_TIMEOUT)).unwrap_or(false)
    }
}
