//! One connection of a server as a state machine without a socket: its policy, for any driver.

pub(super) mod blocked;
mod descriptors;
mod events;
mod memory;
mod output;
mod process;

use self::blocked::BlockedWrite;
use super::answer_file::sendable;
use super::config::ServeError;
use super::connection_table::Slot;
use super::dispatch::{Answer, Dispatched, Work};
use super::hooks::Detector;
use super::peer::PeerCredentials;
use super::phase::Phase;
use super::policy::{Peer, ServerPolicy};
use super::telemetry::{Batch, Event, Outcome};
use crate::broker::backend_sdk::proto::connection::{Received, unanswerable};
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::server_connection::{CallId, CancelReason, Ended, ServerConnection};
use crate::broker::protocol::Refusal;
use crate::descriptor::Descriptor;
use crate::transport::timed_out;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self};
use std::sync::Arc;
use std::time::Instant;

/// The next step of a driver for a [`ServerSession`], besides writing.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Call [`process`](ServerSession::process): there is room now for a request that waited.
    Process,
    /// Read from the socket.
    Read,
    /// Wait until the peer has closed the connection, then call [`reset`](ServerSession::reset). The peer sends nothing more, and
    /// handlers work on its requests.
    AwaitHangUp,
    /// Wait until output is written, a request ends, or the daemon's identity is known.
    Wait,
    /// Hand the socket to the handler of the legacy wire, which starts with these bytes.
    ServeLegacy(Vec<u8>),
    /// Close the socket.
    Close,
}

/// The policy of one connection of a server as a state machine without a socket. It decides when to read and to close, and
/// which requests are served, refused or charged to the budget. Any runtime, or none, drives it.
///
/// A driver moves bytes and time in, and bytes and [`Action`]s out. The following loop is complete; `wait` blocks until
/// the socket is ready for `interest` or takes more of the output, a handler has finished, or the deadline has passed.
///
/// ```no_run
/// # use running_process::broker::backend_sdk::*;
/// # use std::{io::{self, Read, Write}, time::Instant};
/// # enum Interest { Readable, HangUp, None }
/// # fn wait<H: ?Sized>(_: &impl Read, _: Interest, _: &ServerSession<H>) -> bool { todo!() }
/// # fn is_gone(_: &impl Read) -> bool { todo!() }
/// # fn drive<H: ?Sized>(mut session: ServerSession<H>, mut socket: impl Read + Write, start_handler: &dyn Fn(Dispatched<H>))
/// # -> io::Result<()> {
/// let mut bytes = vec![0; 64 * 1024];
/// loop {
///     session.process(start_handler);
///     session.write_output(Instant::now, |slices| socket.write_vectored(slices));
///     let interest = match session.next_action() {
///         Action::Process => continue,
///         Action::Read => match socket.read(&mut bytes) {
///             Ok(0) => {
///                 session.end_of_input(|| is_gone(&socket), start_handler);
///                 continue;
///             }
///             Ok(length) => {
///                 session.receive(&bytes[..length], Instant::now());
///                 continue;
///             }
///             Err(error) if error.kind() == io::ErrorKind::WouldBlock => Interest::Readable,
///             Err(error) => {
///                 session.fail(error);
///                 continue;
///             }
///         },
///         Action::AwaitHangUp => Interest::HangUp, // then session.reset()
///         Action::ServeLegacy(buffered) => todo!("the old loop starts with {buffered:?}"),
///         Action::Close => return Ok(()),
///         _ => Interest::None,
///     };
///     if !wait(&socket, interest, &session) {
///         // The deadline has passed, and the reads and writes above found nothing more to do.
///         session.handle_timeout(Instant::now());
///     }
/// }
/// # }
/// ```
///
/// The example `own_event_loop` is a complete daemon around this loop, on one thread that waits with poll(2).
///
/// When a handler has finished, its answer goes to [`finish`](Self::finish), and the loop runs again. When the server is
/// stopped, the driver [enters](Self::enter) the next [`Phase`] and shuts the reading side of the socket down, so that the
/// loop reads what has arrived and then the end.
///
/// **The guarantee:** each dispatched request ends with exactly one [`finish`](Self::finish), and each request that was
/// received gets one final frame, unless its peer is gone. No method blocks. The only code of the daemon that runs in a
/// method is the detector, the rule of `authorize`, inline handlers and the observer.
///
/// A driver that passes descriptors calls [`accept_descriptors`](Self::accept_descriptors) first. Once
/// [`takes_descriptors`](Self::takes_descriptors) returns `true`, it reads with `recvmsg` and gives what comes to
/// `receive_descriptors`. It writes with `write_output_with`.
pub struct ServerSession<H: ?Sized> {
    policy: Arc<ServerPolicy<H>>,
    connection: ServerConnection<Detector, Work>,
    peer: Peer,
    /// The memory of the requests in flight, in bytes.
    request_memory: usize,
    /// The descriptors of requests that were not taken yet, in order.
    descriptors: VecDeque<Descriptor>,
    /// The bytes that the legacy handler starts with, until [`Action::ServeLegacy`] takes them.
    legacy: Option<Vec<u8>>,
    /// The memory of these bytes until the legacy handler has read them.
    legacy_memory: usize,
    /// Nothing can be read or written any more.
    reset: bool,
    /// The connection does not count as open any more.
    closed: bool,
    phase: Phase,
    blocked: Option<BlockedWrite>,
    changes: Changes,
    /// Counts that are not noted.
    batch: Batch,
}

