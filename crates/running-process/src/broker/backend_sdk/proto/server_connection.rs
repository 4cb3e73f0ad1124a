//! The daemon's side of one connection with its calls: admission, answers in any order, deadlines and cancellation.

mod call;
mod calls;

pub use call::{Call, CallId, CancelReason, SendEventError, ServerEvent};

use super::connection::{Connection, ConnectionConfig, ConnectionError, ConnectionEvent, Request};
use super::deadline::earliest;
use super::payload::Payload;
use super::send_buffer::Output;
use crate::broker::backend_sdk::mux::{BackendEndpointMux, LegacyClassification};
#[cfg(feature = "host")]
use crate::broker::protocol::Encodings;
use crate::broker::protocol::{EncodingPolicy, FrameRef, FramingError, Refusal};
use calls::Calls;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many bytes are taken ahead of what can be served: enough to see a peer that hangs up, and to go on at once.
const READ_AHEAD: usize = 64 * 1024;

/// How long what is empty keeps its memory for the next message.
const KEPT: Duration = Duration::from_secs(1);

/// A [`Connection`] that knows which requests are being served.
///
/// A request is [admitted](Call::admit) and answered later, in any order, or answered while its event is looked at. At
/// most [`ConnectionConfig::max_in_flight`] are admitted; the next request then waits in the buffer, with all that is
/// behind it, and so does one whose id is that of an admitted one, so a peer that does not number its requests is
/// answered in order. None is taken while the peer leaves [enough output](Self::new) unread, and no probe is answered. A
/// request whose trace context is longer than W3C's bounds, 55 and 512 bytes, is served without it.
///
/// A call that was cancelled keeps its place until it is [answered](Self::respond) or [refused](Self::refuse), because
/// its handler may still run.
///
/// **The guarantee:** every admitted request gets exactly one final frame, a response or a refusal, unless its peer is
/// gone; and one whose deadline passes, or that is cancelled, is told to the driver once.
#[derive(Debug)]
pub struct ServerConnection<F> {
    connection: Connection<F>,
    calls: Calls,
    max_in_flight: usize,
    encodings: EncodingPolicy,
    enough_output: usize,
    /// How much output the driver has taken and not written yet, in bytes.
    being_written: usize,
    /// The memory of that, in bytes.
    lent: usize,
    /// Memory for the next output, while the driver writes the last.
    spare: Output,
    /// How much memory empty buffers may keep for good, in bytes.
    kept: usize,
    /// When the driver was last told the time.
    now: Instant,
}

