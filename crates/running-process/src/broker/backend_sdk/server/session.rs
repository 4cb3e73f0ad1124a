//! One connection of a server as a state machine without a socket: its policy, for any driver.

mod blocked;
mod dispatch;

pub(super) use blocked::DRAIN_STALL;
pub(super) use dispatch::Work;
pub use dispatch::{Answer, Dispatched};

use self::blocked::BlockedWrite;
use super::callback::{self, Callback};
use super::cancellation::Cancellation;
use super::charges::{UNCHARGED, answer_memory};
use super::config::ServeError;
use super::connection_table::Slot;
use super::handler::{Handler, InlineHandler};
use super::hooks::Detector;
use super::peer::PeerCredentials;
use super::policy::{Peer, ServerPolicy};
use super::request::{InlineRequest, RequestParts};
use super::telemetry::{Batch, Event, Outcome, RequestSpan};
use crate::broker::backend_sdk::mux::MuxError;
use crate::broker::backend_sdk::proto::connection::{ConnectionError, Received};
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::recv_buffer::recycle;
use crate::broker::backend_sdk::proto::send_buffer::SendBuffer;
use crate::broker::backend_sdk::proto::server_connection::{
    Call, CallId, CancelReason, SendEventError, ServerConnection, ServerEvent,
};
use crate::broker::protocol::{Encodings, Refusal, RefusalReason};
use crate::transport::timed_out;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

/// What a driver does next for a [`ServerSession`], besides writing.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Call [`process`](ServerSession::process): there is room now for a request that waited.
    Process,
    /// Read from the socket.
    Read,
    /// Wait until the peer has closed the connection, then call [`reset`](ServerSession::reset): the peer sends nothing
    /// more, and handlers work on its requests.
    AwaitHangUp,
    /// Wait until output is written, a request ends, or the daemon's identity is known.
    Wait,
    /// Hand the socket to the handler of the legacy wire, which starts with these bytes.
    ServeLegacy(Vec<u8>),
    /// Close the socket.
    Close,
}

/// How far the end of a server has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Connections are accepted and read.
    #[default]
    Serving,
    /// What was received is answered, and nothing more is received.
    Draining,
    /// Requests that are still in flight are cancelled.
    Cancelling,
}

impl From<u8> for Phase {
    /// Returns the phase of this number, which `as u8` gives.
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Serving,
            1 => Self::Draining,
            _ => Self::Cancelling,
        }
    }
}

/// One connection of a server, without the connection: it decides what is read, served, refused, charged, written and
/// closed, and any runtime, or none, drives it.
///
/// A driver moves bytes and time in, and bytes and [`Action`]s out. The following loop is complete; `wait` blocks until
/// the socket is ready for `interest` or takes more of the output, a handler has finished, or the deadline has passed.
///
/// ```no_run
/// # use running_process::broker::backend_sdk::*;
/// # use std::{io::{self, IoSlice, Read, Write}, time::Instant};
/// # enum Interest { Readable, HangUp, None }
/// # fn wait<H: ?Sized>(_: &impl Read, _: Interest, _: &ServerSession<H>) -> bool { todo!() }
/// # fn is_gone(_: &impl Read) -> bool { todo!() }
/// # fn drive<H: ?Sized>(mut session: ServerSession<H>, mut socket: impl Read + Write, start_handler: &dyn Fn(Dispatched<H>))
/// # -> io::Result<()> {
/// let mut bytes = vec![0; 64 * 1024];
/// loop {
///     session.process(start_handler);
///     while session.has_output() {
///         let mut pieces = [IoSlice::new(&[]); 16];
///         let count = session.output_slices(&mut pieces);
///         match socket.write_vectored(&pieces[..count]) {
///             Ok(written) => session.output_written(written, Instant::now()),
///             Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
///                 session.write_blocked(Instant::now());
///                 break;
///             }
///             Err(error) => session.fail(error),
///         }
///     }
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
///         Action::Process => continue,
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
/// received gets one final frame, unless its peer is gone. No method blocks, and none runs code of the daemon but the detector, the rule of
/// `authorize`, inline handlers and the observer.
///
/// A later version offers descriptors beside bytes: [`receive`](Self::receive) takes [`Received`], which has room for
/// them, and a driver that does not ask for them never gets any to send.
pub struct ServerSession<H: ?Sized> {
    policy: Arc<ServerPolicy<H>>,
    connection: ServerConnection<Detector, Work>,
    peer: Peer,
    /// The memory of the requests in flight, in bytes.
    request_memory: usize,
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
}

