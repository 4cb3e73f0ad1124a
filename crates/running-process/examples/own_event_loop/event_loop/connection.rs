//! One connection: a socket that does not block, and its session.

use super::descriptors;
use super::handlers::{Handler, LegacyHandler, start_handler, start_legacy};
use super::mailbox::{Event, EventSender, Mailbox};
use super::workers::Workers;
use running_process::broker::backend_sdk::{
    Action, Answer, CallId, Dispatched, HandlerError, Phase, ServeError, ServerSession,
};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::Write;
use std::mem;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

/// Most reads in a row, before the other connections have their turn and a deadline that has passed ends the connection.
const MAX_READS: usize = 16;

/// The event that a connection waits for, besides its deadline, its handlers, and room for its output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// The socket is readable.
    Readable,
    /// The peer has closed the connection in both directions.
    HangUp,
    /// Nothing of the socket.
    Nothing,
    /// Nothing at all: there is more to read, once the other connections had their turn.
    Again,
    /// The legacy handler has the socket.
    Legacy,
    /// Nothing any more: the connection has ended.
    Closed,
}

pub(crate) struct Connection {
    pub(crate) id: u64,
    // Dropped before the socket: a peer that sees the connection end finds it counted.
    session: ServerSession<Handler>,
    socket: Arc<UnixStream>,
    mailbox: Mailbox,
    workers: Workers,
    interest: Interest,
    poll_flags: Option<PollFlags>,
    deadline: Option<Instant>,
    /// Requests whose handlers have not begun, because the peer leaves too much unread.
    waiting: Vec<Dispatched<Handler>>,
    /// Handlers that wait for their turn to send an event.
    senders: Vec<EventSender>,
    /// One of them has its turn, and its event has not come yet.
    sending: bool,
}

impl Connection {
    /// Returns the connection on `socket`, which does not block.
    pub(crate) fn new(
        id: u64,
        mut session: ServerSession<Handler>,
        socket: UnixStream,
        mailbox: Mailbox,
        workers: Workers,
    ) -> Self {
        session.accept_descriptors();
        Self {
            id,
            session,
            socket: Arc::new(socket),
            mailbox,
            workers,
            interest: Interest::Again,
            poll_flags: None,
            deadline: None,
            waiting: Vec::new(),
            senders: Vec::new(),
            sending: false,
        }
    }

    /// Moves bytes and starts handlers until the connection has to wait; `buffer` is memory to read into.
    pub(crate) fn advance(&mut self, buffer: &mut [u8], legacy: Option<&Arc<LegacyHandler>>) {
        let (mut reads, mut timed_out) = (0, false);
        while self.interest != Interest::Legacy {
            self.session.process(|dispatched| self.waiting.push(dispatched));
            self.start_handlers();
            self.give_turn();
            self.write();
            if self.session.take_progress() && self.holds_back() {
                continue;
            }
            self.interest = match self.session.next_action() {
                Action::Process => continue,
                Action::Read if reads == MAX_READS => Interest::Again,
                Action::Read => {
                    reads += 1;
                    if self.read(buffer) {
                        continue;
                    }
                    Interest::Readable
                }
                Action::AwaitHangUp if !is_hung_up(&self.socket) => Interest::HangUp,
                Action::AwaitHangUp => {
                    self.session.reset();
                    continue;
                }
                Action::ServeLegacy(buffered) => self.serve_legacy(buffered, legacy),
                Action::Close => Interest::Closed,
                _ => Interest::Nothing,
            };
            // Only now, after all that had arrived was read: the process may have been stopped past the deadline.
            let now = Instant::now();
            if timed_out || self.session.deadline().is_none_or(|deadline| deadline > now) {
                break;
            }
            timed_out = true;
            self.session.handle_timeout(now);
        }
        if self.session.is_reset() {
            // It fails only if the connection has ended by itself.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
        self.set_wait();
    }

    /// Reads once, the rest of a large message onto its beginning. Returns `false` if nothing has arrived.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        let read = match self.session.take_recv_buffer() {
            Some(mut message) => {
                let read = rustix::io::read(&*self.socket, spare_capacity(&mut message));
                self.session.restore_recv_buffer(message, read.unwrap_or(0), Instant::now());
                read
            }
            None if self.session.takes_descriptors() => {
                let mut came = Vec::new();
                descriptors::receive(&self.socket, buffer, &mut came).map(|(length, truncated)| {
                    if length > 0 {
                        let bytes = &buffer[..length];
                        self.session.receive_descriptors(bytes, &mut came, truncated, Instant::now());
                    }
                    length
                })
            }
            None => rustix::io::read(&*self.socket, &mut *buffer).inspect(|length| {
                if *length > 0 {
                    self.session.receive(&buffer[..*length], Instant::now());
                }
            }),
        };
        match read {
            Ok(0) => {
                let socket = &self.socket;
                self.session.end_of_input(|| is_hung_up(socket), |dispatched| self.waiting.push(dispatched));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return false,
            Err(error) => self.session.fail(error.into()),
        }
        true
    }

