//! The daemon's side of one connection with the requests that it serves.

mod call;
mod call_id;
mod calls;
mod descriptors;

pub use call::{Call, ServerEvent};
pub use call_id::{CallId, CancelReason, Cancelled, SendEventError};
#[cfg(feature = "host")]
pub(crate) use calls::Ended;

use super::connection::{
    Connection, ConnectionConfig, ConnectionError, ConnectionEvent, Received, ReceivedRequest, append_answer,
    append_payload,
};
use super::deadline::earliest;
use super::payload::Payload;
#[cfg(feature = "host")]
use super::recv_buffer::Place;
use super::send_buffer::SendBuffer;
use crate::broker::backend_sdk::mux::{BackendEndpointMux, LegacyClassification};
use crate::broker::protocol::{
    EncodingPolicy, FrameRef, FramingError, Notice, NoticeKind, Refusal, WANTS_MOVED,
};
use calls::{Calls, Ended as EndedCall};
use prost::Message;
use std::borrow::Cow;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that are read ahead of a blocked request: enough to see that the peer hangs up, and to go on at once.
const READ_AHEAD: usize = 64 * 1024;

/// Time for which an empty buffer retains its memory for the next message.
const RETAIN_AFTER: Duration = Duration::from_secs(1);

/// A [`Connection`] that knows which requests are in flight, each with data `T` of the driver.
///
/// A request is [admitted](Call::admit) and answered later, in any order, or answered while its event is looked at ([example](Call)). At
/// most [`ConnectionConfig::max_in_flight`] are admitted. The next request then waits in the buffer with all that is
/// behind it, and so does one whose id is that of an admitted one, so a peer that does not number its requests is
/// answered in order. While the peer leaves [`send_high_water`](Self::new) bytes unread, no request is taken and no probe is
/// answered. A request whose trace context is longer than W3C's bounds, 55 and 512 bytes, is served without it.
///
/// A cancelled request counts against `max_in_flight` until it is [answered](Self::respond) or [refused](Self::refuse),
/// because its handler may still run.
///
/// **The guarantee:** every admitted request gets exactly one final frame, a response or a refusal, unless its peer is
/// gone. A request whose deadline passes, or that is cancelled, is reported to the driver once.
///
/// It knows the wire and the calls. `ServerSession`, in the feature `host`, adds the policy of a server.
#[derive(Debug)]
pub struct ServerConnection<F, T = ()> {
    connection: Connection<F>,
    calls: Calls<T>,
    max_in_flight: usize,
    encodings: EncodingPolicy,
    send_high_water: usize,
    /// Bytes of output that the driver has taken and not yet restored.
    being_written: usize,
    /// The memory of that output, in bytes.
    taken_memory: usize,
    /// The buffer for the next output, while the driver writes the last one.
    spare: SendBuffer,
    /// The peer wants to be told when another process serves the endpoint.
    wants_moved: bool,
    told_moved: bool,
    /// When the driver was last told the time.
    now: Instant,
}

