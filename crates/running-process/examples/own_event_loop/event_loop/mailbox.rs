//! The way from other threads into the loop.

use running_process::broker::backend_sdk::{Answer, CallId, Payload, SendEventError, ServerError};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;

/// A message of another thread.
pub(crate) enum Message {
    /// The server was stopped.
    Stop,
    /// The identity of the daemon is known: probes that wait for it can be answered.
    Identified,
    /// The registration has ended.
    Registered(thread::Result<Result<(), ServerError>>),
    /// A handler has ended.
    Finished { connection: u64, call: CallId, answer: Answer },
    /// A handler waits for its turn to send an event.
    WantsToSend { connection: u64, sender: EventSender },
    /// A handler whose turn it is sends an event, and waits until it is queued.
    Event { connection: u64, event: Event },
    /// A legacy handler has read the bytes that it started with.
    LegacyRead { connection: u64 },
    /// A legacy handler has ended.
    LegacyEnded { connection: u64, panicked: bool },
}

/// A handler that is to send an event once it receives `turn`.
pub(crate) struct EventSender {
    pub(crate) call: CallId,
    pub(crate) turn: SyncSender<()>,
}

/// An event of a handler that waits for the result.
pub(crate) struct Event {
    pub(crate) call: CallId,
    pub(crate) payload: Payload,
    pub(crate) sent: SyncSender<Result<(), SendEventError>>,
}

/// Sends messages to the loop and wakes it. Clones send to the same loop.
#[derive(Clone)]
pub(crate) struct Mailbox {
    messages: Sender<Message>,
    waker: Arc<Waker>,
}

/// The messages as the loop receives them.
pub(crate) struct Messages {
    queue: Receiver<Message>,
    reader: PipeReader,
    waker: Arc<Waker>,
}

struct Waker {
    /// A byte is in the pipe. There is never more than one, so no write blocks.
    woken: AtomicBool,
    pipe: PipeWriter,
}

/// Returns both ends of a new mailbox.
pub(crate) fn mailbox() -> io::Result<(Mailbox, Messages)> {
    let (reader, pipe) = io::pipe()?;
    let (sender, receiver) = mpsc::channel();
    let waker = Arc::new(Waker { woken: AtomicBool::new(false), pipe });
    let mailbox = Mailbox { messages: sender, waker: Arc::clone(&waker) };
    Ok((mailbox, Messages { queue: receiver, reader, waker }))
}

impl Mailbox {
    /// Sends `message`, unless the loop has ended.
    pub(crate) fn send(&self, message: Message) {
        if self.messages.send(message).is_ok() && !self.waker.woken.swap(true, Ordering::AcqRel) {
            // It fails only if the loop has ended meanwhile.
            let _ = (&self.waker.pipe).write(&[1]);
        }
    }
}

impl Messages {
    /// Takes the messages that have come. Called once the mailbox is readable.
    pub(crate) fn take(&mut self) -> io::Result<Vec<Message>> {
        let _one_byte = self.reader.read(&mut [0])?;
        // A message that is sent from here on wakes the loop again, and all earlier ones are in the channel.
        self.waker.woken.store(false, Ordering::Release);
        Ok(self.queue.try_iter().collect())
    }
}

/// Readable while messages wait.
impl AsFd for Messages {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