/// The changes that the driver or the observer has not been told.
#[derive(Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other, each with a sentence of its own"
)]
struct Changes {
    /// Output was written or a request was cancelled since the last [`take_progress`](ServerSession::take_progress).
    progress: bool,
    /// Output was written or a request ended since the last [`process`](ServerSession::process), so a request that waits may
    /// be taken.
    resumes: bool,
    /// The last [`process_while`](ServerSession::process_while) ended early.
    unprocessed: bool,
    /// Requests were answered whose counts are not noted and whose memory is not released.
    unsettled: bool,
    /// The connection is beyond the limit, and the observer has not been told.
    over_capacity: bool,
}

impl<H: ?Sized> ServerSession<H> {
    /// Returns the session of a connection that `peer` made, which was accepted at `now` and has this `slot`.
    #[must_use]
    pub fn new(policy: Arc<ServerPolicy<H>>, peer: PeerCredentials, slot: Slot, now: Instant) -> Self {
        policy.telemetry.note(Event::Opened);
        Self {
            connection: policy.connection(slot, now),
            peer: policy.peer(peer, slot),
            policy,
            request_memory: 0,
            descriptors: VecDeque::new(),
            legacy: None,
            legacy_memory: 0,
            reset: false,
            closed: false,
            phase: Phase::Serving,
            blocked: None,
            changes: Changes { over_capacity: slot.is_over_capacity(), ..Changes::default() },
            batch: Batch::default(),
        }
    }

