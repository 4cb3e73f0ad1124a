//! Events for which the command waits: lines of its clients, and the signals that end it.

use crate::failure::Failure;
use running_process::broker::backend_sdk::OnTermination;
use std::io::{self, BufRead, BufReader, PipeReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

/// The reason why a situation has no outcome.
#[derive(Debug)]
pub(super) enum Stopped {
    /// A signal asks this process to end.
    Interrupted,
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

enum Event {
    /// A client of this crowd has printed a line.
    Line {
        crowd: u32,
        at: Instant,
        text: String,
    },
    Interrupted,
}

/// A line of a client, and when it came.
pub(super) struct Line {
    pub(super) at: Instant,
    pub(super) text: String,
}

/// The events of all crowds, one after the other.
pub(super) struct Inbox {
    sender: Sender<Event>,
    receiver: Receiver<Event>,
    interrupted: Arc<AtomicBool>,
    /// `None` where this system has no signals to wait for.
    _signals: Option<OnTermination>,
}

impl Inbox {
    pub(super) fn open() -> Result<Self, Failure> {
        let (sender, receiver) = mpsc::channel();
        let interrupted = Arc::new(AtomicBool::new(false));
        let (wake, flag) = (sender.clone(), Arc::clone(&interrupted));
        let signals = match OnTermination::new(move || {
            flag.store(true, Ordering::Relaxed);
            // The command may have ended.
            let _woken = wake.send(Event::Interrupted);
        }) {
            Ok(signals) => Some(signals),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
            Err(error) => return Err(Failure::from(error).context("signals cannot be handled")),
        };
        Ok(Self { sender, receiver, interrupted, _signals: signals })
    }

    /// Reads the lines of the crowd with this number until its clients have ended.
    pub(super) fn read(&self, crowd: u32, lines: PipeReader) -> Result<(), Failure> {
        let sender = self.sender.clone();
        let read = move || {
            for text in BufReader::new(lines).lines().map_while(Result::ok) {
                if sender.send(Event::Line { crowd, at: Instant::now(), text }).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().spawn(read)?;
        Ok(())
    }

    /// Returns the next line of the crowd; `None` if there is none until `until`.
    pub(super) fn next(&self, crowd: u32, until: Instant) -> Result<Option<Line>, Stopped> {
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(left) {
                Ok(Event::Line { crowd: of, at, text }) if of == crowd => return Ok(Some(Line { at, text })),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// Fails if a signal has asked this process to end.
    pub(super) fn check(&self) -> Result<(), Stopped> {
        if self.interrupted.load(Ordering::Relaxed) { Err(Stopped::Interrupted) } else { Ok(()) }
    }
}