impl<F, T> ServerConnection<F, T>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Returns the connection that was accepted at `now`. While `send_high_water` bytes or more wait to be written, no request
    /// is taken.
    pub fn new(
        mux: Arc<BackendEndpointMux<F>>,
        config: ConnectionConfig,
        send_high_water: usize,
        now: Instant,
    ) -> Self {
        let (max_in_flight, encodings) = (config.max_in_flight, config.encodings);
        Self {
            connection: Connection::new(mux, config, now),
            calls: Calls::default(),
            max_in_flight,
            encodings,
            send_high_water,
            being_written: 0,
            taken_memory: 0,
            spare: SendBuffer::default(),
            wants_moved: false,
            told_moved: false,
            now,
        }
    }

    /// Takes what arrived at `now`.
    #[inline]
    pub fn receive<'a>(&mut self, received: impl Into<Received<'a>>, now: Instant) {
        self.now = now;
        self.connection.receive(received, now);
    }

    /// Ends the input: the peer sends nothing more. It may still wait for its answers.
    pub fn receive_eof(&mut self) {
        self.connection.receive_eof();
    }

    /// Takes the receive buffer, as [`Connection::take_recv_buffer`].
    pub fn take_recv_buffer(&mut self) -> Option<Vec<u8>> {
        self.connection.take_recv_buffer()
    }

    /// Puts the receive buffer back, as [`Connection::restore_recv_buffer`].
    pub fn restore_recv_buffer(&mut self, buffer: Vec<u8>, length: usize, now: Instant) {
        self.now = now;
        self.connection.restore_recv_buffer(buffer, length, now);
    }

    /// Takes the time. [`next_event`](Self::next_event) then reports the deadlines that have passed.
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

    /// Releases the memory of empty buffers.
    pub fn release(&mut self) {
        self.connection.release();
        self.calls.release();
        self.spare = SendBuffer::default();
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) if nothing happens before; `None` is never.
    ///
    /// It holds once [`next_event`](Self::next_event) has returned `None`, until bytes are received or written, or a call is
    /// admitted or ended.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        earliest(earliest(self.connection.deadline(), self.calls.deadline()), self.release_at())
    }

    /// Returns when empty buffers release their memory.
    fn release_at(&self) -> Option<Instant> {
        let connection = &self.connection;
        let empty = connection.buffered() == 0 && self.all_written();
        (empty && self.buffers() > 0).then(|| connection.last_activity().checked_add(RETAIN_AFTER)).flatten()
    }

    /// Returns the connection, to tell it of silence.
    #[cfg(feature = "tokio")]
    pub(crate) fn connection_mut(&mut self) -> &mut Connection<F> {
        &mut self.connection
    }

    /// Sets the number of requests that may be in flight from now on. Requests in flight stay.
    pub fn set_max_in_flight(&mut self, max_in_flight: usize) {
        self.max_in_flight = max_in_flight;
    }

    /// Returns whether the driver should read. If not, it waits until output is written or a request ends.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !self.has_ended()
            && !self.awaits_identity()
            && (!self.connection.is_blocked()
                || self.connection.buffered() < READ_AHEAD && self.connection.has_descriptor_room())
    }

    /// Returns whether a probe waits for the identity of the daemon. Nothing is read meanwhile.
    #[must_use]
    pub fn awaits_identity(&self) -> bool {
        self.connection.awaits_identity()
    }

    /// Returns whether the next request waits for output to be written or a request to end, and not for the peer.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.connection.is_blocked()
    }

    /// Returns the next event, or `None` until something else happens.
    ///
    /// # Errors
    ///
    /// The peer broke the rules or was too slow. Output may wait that says why, and admitted requests may still be answered;
    /// nothing more is received.
    pub fn next_event(&mut self) -> Result<Option<ServerEvent<'_, T>>, ConnectionError> {
        self.next_event_unless(true, |_, _| false)
    }

    /// Returns the [next event](Self::next_event), but leaves the next request in the buffer if `block` returns `true`. `block`
    /// gets the request, and whether a request in flight or unwritten output of this connection will end, after which it is
    /// called again.
    ///
    /// Payloads are decoded only if `decode` is set.
    #[inline]
    pub(crate) fn next_event_unless(
        &mut self,
        decode: bool,
        block: impl FnOnce(&FrameRef<'_>, bool) -> bool,
    ) -> Result<Option<ServerEvent<'_, T>>, ConnectionError> {
        self.calls.write_refusals(self.connection.output_buffer());
        self.update_idle();
        let Self {
            connection, calls, max_in_flight, send_high_water, being_written, wants_moved, now, ..
        } = self;
        if calls.has_cancelled() {
            return Ok(calls.next_cancelled().map(ServerEvent::Cancelled));
        }
        let event = connection.next_event_unless(decode, |request, output| {
            let unwritten = output.len() + *being_written;
            unwritten >= *send_high_water
                || request.is_some_and(|request| {
                    calls.len() >= *max_in_flight
                        || calls.contains(request.request_id)
                        || block(request, !calls.is_empty() || unwritten > 0)
                })
        })?;
        Ok(event.map(|event| match event {
            ConnectionEvent::Request(ReceivedRequest { frame, output, encodings, accepted_descriptors }) => {
                *wants_moved |= frame.accepted_encodings & WANTS_MOVED != 0;
                let frame = frame.with_bounded_trace();
                let now = *now;
                ServerEvent::Request(Call { frame, output, calls, encodings, accepted_descriptors, now })
            }
            ConnectionEvent::Cancel(frame) => match calls.cancel(frame.request_id, CancelReason::Requested) {
                Some(cancelled) => ServerEvent::Cancelled(cancelled),
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

    /// Returns the driver's data of `call`; `None` if it has ended.
    #[must_use]
    pub fn data(&self, call: CallId) -> Option<&T> {
        self.calls.data(call)
    }

    /// Returns the driver's data of `call`; `None` if it has ended.
    #[cfg(feature = "host")]
    pub(crate) fn data_mut(&mut self, call: CallId) -> Option<&mut T> {
        self.calls.data_mut(call)
    }

    /// Returns the payload of the request that was taken last, which lies at `place`, as [`Connection::take_payload`] does.
    #[cfg(feature = "host")]
    pub(crate) fn take_payload(&mut self, place: Place) -> Vec<u8> {
        self.connection.take_payload(place)
    }

    /// Returns whether `call` is in flight and was cancelled.
    #[must_use]
    pub fn is_cancelled(&self, call: CallId) -> bool {
        self.calls.is_cancelled(call)
    }

    /// Answers `call` and ends it. The answer to a cancelled call is dropped. A large payload is not copied.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`], or [`FramingError::Io`] if the peer does not take the descriptors; the call was refused for it
    /// then.
    pub fn respond(&mut self, call: CallId, payload: impl Into<Payload>) -> Result<(), FramingError> {
        let ended = self.end(call);
        ended.map_or(Ok(()), |ended| self.respond_ended(&ended, payload.into()))
    }

    /// Refuses `call` and ends it. A cancelled call only ends.
    pub fn refuse(&mut self, call: CallId, refusal: &Refusal) {
        if let Some(ended) = self.end(call) {
            self.refuse_ended(&ended, refusal);
        }
    }

    /// Ends `call`; its answer goes to [`respond_ended`](Self::respond_ended) or [`refuse_ended`](Self::refuse_ended), before
    /// anything else.
    pub(crate) fn end(&mut self, call: CallId) -> Option<EndedCall<T>> {
        let ended = self.calls.end(call, self.connection.output_buffer());
        self.update_idle();
        ended
    }

    pub(crate) fn respond_ended(
        &mut self,
        ended: &EndedCall<T>,
        payload: Payload,
    ) -> Result<(), FramingError> {
        let Self { connection, encodings, .. } = self;
        let accepted = connection.accepted_descriptors();
        let responded = ended.respond(payload, encodings, accepted, connection.output_buffer());
        self.update_idle();
        responded
    }

    pub(crate) fn refuse_ended(&mut self, ended: &EndedCall<T>, refusal: &Refusal) {
        ended.refuse(refusal, self.connection.output_buffer());
        self.update_idle();
    }

    /// Appends an event under the request id of `call`, ahead of its answer.
    ///
    /// # Errors
    ///
    /// Nothing was appended: the payload is too large, or the peer does not wait for the answer any more.
    pub fn send_event(&mut self, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        let Self { connection, calls, encodings, .. } = self;
        let accepted = connection.accepted_descriptors();
        calls.send_event(call, accepted, |request, event| {
            append_answer(request, event, Cow::Borrowed(payload), encodings, connection.output_buffer())
        })
    }

    /// Appends an event as [`send_event`](Self::send_event) does, with the descriptors of `payload`. A large payload is not copied.
    ///
    /// # Errors
    ///
    /// As [`send_event`](Self::send_event), and [`FramingError::Io`] if the peer does not take the descriptors.
    pub fn send_event_payload(
        &mut self,
        call: CallId,
        payload: impl Into<Payload>,
    ) -> Result<(), SendEventError> {
        let Self { connection, calls, encodings, .. } = self;
        let accepted = connection.accepted_descriptors();
        calls.send_event(call, accepted, |request, event| {
            append_payload(request, event, payload.into(), encodings, connection.output_buffer())
        })
    }

    /// Tells the peer that another process serves the endpoint by now, if the peer [wants](WANTS_MOVED) to know and was not told.
    /// It has said so with its first request.
    pub fn tell_moved(&mut self) {
        if !self.wants_moved || self.told_moved || self.has_ended() {
            return;
        }
        self.told_moved = true;
        let payload = Notice::new(NoticeKind::Moved).encode_to_vec();
        let encoded = FrameRef::notice(&payload).encode_framed(self.connection.output_buffer().tail());
        debug_assert!(encoded.is_ok(), "a notice is a few bytes");
        self.update_idle();
    }

    /// Cancels every call; the next events report them.
    pub fn cancel_all(&mut self, reason: CancelReason) {
        self.calls.cancel_all(reason);
    }

    /// Ends the connection at once: nothing more is received or written, and every call is cancelled.
    pub fn reset(&mut self) {
        self.connection.reset();
        self.calls.cancel_all(CancelReason::PeerGone);
    }

    /// Ends the connection at the next probe, as [`Connection::refuse_probes`] does.
    pub fn refuse_probes(&mut self) {
        self.connection.refuse_probes();
    }

    /// Ends the input as if the peer had sent nothing more. Output that waits can still be written.
    pub fn close(&mut self) {
        self.connection.close();
    }

    /// Returns the output that waits to be written, or as much of it as lies in one piece.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.connection.output()
    }

    /// Fills `slices` with the output that waits, for a vectored write; returns how many slices that are.
    pub fn output_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.connection.output_slices(slices)
    }

    /// Removes the first `length` bytes of the output, which were written at `now`.
    ///
    /// # Panics
    ///
    /// `length` is more than the output holds.
    pub fn output_written(&mut self, length: usize, now: Instant) {
        self.now = now;
        self.connection.output_written(length, now);
        self.update_idle();
    }

    /// Takes the output, so that the driver can write it while other threads answer calls. It counts as unwritten until it is
    /// [restored](Self::restore_output).
    ///
    /// Only drivers that block in a write need this. All others use [`output_slices`](Self::output_slices).
    pub fn take_output(&mut self) -> SendBuffer {
        let spare = std::mem::take(&mut self.spare);
        let output = std::mem::replace(self.connection.output_buffer(), spare);
        (self.being_written, self.taken_memory) = (output.len(), output.capacity());
        output
    }

    /// Puts `output` back, which was taken and completely written at `now`. Its memory is used again.
    pub fn restore_output(&mut self, output: SendBuffer, now: Instant) {
        self.now = now;
        (self.being_written, self.taken_memory) = (0, 0);
        self.connection.touch(now);
        self.spare = output.reused();
        self.update_idle();
    }

    /// Tells the connection whether its peer waits for this side. A peer that waits for an answer is not idle, and while output
    /// waits only the driver's write timeout counts.
    fn update_idle(&mut self) {
        self.connection.set_busy(!self.calls.is_empty() || !self.all_written());
    }

    fn all_written(&self) -> bool {
        self.being_written == 0 && self.connection.all_written()
    }

    /// Returns how many bytes wait to be written, or were taken and are being written.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.connection.unwritten() + self.being_written
    }

    /// Returns how many calls are admitted and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls.len()
    }

    /// Returns whether there is nothing more to read: the peer sends nothing more, or the connection is over. Requests that
    /// came may still wait to be taken.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.connection.has_ended()
    }

    /// Returns whether nothing more will be received.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.connection.is_over()
    }

    /// Returns whether the peer has sent anything valid: a probe or a frame for the daemon.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.connection.is_validated()
    }

    /// Returns the memory of the buffers and of the table of calls, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffers() + self.calls.memory()
    }

    fn buffers(&self) -> usize {
        self.connection.memory() + self.taken_memory + self.spare.capacity()
    }

    /// Returns when a byte was last received or written.
    #[must_use]
    pub fn last_activity(&self) -> Instant {
        self.connection.last_activity()
    }

    /// Limits each message to [`ConnectionConfig::first_message_bytes`] until the peer is [trusted](Self::trust_peer).
    pub fn limit_messages(&mut self) {
        self.connection.limit_messages();
    }

    /// Returns whether the next message exceeds the limit of a peer that is not [trusted](Self::trust_peer).
    #[must_use]
    pub fn exceeds_first_message(&self) -> bool {
        self.connection.exceeds_first_message()
    }

    /// Allows messages of any length from now on.
    pub fn trust_peer(&mut self) {
        self.connection.trust_peer();
    }
}