    /// Takes what arrived at `now`.
    pub fn receive<'a>(&mut self, received: impl Into<Received<'a>>, now: Instant) {
        let received = received.into();
        self.policy.telemetry.note(Event::Received { bytes: received.bytes().len() });
        self.connection.receive(received, now);
    }

    /// Takes the receive buffer, so that the driver reads onto its end and saves a copy. Returns `None` unless much of a
    /// message is still to come or the last one was large. The driver then [restores](Self::restore_recv_buffer) the buffer,
    /// even if nothing was read.
    pub fn take_recv_buffer(&mut self) -> Option<Vec<u8>> {
        // While the server drains, each read is bounded by the driver's own buffer.
        (self.phase < Phase::Draining).then(|| self.connection.take_recv_buffer()).flatten()
    }

    /// Puts the receive buffer back; its last `length` bytes arrived at `now`.
    pub fn restore_recv_buffer(&mut self, buffer: Vec<u8>, length: usize, now: Instant) {
        self.policy.telemetry.note(Event::Received { bytes: length });
        self.connection.restore_recv_buffer(buffer, length, now);
    }

    /// Ends the input: the peer sends nothing more. What came before is processed, as by [`process`](Self::process).
    /// `is_gone` tells whether the peer has closed the connection in both directions; it is called only if requests are in
    /// flight. If it has, they are cancelled before the last of them are dispatched.
    pub fn end_of_input(&mut self, is_gone: impl FnOnce() -> bool, dispatch: impl FnMut(Dispatched<H>)) {
        self.connection.receive_eof();
        let mut last = Vec::new();
        self.process(|dispatched| last.push(dispatched));
        if self.connection.in_flight() > 0 && is_gone() {
            self.reset();
        }
        last.into_iter().for_each(dispatch);
    }

    /// Ends the connection because the socket failed with `error`, and tells the observer.
    pub fn fail(&mut self, error: io::Error) {
        if !self.reset {
            self.policy.telemetry.error_of(self.peer.credentials, &error.into());
            self.reset();
        }
    }

    /// Ends the connection at once: nothing more is read or written, and every request is cancelled.
    pub fn reset(&mut self) {
        self.reset_connection();
        // Nothing new can come. This cancels the requests in flight.
        self.process(drop);
    }

    fn reset_connection(&mut self) {
        self.reset = true;
        self.blocked = None;
        self.descriptors = VecDeque::new();
        self.connection.reset();
    }

    /// Enters `phase` of the server's end at `now`, unless it was entered before; returns whether nothing more is received from
    /// now on. The driver then shuts the reading side of the socket down.
    ///
    /// In [`Phase::HandedOver`] everything is served on. The next [`process`](Self::process), or that of its first request, tells
    /// a peer that [wants to know](crate::broker::protocol::WANTS_MOVED) to go to the successor, once.
    pub fn enter(&mut self, phase: Phase, now: Instant) -> bool {
        if phase <= self.phase {
            return false;
        }
        self.phase = phase;
        if phase < Phase::Draining {
            return false;
        }
        // A client that is proven now would find the connection ended with its first request.
        self.connection.refuse_probes();
        if let Some(blocked) = &mut self.blocked {
            blocked.hasten(now);
        }
        if phase == Phase::Cancelling {
            self.connection.cancel_all(CancelReason::ShuttingDown);
        }
        true
    }

    /// Takes the time, and ends the connection or the requests whose [`deadline`](Self::deadline) has passed.
    ///
    /// A driver first reads what has arrived and writes what the socket takes, without waiting: after the process was
    /// stopped, or the machine asleep, the peer may have been in time. A peer that sends on and on is judged after
    /// sixteen such reads.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(blocked) = &mut self.blocked {
            let unwritten = self.connection.unwritten();
            if blocked.has_expired(now, unwritten, self.policy.write_timeout(self.phase)) {
                self.fail(timed_out());
            }
        }
        if self.connection.deadline().is_some_and(|deadline| deadline <= now) {
            self.connection.handle_timeout(now);
        }
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) if nothing happens before; `None` is never.
    ///
    /// It holds after [`process`](Self::process), until anything else is called.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        earliest(self.connection.deadline(), self.blocked.as_ref().and_then(BlockedWrite::deadline))
    }

    /// Returns what the driver does next, after [`process`](Self::process) and after writing what the socket takes.
    #[must_use]
    pub fn next_action(&mut self) -> Action {
        self.settle();
        let connection = &self.connection;
        let in_flight = connection.in_flight() > 0;
        if self.changes.unprocessed || self.changes.resumes && connection.is_blocked() {
            Action::Process
        } else if connection.wants_input() {
            Action::Read
        } else if connection.has_ended() && in_flight && !self.reset {
            Action::AwaitHangUp
        } else if !connection.is_over() || in_flight || connection.unwritten() > 0 {
            Action::Wait
        } else {
            self.legacy.take().map_or(Action::Close, Action::ServeLegacy)
        }
    }

    /// Returns whether the last [`process_while`](Self::process_while) ended early.
    pub(super) fn is_unprocessed(&self) -> bool {
        self.changes.unprocessed
    }

    /// Ends the request `call` with `answer` at `now`, and queues the response or the refusal. The response is counted and memory is
    /// released before it is written, together with others.
    pub fn finish(&mut self, call: CallId, answer: Answer, now: Instant) {
        let Some(ended) = self.connection.end(call) else { return };
        let Work { payload_protocol, taken, memory, span, .. } = ended.data();
        let waits = !ended.is_cancelled() && !self.reset;
        self.policy.telemetry.note(Event::Ended);
        let judged = match answer {
            Answer::Payload(payload) => Ok(payload),
            // The report of a failure belongs to the span of the request.
            failed => {
                let peer = self.peer.credentials;
                span.in_scope(|| self.policy.judge(*payload_protocol, failed, peer, waits))
            }
        };
        self.request_memory -= memory;
        self.changes.resumes = true;
        let outcome = match judged {
            Ok(payload) => self.respond(&ended, payload),
            Err(refusal) => {
                self.connection.refuse_ended(&ended, &refusal);
                Outcome::Refused(refusal.reason())
            }
        };
        // The outcome of a cancelled request was noted when it was cancelled.
        if outcome == Outcome::Answered && !ended.is_cancelled() {
            self.batch.answered(*payload_protocol, &self.policy.telemetry);
            self.policy.telemetry.took(*taken, now, 1);
        } else if !ended.is_cancelled() {
            self.policy.telemetry.outcome(*payload_protocol, outcome);
        }
        self.changes.unsettled = true;
        if !waits || self.reset {
            // Nothing will be written.
            self.settle();
        }
    }

    fn respond(&mut self, ended: &Ended<Work>, payload: Payload) -> Outcome {
        let (payload_protocol, peer) = (ended.data().payload_protocol, self.peer.credentials);
        // A driver that has not called `Dispatched::serve`.
        let sendable = sendable(payload, ended.peer_descriptors().into(), |bytes| {
            let memory = self.memory() + bytes;
            Ok(self.policy.charge(&mut self.peer, memory)?)
        });
        let payload = match sendable {
            Ok(payload) => payload,
            Err(error) => {
                let judged = self.policy.judge(payload_protocol, Answer::Failed(error), peer, true);
                let refusal = judged.err().unwrap_or_default();
                self.connection.refuse_ended(ended, &refusal);
                return Outcome::Refused(refusal.reason());
            }
        };
        if let Err(error) = self.charge_answer(ended, &payload) {
            self.run_out_of_memory(&error);
            return Outcome::Cancelled;
        }
        match self.connection.respond_ended(ended, payload) {
            Ok(()) => Outcome::Answered,
            Err(error) => {
                let reason = unanswerable(&error).reason();
                self.policy.unanswerable(payload_protocol, error, peer);
                Outcome::Refused(reason)
            }
        }
    }

    /// Counts the requests that were answered since the last call, and releases their memory.
    fn settle(&mut self) {
        if std::mem::take(&mut self.changes.unsettled) {
            self.batch.note(&self.policy.telemetry);
            self.charge_or_reset();
        }
    }

    /// Makes a peer that sends nothing in time one of the legacy wire.
    #[cfg(feature = "tokio")]
    pub(super) fn take_silent_as_legacy(&mut self) {
        self.connection.connection_mut().take_silent_as_legacy();
    }

    /// Returns whether the peer has sent nothing so far.
    #[cfg(feature = "tokio")]
    pub(super) fn is_silent(&mut self) -> bool {
        !self.reset && self.connection.connection_mut().is_silent()
    }

    /// Makes the peer, which [is silent](Self::is_silent), one of the legacy wire. The next [`process`](Self::process) does it.
    #[cfg(feature = "tokio")]
    pub(super) fn end_silence(&mut self) {
        self.connection.connection_mut().end_silence();
    }

    /// Returns how many requests are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.connection.in_flight()
    }

    /// Returns whether the connection was [reset](Self::reset) or failed: the driver shuts the socket down.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.reset
    }

    /// Returns whether a probe waits for the identity of the daemon.
    #[must_use]
    pub fn awaits_identity(&self) -> bool {
        self.connection.awaits_identity()
    }

    /// Returns the credentials of the peer.
    #[must_use]
    pub fn peer(&self) -> PeerCredentials {
        self.peer.credentials
    }

    /// Returns the policy of the server.
    #[must_use]
    pub fn policy(&self) -> &Arc<ServerPolicy<H>> {
        &self.policy
    }

    /// Tells the observer of an error of the driver's that concerns this connection, and of its peer.
    pub fn report(&self, error: &ServeError) {
        self.policy.telemetry.error_of(self.peer.credentials, error);
    }

    /// Refuses all that the peer asks for from now on with `refusal`.
    pub fn refuse_peer(&mut self, refusal: Refusal) {
        self.peer.refuse(refusal);
    }
}

impl<H: ?Sized> Drop for ServerSession<H> {
    fn drop(&mut self) {
        self.close();
        // No handler of the session can finish any more, and other connections wait for its places.
        for _ in 0..self.connection.in_flight() {
            self.policy.telemetry.note(Event::Ended);
        }
    }
}

impl<H: ?Sized> fmt::Debug for ServerSession<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerSession")
            .field("peer", &self.peer.credentials)
            .field("phase", &self.phase)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