impl<F> ServerConnection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// A connection that was accepted at `now`. While `enough_output` bytes or more wait to be written, no request is
    /// taken.
    pub fn new(
        mux: Arc<BackendEndpointMux<F>>,
        config: ConnectionConfig,
        enough_output: usize,
        now: Instant,
    ) -> Self {
        let (max_in_flight, encodings) = (config.max_in_flight, config.encodings);
        let connection = Connection::new(mux, config, now);
        Self {
            connection,
            calls: Calls::default(),
            max_in_flight,
            encodings,
            enough_output,
            being_written: 0,
            lent: 0,
            spare: Output::default(),
            kept: 0,
            now,
        }
    }

    /// Takes what arrived at `now`.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.now = now;
        self.connection.receive(bytes, now);
    }

    /// The peer will send nothing more; it may still wait for its answers.
    pub fn receive_eof(&mut self) {
        self.connection.receive_eof();
    }

    /// Takes the time: what has passed its deadline comes out of [`next_event`](Self::next_event).
    ///
    /// As for [`Connection::handle_timeout`], a driver reads what has arrived before it calls this.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.connection.handle_timeout(now);
        self.calls.expire(now);
        if self.release_at().is_some_and(|at| at <= now) {
            self.release();
        }
    }

    /// Gives the memory back of what is empty.
    pub(crate) fn release(&mut self) {
        self.connection.release();
        self.calls.release();
        self.spare = Output::default();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) if nothing happens before; `None` is never.
    ///
    /// Holds once [`next_event`](Self::next_event) has returned `None`, until anything is received, written, admitted or
    /// ended.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        earliest(earliest(self.connection.deadline(), self.calls.deadline()), self.release_at())
    }

    /// When empty buffers give their memory back.
    fn release_at(&self) -> Option<Instant> {
        let connection = &self.connection;
        let empty = connection.buffered() == 0 && self.all_written();
        (empty && self.buffers() > self.kept).then(|| connection.last_activity().checked_add(KEPT)).flatten()
    }

    /// From now on at most `max_in_flight` calls are admitted at once; those that are, stay.
    pub fn set_max_in_flight(&mut self, max_in_flight: usize) {
        self.max_in_flight = max_in_flight;
    }

    /// Whether the driver should go on to read. If not, it waits until output is written or a call ends.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !self.has_ended()
            && !self.awaits_identity()
            && (!self.connection.is_postponed() || self.connection.buffered() < READ_AHEAD)
    }

    /// Whether a probe waits for the identity of the daemon. Nothing is read meanwhile.
    pub(crate) fn awaits_identity(&self) -> bool {
        self.connection.awaits_identity()
    }

    /// Whether the next request waits for output to be written or a call to end, and not for the peer.
    #[must_use]
    pub fn is_postponed(&self) -> bool {
        self.connection.is_postponed()
    }

    /// What comes next, or `None` until something else happens.
    ///
    /// # Errors
    ///
    /// The peer broke the rules or was too slow. Output may wait that says why, and admitted calls may still be answered;
    /// nothing more is received.
    pub fn next_event(&mut self) -> Result<Option<ServerEvent<'_>>, ConnectionError> {
        self.next_event_unless(true, |_, _| false)
    }

    /// [`next_event`](Self::next_event) that leaves the next request where it is also if `postpone` says so. That is told
    /// whether anything of this connection will end by itself, a call or the output, after which it is asked again.
    ///
    /// Payloads are as they came unless it is to `decode` them.
    #[inline]
    pub(crate) fn next_event_unless(
        &mut self,
        decode: bool,
        postpone: impl FnOnce(&FrameRef<'_>, bool) -> bool,
    ) -> Result<Option<ServerEvent<'_>>, ConnectionError> {
        self.calls.write_refusals(self.connection.output_buffer());
        self.heed_waiting();
        let Self { connection, calls, max_in_flight, enough_output, being_written, now, .. } = self;
        if let Some((call, reason)) = calls.next_cancelled() {
            return Ok(Some(ServerEvent::Cancelled(call, reason)));
        }
        let event = connection.next_event_unless(decode, |request, output| {
            let unwritten = output.len() + *being_written;
            unwritten >= *enough_output
                || request.is_some_and(|request| {
                    calls.len() >= *max_in_flight
                        || calls.contains(request.request_id)
                        || postpone(request, !calls.is_empty() || unwritten > 0)
                })
        })?;
        Ok(event.map(|event| match event {
            ConnectionEvent::Request(Request { frame, output, encodings }) => {
                let frame = frame.with_bounded_trace();
                ServerEvent::Request(Call { frame, output, calls, encodings, now: *now })
            }
            ConnectionEvent::Cancel(frame) => match calls.cancel(frame.request_id, CancelReason::Requested) {
                Some(call) => ServerEvent::Cancelled(call, CancelReason::Requested),
                None => ServerEvent::Unasked(frame),
            },
            ConnectionEvent::Response(frame)
            | ConnectionEvent::Event(frame)
            | ConnectionEvent::UnknownKind(frame) => ServerEvent::Unasked(frame),
            ConnectionEvent::Refused(violation) => ServerEvent::Refused(violation),
            ConnectionEvent::ProbeAnswered => ServerEvent::ProbeAnswered,
            ConnectionEvent::Legacy(buffered) => ServerEvent::Legacy(buffered),
            ConnectionEvent::Closed => ServerEvent::Closed,
        }))
    }

    /// Answers `call` and ends it. The answer to a cancelled call is dropped. A large payload is not copied.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`]; the call was refused for it then.
    pub fn respond(&mut self, call: CallId, payload: impl Into<Payload>) -> Result<(), FramingError> {
        let Self { connection, calls, encodings, .. } = self;
        let responded = calls.respond(call, payload.into(), encodings, connection.output_buffer());
        self.heed_waiting();
        responded
    }

    /// Refuses `call` and ends it. For a cancelled call it only gives its place free.
    pub fn refuse(&mut self, call: CallId, refusal: &Refusal) {
        self.calls.refuse(call, refusal, self.connection.output_buffer());
        self.heed_waiting();
    }

    /// Appends an event under the request id of `call`, ahead of its answer.
    ///
    /// # Errors
    ///
    /// Nothing was appended: the payload is too large, or nobody waits for the call any more.
    pub fn send_event(&mut self, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        let Self { connection, calls, encodings, .. } = self;
        calls.send_event(call, payload, encodings, connection.output_buffer())
    }

    /// Cancels every call, as the next events tell.
    pub fn cancel_all(&mut self, reason: CancelReason) {
        self.calls.cancel_all(reason);
    }

    /// The peer is gone: nothing more is received or written, and every call is cancelled.
    pub fn hang_up(&mut self) {
        self.connection.abandon();
        self.calls.cancel_all(CancelReason::PeerGone);
    }

    /// What waits to be written to the peer, or as much of it as lies in one piece.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.connection.output()
    }

    /// Fills `slices` with what waits to be written, for a vectored write; gives how many of them there are.
    pub fn output_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.connection.output_slices(slices)
    }

    /// `length` bytes of the output were written at `now`.
    ///
    /// # Panics
    ///
    /// `length` is more than the output holds.
    pub fn output_written(&mut self, length: usize, now: Instant) {
        self.now = now;
        self.connection.output_written(length, now);
        self.heed_waiting();
    }

    /// Takes the output away, to be written while calls go on to add to it. It counts until it was
    /// [given back](Self::give_back_output).
    ///
    /// For drivers that write on one thread while others go on to answer; the rest looks at [`output`](Self::output).
    pub fn take_output(&mut self) -> Output {
        let spare = std::mem::take(&mut self.spare);
        let output = std::mem::replace(self.connection.output_buffer(), spare);
        (self.being_written, self.lent) = (output.len(), output.capacity());
        output
    }

    /// Everything of `output`, which was taken, was written at `now`; its memory is used again.
    pub fn give_back_output(&mut self, output: Output, now: Instant) {
        self.now = now;
        (self.being_written, self.lent) = (0, 0);
        self.connection.touch(now);
        self.spare = output.reused();
        self.heed_waiting();
    }

    /// The peer is not idle while it waits for an answer. Until that is written only the driver's patience counts.
    fn heed_waiting(&mut self) {
        self.connection.set_busy(!self.calls.is_empty() || !self.all_written());
    }

    fn all_written(&self) -> bool {
        self.being_written == 0 && self.connection.all_written()
    }

    /// How many bytes wait to be written, or were taken and are being written.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.connection.unwritten() + self.being_written
    }

    /// How many calls are admitted and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is nothing more to read: the peer sends nothing more, or the connection is over. Requests that came
    /// may still wait to be taken.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.connection.has_ended()
    }

    /// Whether nothing more will be received.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connection.is_over()
    }

    /// Whether the peer has sent anything valid: a probe or a frame for the daemon.
    #[must_use]
    pub fn has_spoken(&self) -> bool {
        self.connection.has_spoken()
    }

    /// The memory of the buffers and of what is kept of calls, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffers() + self.calls.memory()
    }

    fn buffers(&self) -> usize {
        self.connection.memory() + self.lent + self.spare.capacity()
    }
}