/// The changes that the driver, or the observer, is still to learn of.
#[derive(Debug, Default)]
struct Changes {
    /// Output was written or a request was cancelled since the last [`take_progress`](ServerSession::take_progress).
    progress: bool,
    /// Output was written or a request ended since the last [`process`](ServerSession::process), so a request that waits may
    /// be taken.
    resumes: bool,
    /// The connection is one beyond the limit, which the observer is not told yet.
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
            legacy: None,
            legacy_memory: 0,
            reset: false,
            closed: false,
            phase: Phase::Serving,
            blocked: None,
            changes: Changes { over_capacity: slot.is_over_capacity(), ..Changes::default() },
        }
    }

    /// Takes what arrived at `now`.
    pub fn receive<'a>(&mut self, received: impl Into<Received<'a>>, now: Instant) {
        let received = received.into();
        self.policy.telemetry.note(Event::Received { bytes: received.bytes().len() });
        self.connection.receive(received, now);
    }

    /// Takes the receive buffer, to read onto its end, if that saves a copy: much of a message is still to come, or the
    /// last one was large. It is to be [restored](Self::restore_recv_buffer), whatever was read.
    pub fn take_recv_buffer(&mut self) -> Option<Vec<u8>> {
        // While the server drains, each read is bounded by the driver's own buffer.
        (self.phase == Phase::Serving).then(|| self.connection.take_recv_buffer()).flatten()
    }

    /// Puts the receive buffer back; its last `length` bytes arrived at `now`.
    pub fn restore_recv_buffer(&mut self, buffer: Vec<u8>, length: usize, now: Instant) {
        if length > 0 {
            self.policy.telemetry.note(Event::Received { bytes: length });
        }
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

    /// Ends the connection because the socket failed with `error`, which the observer is told.
    pub fn fail(&mut self, error: io::Error) {
        if !self.reset {
            self.policy.telemetry.error_of(self.peer.credentials, &error.into());
            self.reset();
        }
    }

    /// Ends the connection at once: nothing more is read or written, and every request is cancelled.
    pub fn reset(&mut self) {
        self.reset_connection();
        // Nothing new can come: the requests in flight are told.
        self.process(drop);
    }

    fn reset_connection(&mut self) {
        self.reset = true;
        self.blocked = None;
        self.connection.reset();
    }

    /// Enters `phase` of the server's end at `now`, unless it was entered before; returns whether this is new. The driver
    /// then shuts the reading side of the socket down.
    pub fn enter(&mut self, phase: Phase, now: Instant) -> bool {
        if phase <= self.phase {
            return false;
        }
        self.phase = phase;
        if let Some(blocked) = &mut self.blocked {
            blocked.hasten(now);
        }
        if phase == Phase::Cancelling {
            self.connection.cancel_all(CancelReason::ShuttingDown);
        }
        true
    }

    /// Takes the time: ends what waited past its [`deadline`](Self::deadline).
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
        let connection = &self.connection;
        let in_flight = connection.in_flight() > 0;
        if self.changes.resumes && connection.is_blocked() {
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

    /// Processes what was received: answers probes, runs inline handlers, refuses what is not served, and gives each request
    /// of a concurrent handler to `dispatch`.
    pub fn process(&mut self, mut dispatch: impl FnMut(Dispatched<H>)) {
        if std::mem::take(&mut self.changes.over_capacity) {
            // Before the peer is told: a client that knows of its refusal finds it counted.
            self.policy.telemetry.error(&self.policy.too_many_connections());
        }
        self.changes.resumes = false;
        // Received bytes are charged before anything is made of them.
        self.charge();
        loop {
            let was_reset = self.reset;
            let processed = callback::run(|| self.process_events(&mut dispatch));
            if processed.is_none() && !self.reset {
                // Handlers and the rule run there as well, and are caught where they are called.
                self.policy.panicked_in(Callback::Detector, self.peer.credentials);
                self.reset_connection();
                // The requests in flight are told by the next turn.
                continue;
            }
            if self.policy.budget.is_tight() {
                self.connection.release();
            }
            if self.charge() && self.reset == was_reset {
                return;
            }
        }
    }

    fn process_events(&mut self, dispatch: &mut impl FnMut(Dispatched<H>)) {
        let mut out_of_memory = None;
        let Self { policy, connection, peer, request_memory, legacy, legacy_memory, changes, .. } = self;
        let telemetry = &policy.telemetry;
        let mut batch = Batch::new(telemetry);
        // The payload of an inline request that came encoded.
        let mut decoded = Vec::new();
        while out_of_memory.is_none() {
            connection.set_max_in_flight(policy.max_in_flight_each());
            if connection.exceeds_first_message() && policy.authorize(peer).is_ok() {
                connection.trust_peer();
            }
            let event = connection.next_event_unless(false, |request, goes_on| {
                goes_on && !policy.affords(peer, request) && policy.authorize(peer).is_ok()
            });
            match event {
                Ok(None) => break,
                Err(error) => {
                    if let ConnectionError::Mux(MuxError::UnservedPayloadProtocol { payload_protocol }) =
                        error
                    {
                        batch.asked();
                        batch.refused(payload_protocol, RefusalReason::UnservedProtocol);
                    }
                    telemetry.error_of(peer.credentials, &error.into());
                }
                Ok(Some(ServerEvent::Request(call))) => match policy.admit(&call.frame, call.now(), peer) {
                    Ok((Handler::Status, _)) => policy.respond_status(call),
                    Ok((Handler::Inline(handler), _)) => {
                        batch.asked();
                        let answered = answer_inline(policy, handler, call, &mut decoded, peer, &mut batch);
                        out_of_memory = answered.err();
                    }
                    Ok((Handler::Concurrent(handler), deadline)) => {
                        batch.asked();
                        let taken = call.now();
                        let owned = policy.begin(peer.credentials).and_then(|()| {
                            policy.owned(&call, peer).inspect_err(|_| telemetry.note(Event::Ended))
                        });
                        let (frame, memory) = match owned {
                            Ok(owned) => owned,
                            Err(refusal) => {
                                refuse(call, &refusal, &mut batch);
                                continue;
                            }
                        };
                        *request_memory += memory;
                        let span = RequestSpan::new(&frame.borrowed(), peer.credentials);
                        let cancellation = Cancellation::default();
                        let payload_protocol = frame.payload_protocol;
                        let work =
                            Work { cancellation: cancellation.clone(), payload_protocol, memory, taken };
                        let request = RequestParts::new(frame, deadline, peer.credentials, cancellation);
                        let call = call.admit_with(deadline, work);
                        dispatch(Dispatched { call, handler: Arc::clone(handler), request, span });
                    }
                    Err(refusal) => {
                        batch.asked();
                        refuse(call, &refusal, &mut batch);
                    }
                },
                Ok(Some(ServerEvent::Cancelled(cancelled))) => {
                    cancelled.data.cancellation.cancel(cancelled.reason);
                    telemetry.outcome(cancelled.data.payload_protocol, Outcome::Cancelled);
                    changes.progress = true;
                }
                Ok(Some(ServerEvent::Legacy(mut buffered))) => {
                    if policy.authorize(peer).is_ok() {
                        buffered.shrink_to_fit();
                        *legacy_memory = buffered.capacity();
                        *legacy = Some(buffered);
                    }
                }
                Ok(Some(ServerEvent::ProbeAnswered)) => telemetry.note(Event::ProbeAnswered),
                Ok(Some(ServerEvent::Refused(_))) => unreachable!("payloads are decoded and refused here"),
                // The rule is asked about each peer that sends the daemon anything.
                Ok(Some(ServerEvent::Unasked(_))) => drop(policy.authorize(peer)),
                Ok(Some(ServerEvent::Closed)) => {}
            }
        }
        drop(batch);
        recycle(decoded);
        if peer.is_refused() {
            // Each request that came was refused.
            connection.close();
        }
        if let Some(error) = out_of_memory {
            self.run_out_of_memory(&error);
        }
    }

    /// Ends the request `call` with `answer` at `now`, and queues the response or the refusal.
    pub fn finish(&mut self, call: CallId, answer: Answer, now: Instant) {
        let Some(work) = self.connection.data(call) else { return };
        let Work { payload_protocol, taken, memory, .. } = *work;
        let cancelled = self.connection.is_cancelled(call);
        let waits = !cancelled && !self.reset;
        self.request_memory -= memory;
        self.changes.resumes = true;
        self.policy.telemetry.note(Event::Ended);
        let outcome = match self.policy.judge(payload_protocol, answer, self.peer.credentials, waits) {
            Ok(payload) => self.respond(call, payload_protocol, payload),
            Err(refusal) => {
                self.connection.refuse(call, &refusal);
                Outcome::Refused(refusal.reason())
            }
        };
        // The outcome of a cancelled request was noted when it was cancelled.
        if !cancelled {
            self.policy.telemetry.outcome(payload_protocol, outcome);
            if outcome == Outcome::Answered {
                self.policy.telemetry.took(taken, now, 1);
            }
        }
        self.charge_or_reset();
    }

    fn respond(&mut self, call: CallId, payload_protocol: u32, payload: Payload) -> Outcome {
        if let Err(error) = self.charge_answer(call, &payload) {
            self.run_out_of_memory(&error);
            self.connection.refuse(call, &Refusal::default());
            return Outcome::Cancelled;
        }
        match self.connection.respond(call, payload) {
            Ok(()) => Outcome::Answered,
            Err(error) => {
                self.policy.unanswerable(payload_protocol, error, self.peer.credentials);
                Outcome::Refused(RefusalReason::AnswerTooLarge)
            }
        }
    }

    /// Charges an answer that is to be kept, unless the peer does not wait for it.
    fn charge_answer(&mut self, call: CallId, payload: &Payload) -> Result<(), ServeError> {
        if self.reset || payload.capacity().max(payload.len()) < UNCHARGED {
            return Ok(());
        }
        let accepted = self.connection.accepted_encodings(call);
        let memory = answer_memory(payload, &self.policy.config.connection.encodings, accepted);
        let memory = self.memory() + memory;
        self.policy.charge(&mut self.peer, memory)
    }

    /// Queues an event under the request id of `call`, ahead of its answer.
    ///
    /// # Errors
    ///
    /// Nothing was queued: the payload does not fit a frame, the peer does not wait for the answer any more, or the server
    /// has no memory for the event, which ends the connection.
    pub fn send_event(&mut self, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        if payload.len() >= UNCHARGED && !self.reset {
            let memory = self.memory() + payload.len();
            if let Err(error) = self.policy.charge(&mut self.peer, memory) {
                self.run_out_of_memory(&error);
                self.process(drop);
                return Err(SendEventError::Cancelled);
            }
        }
        let sent = self.connection.send_event(call, payload);
        self.charge_or_reset();
        sent?;
        self.policy.telemetry.note(Event::EventSent);
        Ok(())
    }

    /// Returns whether an event of `call`, or the beginning of its handler, waits: the peer leaves
    /// [`send_high_water`](super::ServerConfig::send_high_water) bytes unread, and still waits for the answer.
    #[must_use]
    pub fn holds_back(&self, call: CallId) -> bool {
        self.is_full() && self.connection.data(call).is_some() && !self.connection.is_cancelled(call)
    }

    /// Returns whether the peer leaves so much unread that no handler begins for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.reset && self.connection.unwritten() >= self.policy.config.send_high_water.max(1)
    }

    /// Returns whether output was written or a request was cancelled since the last call: handlers that are
    /// [held back](Self::holds_back) look again.
    pub fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.changes.progress)
    }

    /// Returns whether output waits to be written.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.connection.output().is_empty()
    }

    /// Fills `slices` with the output, for a vectored write; returns how many slices that are.
    pub fn output_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.connection.output_slices(slices)
    }

    /// Removes the first `length` bytes of the output, which were written at `now`.
    ///
    /// # Panics
    ///
    /// `length` is more than the output holds.
    pub fn output_written(&mut self, length: usize, now: Instant) {
        if length == 0 {
            return self.fail(io::ErrorKind::WriteZero.into());
        }
        self.connection.output_written(length, now);
        self.wrote(length, now);
    }

    fn wrote(&mut self, bytes: usize, now: Instant) {
        self.policy.telemetry.note(Event::Sent { bytes });
        (self.changes.progress, self.changes.resumes) = (true, true);
        if let Some(blocked) = self.blocked.take() {
            self.blocked = blocked.wrote(bytes, now, self.phase);
        }
        self.charge();
    }

    /// Notes at `now` that the socket takes no more output: the peer has
    /// [`write_timeout`](super::ServerConfig::write_timeout) to read what waits.
    pub fn write_blocked(&mut self, now: Instant) {
        if self.blocked.is_none() {
            let timeout = self.policy.write_timeout(self.phase);
            self.blocked = Some(BlockedWrite::new(self.connection.unwritten(), now, timeout));
        }
    }

    /// Takes the output, for a driver that blocks in a write while other threads add to the session. It counts as unwritten until it
    /// is [restored](Self::restore_output).
    pub fn take_output(&mut self) -> SendBuffer {
        self.connection.take_output()
    }

    /// Puts the buffer of [`take_output`](Self::take_output) back at `now`, once all `written` bytes of it were written.
    pub fn restore_output(&mut self, buffer: SendBuffer, written: usize, now: Instant) {
        self.connection.restore_output(buffer, now);
        self.wrote(written, now);
    }

    /// Returns how many requests are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.connection.in_flight()
    }

    /// Returns whether received bytes wait that no request has consumed.
    #[must_use]
    pub fn has_buffered_input(&self) -> bool {
        self.connection.has_buffered_input()
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

    /// Returns when a byte was received or written last.
    #[must_use]
    pub fn last_activity(&self) -> Instant {
        self.connection.last_activity()
    }

    /// Releases the memory of the bytes that the legacy handler started with: it has read them.
    pub fn release_legacy(&mut self) {
        self.legacy_memory = 0;
        self.charge();
    }

    /// Closes the session: it is [reset](Self::reset), does not count as open any more, and releases the memory that it
    /// is charged with, although handlers may still run. Dropping the session does the same.
    pub fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        if !self.connection.is_over() || self.connection.in_flight() > 0 {
            self.reset();
        }
        self.policy.telemetry.note(Event::Closed);
        self.policy.release(&mut self.peer);
    }

    /// Returns the memory that the connection uses, in bytes.
    fn memory(&self) -> usize {
        self.connection.memory() + self.request_memory + self.legacy_memory
    }

    /// Charges the memory that the connection uses now. Returns `false` if the server does not have it; the connection is
    /// reset then, and the next [`process`](Self::process) tells its requests.
    fn charge(&mut self) -> bool {
        if self.closed {
            return true;
        }
        let memory = self.memory();
        match self.policy.charge_and_note(&mut self.peer, memory) {
            Err(error) if !self.reset => {
                self.run_out_of_memory(&error);
                false
            }
            _ => true,
        }
    }

    /// Charges what a handler has left, and tells the other requests if that ends the connection.
    fn charge_or_reset(&mut self) {
        self.charge();
        if self.reset {
            self.process(drop);
        }
    }

    fn run_out_of_memory(&mut self, error: &ServeError) {
        self.policy.telemetry.error_of(self.peer.credentials, error);
        self.reset_connection();
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

/// Answers `call` inline.
///
/// # Errors
///
/// The server has no memory to keep the answer.
fn answer_inline<H: ?Sized>(
    policy: &ServerPolicy<H>,
    handler: &InlineHandler,
    call: Call<'_, Work>,
    decoded: &mut Vec<u8>,
    peer: &mut Peer,
    batch: &mut Batch<'_>,
) -> Result<(), ServeError> {
    let (payload_protocol, taken) = (call.frame.payload_protocol, call.now());
    let answer = policy.decoded(&call, decoded, peer).and_then(|frame| {
        let span = RequestSpan::new(&frame, peer.credentials);
        span.in_scope(|| {
            let request = InlineRequest::new(frame, peer.credentials);
            let answer = Answer::of(|| handler(&request));
            policy.judge(payload_protocol, answer, peer.credentials, true)
        })
    });
    match answer {
        Err(refusal) => refuse(call, &refusal, batch),
        Ok(payload) => {
            let accepted = Encodings::from_bits(call.frame.accepted_encodings);
            let memory = answer_memory(&payload, &policy.config.connection.encodings, accepted);
            if memory >= UNCHARGED {
                policy.charge_more(peer, memory)?;
            }
            match call.respond(payload) {
                Ok(()) => batch.answered(payload_protocol, taken),
                Err(error) => {
                    policy.unanswerable(payload_protocol, error, peer.credentials);
                    batch.refused(payload_protocol, RefusalReason::AnswerTooLarge);
                }
            }
        }
    }
    Ok(())
}

fn refuse(call: Call<'_, Work>, refusal: &Refusal, batch: &mut Batch<'_>) {
    batch.refused(call.frame.payload_protocol, refusal.reason());
    call.refuse(refusal);
}