    /// Writes what the socket takes.
    fn write(&mut self) {
        let mut socket = &*self.socket;
        self.session.write_output_with(Instant::now, |slices, descriptors| match descriptors {
            [] => socket.write_vectored(slices),
            _ => descriptors::send(socket, slices, descriptors),
        });
    }

    /// Returns whether a request or an event waits for the peer to read.
    fn holds_back(&self) -> bool {
        !self.waiting.is_empty() || !self.senders.is_empty()
    }

    /// Starts the handlers of the requests that are not held back.
    fn start_handlers(&mut self) {
        for dispatched in mem::take(&mut self.waiting) {
            let call = dispatched.call();
            if self.session.holds_back(call) {
                self.waiting.push(dispatched);
            } else if dispatched.request().cancelled().is_some() {
                self.finish(call, Answer::Abandoned);
            } else if let Err(error) = start_handler(&self.workers, dispatched, self.id, self.mailbox.clone())
            {
                let refusal = self.session.policy().no_thread(error);
                self.finish(call, Answer::Failed(HandlerError::Refused(refusal)));
            }
        }
    }

    /// Adds a handler that waits for its turn to send an event.
    pub(crate) fn add_sender(&mut self, sender: EventSender) {
        self.senders.push(sender);
    }

    /// Lets the next handler send its event that is not held back. They take turns, since each event may leave no room for
    /// the next.
    fn give_turn(&mut self) {
        let session = &self.session;
        let next = self.senders.iter().position(|sender| !session.holds_back(sender.call));
        if !self.sending
            && let Some(next) = next
        {
            // The handler waits for it, and sends the event at once.
            self.sending = self.senders.remove(next).turn.send(()).is_ok();
        }
    }

    /// Queues the event of the handler whose turn it is.
    pub(crate) fn send_event(&mut self, event: Event) {
        self.sending = false;
        // The handler waits for the result.
        let _ = event.sent.send(self.session.send_event_payload(event.call, event.payload));
    }

    /// Ends a request with the answer of its handler.
    pub(crate) fn finish(&mut self, call: CallId, answer: Answer) {
        self.session.finish(call, answer, Instant::now());
    }

    fn serve_legacy(&mut self, buffered: Vec<u8>, handler: Option<&Arc<LegacyHandler>>) -> Interest {
        let Some(handler) = handler else {
            self.session.report(&ServeError::LegacyNotServed);
            return Interest::Closed;
        };
        let (handler, socket) = (Arc::clone(handler), Arc::clone(&self.socket));
        match start_legacy(&self.workers, handler, buffered, socket, self.id, self.mailbox.clone()) {
            Ok(()) => Interest::Legacy,
            Err(error) => {
                self.session.report(&ServeError::NoThread(error));
                Interest::Closed
            }
        }
    }

    /// Releases the memory of the bytes that the legacy handler started with.
    pub(crate) fn release_legacy(&mut self) {
        self.session.release_legacy();
    }

    /// Ends the connection after its legacy handler.
    pub(crate) fn end_legacy(&mut self, panicked: bool) {
        if panicked {
            self.session.report(&ServeError::HandlerPanicked);
        }
        self.interest = Interest::Closed;
    }

    /// Enters `phase` of the server's end: reading gives what has been received, and then the end.
    pub(crate) fn enter(&mut self, phase: Phase) {
        if self.session.enter(phase, Instant::now()) {
            let _ = self.socket.shutdown(Shutdown::Read);
        }
    }

    /// Closes the connection, also for a legacy handler that goes on.
    pub(crate) fn disconnect(&mut self) {
        self.session.close();
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.interest == Interest::Closed
    }

    /// Returns whether a probe waits for the identity of the daemon.
    pub(crate) fn awaits_identity(&self) -> bool {
        self.session.awaits_identity()
    }

    /// Returns the moment at which the connection advances if nothing happens before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the entry for poll(2); `None` if the socket is not waited for.
    pub(crate) fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.poll_flags.map(|flags| PollFd::new(&*self.socket, flags))
    }

    /// Sets what the loop waits for, once for all of its rounds until the connection advances again.
    fn set_wait(&mut self) {
        let interest = match self.interest {
            Interest::Readable => Some(PollFlags::IN),
            // A hang-up is always reported.
            Interest::HangUp if !cfg!(target_vendor = "apple") => Some(PollFlags::empty()),
            _ => None,
        };
        let output = self.session.has_output().then_some(PollFlags::OUT);
        let both = interest.unwrap_or(PollFlags::empty()) | output.unwrap_or(PollFlags::empty());
        self.poll_flags = interest.or(output).map(|_| both);
        self.deadline = match self.interest {
            Interest::Legacy => None,
            Interest::Again => Some(Instant::now()),
            _ => self.session.deadline(),
        };
    }
}

/// Returns whether the peer has closed the connection in both directions. macOS does not tell that from a peer that only ended
/// writing, so there the next write tells.
fn is_hung_up(socket: &UnixStream) -> bool {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    !cfg!(target_vendor = "apple") && poll(&mut fds, Some(&NOW)).is_ok_and(|ready| ready > 0)
}