/// What the crate's own drivers do beside.
#[cfg(feature = "host")]
impl<F> ServerConnection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// As [`Connection::lend_input`].
    pub(crate) fn lend_input(&mut self) -> Option<Vec<u8>> {
        self.connection.lend_input()
    }

    /// As [`Connection::give_back_input`].
    pub(crate) fn give_back_input(&mut self, input: Vec<u8>, length: usize, now: Instant) {
        self.now = now;
        self.connection.give_back_input(input, length, now);
    }

    /// As [`Connection::begins_too_large`].
    pub(crate) fn begins_too_large(&self) -> bool {
        self.connection.begins_too_large()
    }

    /// Returns the encodings that the peer decodes in the answer to `call`; none if the call has ended.
    pub(crate) fn accepted_encodings(&self, call: CallId) -> Encodings {
        self.calls.accepted_encodings(call)
    }

    /// As [`Connection::fence`].
    pub(crate) fn fence(&mut self) {
        self.connection.fence();
    }

    /// As [`Connection::close`].
    pub(crate) fn close(&mut self) {
        self.connection.close();
    }

    /// As [`Connection::trust`].
    pub(crate) fn trust(&mut self) {
        self.connection.trust();
    }

    /// Empty buffers of up to `bytes` in all keep their memory for good, which spares a driver a deadline with each read.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.kept = bytes;
    }

    /// When a byte last came or went.
    pub(crate) fn last_activity(&self) -> Instant {
        self.connection.last_activity()
    }
}
