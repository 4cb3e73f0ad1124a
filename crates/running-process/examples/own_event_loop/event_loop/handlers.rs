//! Requests and legacy connections in the hands of handlers, which may block.

use super::mailbox::{Event, EventSender, Mailbox, Message};
use super::workers::Workers;
use running_process::broker::backend_sdk::{
    Answer, CallId, Dispatched, HandlerError, Payload, RequestParts, SendEventError,
};
use std::any::Any;
use std::io::{self, Read, Write};
use std::mem;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

/// A handler of requests. It may block.
pub(crate) type Handler = dyn Fn(Request) -> Result<Payload, HandlerError> + Send + Sync;

/// The handler of the legacy wire. It may block.
pub(crate) type LegacyHandler = dyn Fn(LegacyConnection) + Send + Sync;

/// A request in its handler.
pub(crate) struct Request {
    parts: RequestParts,
    connection: u64,
    call: CallId,
    mailbox: Mailbox,
}

impl Request {
    /// Returns the payload that the client sent.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.parts.frame().payload
    }

    /// Takes the descriptors that came with the request.
    #[allow(dead_code, reason = "the daemon of the example takes none")]
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        self.parts.take_descriptors()
    }

    /// Sends an event ahead of the answer, with the descriptors of `payload`. Blocks while the client leaves too much unread; a payload
    /// that is borrowed is copied only then.
    ///
    /// # Errors
    ///
    /// The event does not fit a frame, or the client does not wait for the answer any more.
    #[allow(dead_code, reason = "the daemon of the example sends none")]
    pub(crate) fn send_event(&self, payload: impl Into<Payload>) -> Result<(), SendEventError> {
        // The loop drops either channel only when it ends.
        let (turn, is_turn) = mpsc::sync_channel(1);
        let sender = EventSender { call: self.call, turn };
        self.mailbox.send(Message::WantsToSend { connection: self.connection, sender });
        is_turn.recv().map_err(|_ended| SendEventError::Cancelled)?;
        let (sent, result) = mpsc::sync_channel(1);
        let event = Event { call: self.call, payload: payload.into(), sent };
        self.mailbox.send(Message::Event { connection: self.connection, event });
        result.recv().unwrap_or(Err(SendEventError::Cancelled))
    }
}

/// Its frame, deadline, peer and cancellation.
impl Deref for Request {
    type Target = RequestParts;

    fn deref(&self) -> &RequestParts {
        &self.parts
    }
}

/// Runs a handler on a thread of `workers`, which sends the answer to `mailbox`.
///
/// # Errors
///
/// The system has no thread for it.
pub(crate) fn start_handler(
    workers: &Workers,
    dispatched: Dispatched<Handler>,
    connection: u64,
    mailbox: Mailbox,
) -> io::Result<()> {
    let serve = move || {
        let call = dispatched.call();
        let request_mailbox = mailbox.clone();
        let answer: Answer = dispatched
            .serve(|handler, parts| handler(Request { parts, connection, call, mailbox: request_mailbox }));
        mailbox.send(Message::Finished { connection, call, answer });
    };
    workers.run(serve)
}

/// A connection of the legacy wire: reading gives every byte from the first one. It closes when its handler has returned.
pub(crate) struct LegacyConnection {
    /// The bytes that the session has received, until they are read.
    buffered: Vec<u8>,
    /// Number of them that have been read.
    read: usize,
    socket: Arc<UnixStream>,
    connection: u64,
    mailbox: Mailbox,
}

/// Drops the payload of a panic. If that panics as well, leaks the payload of the second panic, because a third could follow.
fn discard(panic: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        mem::forget(again);
    }
}

/// Runs the legacy handler on a thread of `workers`, which tells `mailbox` when it has ended.
///
/// # Errors
///
/// The system has no thread for it.
pub(crate) fn start_legacy(
    workers: &Workers,
    handler: Arc<LegacyHandler>,
    buffered: Vec<u8>,
    socket: Arc<UnixStream>,
    connection: u64,
    mailbox: Mailbox,
) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    let serve = move || {
        let legacy = LegacyConnection { buffered, read: 0, socket, connection, mailbox: mailbox.clone() };
        let ended = catch_unwind(AssertUnwindSafe(|| handler(legacy)));
        let panicked = ended.map_err(discard).is_err();
        mailbox.send(Message::LegacyEnded { connection, panicked });
    };
    workers.run(serve)
}

impl Read for LegacyConnection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.buffered.is_empty() {
            return (&*self.socket).read(into);
        }
        let length = (&self.buffered[self.read..]).read(into)?;
        self.read += length;
        if self.read == self.buffered.len() {
            self.buffered = Vec::new();
            self.mailbox.send(Message::LegacyRead { connection: self.connection });
        }
        Ok(length)
    }
}

impl Write for LegacyConnection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
