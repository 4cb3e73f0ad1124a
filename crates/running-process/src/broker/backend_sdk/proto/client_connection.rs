//! The client's side of one connection as a state machine: correlation of responses with requests.

mod error;
mod event;
mod recv_buffer;
mod requests;

pub use error::ClientConnectionError;
pub use event::{ClientEvent, RequestId};
pub use requests::RequestHead;

use super::descriptors::{Announced, DescriptorCounts, take_counted};
use super::payload::Payload;
use super::send_buffer::SendBuffer;
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{
    DescriptorFields, EncodingPolicy, Encodings, Frame, FrameKind, FrameRef, FramingError, WANTS_MOVED,
};
#[cfg(feature = "host")]
use crate::descriptor::Descriptor;
use recv_buffer::{ClientRecvBuffer, ReceivedFrame};
use requests::Requests;
use std::io::IoSlice;

/// Returns whether a request of this protocol is a probe, which the daemon answers without taking a request.
#[inline]
fn is_probe(payload_protocol: u32) -> bool {
    payload_protocol == BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL
}

#[inline]
fn check(counts: Option<&DescriptorCounts>) -> Result<(), ClientConnectionError> {
    Ok(counts.map_or(Ok(()), DescriptorCounts::check)?)
}

/// Requests in the output whose memory is kept once they are written.
const RETAINED_UNWRITTEN: usize = 128;

/// The state of one client connection, without I/O. Any number of requests may be in flight, and responses come in any order.
///
/// Events that were returned are not kept, so the driver bounds its own memory: it takes no more events and reads no more
/// while its caller has enough. [`set_unsolicited_events`](Self::set_unsolicited_events) drops events that the caller does not want.
///
/// After an error the connection is dead and returns no more events, because the bytes that follow cannot be trusted.
///
/// A client and a daemon without a socket between them:
///
/// ```
/// use running_process::broker::backend_sdk::{ClientConnection, ClientEvent};
/// use running_process::broker::protocol::{Frame, encode_framed, try_decode_framed};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut client = ClientConnection::new();
/// let id = client.send_request(0xF0BD, b"main.rs".to_vec())?;
///
/// // The driver writes the output, and passes on what it reads.
/// let request = try_decode_framed(client.output())?.ok_or("a part of a frame")?.frame;
/// client.output_written(client.output().len());
/// client.receive(&encode_framed(&Frame::response_to(&request, b"compiled".to_vec()))?);
///
/// match client.next_event()? {
///     Some(ClientEvent::Response(of, response)) => assert_eq!((of, response.payload), (id, &b"compiled"[..])),
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct ClientConnection {
    received: ClientRecvBuffer,
    output: SendBuffer,
    /// The requests in the output, in order, each with the place in all output at which its frame ends.
    unwritten: Vec<(RequestId, u64)>,
    /// Number of bytes that were written, or removed from the output.
    written: u64,
    requests: Requests,
    encodings: EncodingPolicy,
    /// The encodings that the daemon has said it decodes.
    daemon_accepts: Encodings,
    /// [`WANTS_MOVED`] if [`ClientEvent::Moved`] is wanted.
    wants_moved: u32,
    /// The part of `wants_moved` that the next request that is no probe has to say.
    untold: u32,
    /// The payload of the last event, if it has memory of its own.
    payload: Vec<u8>,
    /// The daemon broke the rules.
    dead: bool,
    /// The most descriptors that the daemon takes with one frame, as far as it has said so.
    daemon_descriptors: u8,
    /// The descriptors that have come, once the daemon knows that it may send some.
    descriptors: Option<Box<DescriptorCounts>>,
    /// The number of descriptors of frames that were dropped since the last event.
    dropped_descriptors: usize,
}

impl ClientConnection {
    /// Returns a connection on which nothing has been sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the encodings that the daemon may use, and in which requests are sent once it has said that it decodes them. Default:
    /// those that are compiled in.
    ///
    /// Each request says what is accepted, and the daemon goes by the last one.
    pub fn set_encoding_policy(&mut self, policy: EncodingPolicy) {
        self.encodings = policy;
    }

    /// Tells the daemon, with the first request that is no probe, that [`ClientEvent::Moved`] is wanted. A daemon that knows it
    /// then says when its successor has the endpoint. Default: not wanted.
    pub fn want_moved(&mut self) {
        self.wants_moved = WANTS_MOVED;
        self.untold = WANTS_MOVED;
    }

    /// Appends a request to the output. A large payload is not copied if it is given away or shared; a [`Cow`](std::borrow::Cow)
    /// borrows a small one. The descriptors of a payload are not sent: the clients of this library send them.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`]; then nothing was appended and nothing is in flight.
    pub fn send_request(
        &mut self,
        payload_protocol: u32,
        payload: impl AsRef<[u8]> + Into<Payload>,
    ) -> Result<RequestId, FramingError> {
        self.send_request_with(payload_protocol, payload, &RequestHead::default())
    }

    /// Appends a [request](Self::send_request) that tells the daemon the deadline of the response, in milliseconds since the
    /// Unix epoch; 0 is no deadline. The driver keeps the deadline, with [`cancel`](Self::cancel).
    ///
    /// # Errors
    ///
    /// As [`send_request`](Self::send_request).
    pub fn send_request_deadline(
        &mut self,
        payload_protocol: u32,
        payload: impl AsRef<[u8]> + Into<Payload>,
        deadline_unix_ms: u64,
    ) -> Result<RequestId, FramingError> {
        let head = RequestHead { deadline_unix_ms, ..RequestHead::default() };
        self.send_request_with(payload_protocol, payload, &head)
    }

    /// Appends a [request](Self::send_request) with the fields of `head`.
    ///
    /// # Errors
    ///
    /// As [`send_request`](Self::send_request).
    pub fn send_request_with(
        &mut self,
        payload_protocol: u32,
        payload: impl AsRef<[u8]> + Into<Payload>,
        head: &RequestHead<'_>,
    ) -> Result<RequestId, FramingError> {
        let id = self.requests.next_id();
        let request = self.request(id, payload_protocol, head);
        self.output.append(request, payload, &self.encodings, self.daemon_accepts)?;
        self.sent(id, payload_protocol, head);
        Ok(id)
    }

    /// Appends a request as [`send_request_with`](Self::send_request_with) does, with the descriptors of `payload`.
    #[cfg(feature = "host")]
    #[inline]
    pub(crate) fn send_payload(
        &mut self,
        payload_protocol: u32,
        payload: Payload,
        head: &RequestHead<'_>,
    ) -> Result<RequestId, FramingError> {
        let id = self.requests.next_id();
        self.send_payload_as(id, payload_protocol, payload, head)?;
        Ok(id)
    }

    /// Appends a [request](Self::send_payload) with an id of the caller's, above all that were used before.
    #[cfg(feature = "host")]
    #[inline]
    pub(crate) fn send_payload_as(
        &mut self,
        id: RequestId,
        payload_protocol: u32,
        payload: Payload,
        head: &RequestHead<'_>,
    ) -> Result<(), FramingError> {
        let request = self.request(id, payload_protocol, head);
        let (encodings, peer) = (&self.encodings, self.daemon_accepts);
        self.output.append_payload(request, payload, encodings, peer, self.daemon_descriptors)?;
        self.sent(id, payload_protocol, head);
        Ok(())
    }

    #[inline]
    fn request<'a>(&self, id: RequestId, payload_protocol: u32, head: &RequestHead<'a>) -> FrameRef<'a> {
        let told = if is_probe(payload_protocol) { 0 } else { self.untold };
        let accepted_encodings = self.encodings.accepted().bits() | told;
        let RequestHead { deadline_unix_ms, traceparent, tracestate, accepted_descriptors, events: _ } =
            *head;
        let request = FrameRef::request(payload_protocol, id.0, &[]);
        FrameRef {
            deadline_unix_ms,
            traceparent,
            tracestate,
            accepted_encodings,
            descriptors: DescriptorFields::NONE.accepting(accepted_descriptors),
            ..request
        }
    }

    #[inline]
    fn sent(&mut self, id: RequestId, payload_protocol: u32, head: &RequestHead<'_>) {
        if !is_probe(payload_protocol) {
            self.untold = 0;
        }
        self.unwritten.push((id, self.written + self.output.len() as u64));
        self.requests.sent(id, payload_protocol, head.events);
        if head.accepted_descriptors != 0 {
            self.count_descriptors(head.accepted_descriptors);
        }
    }

    /// Cancels a request: appends a cancel to the output, and drops a late response. Late events are dropped if the request was sent
    /// with [`RequestHead::events`].
    ///
    /// Does nothing if the response has come already.
    pub fn cancel(&mut self, request: RequestId) {
        let Some(payload_protocol) = self.requests.cancel(request) else { return };
        let request = FrameRef::request(payload_protocol, request.0, &[]);
        let cancel = FrameRef { kind: FrameKind::Cancel.into(), ..request };
        let encoded = cancel.encode_framed(self.output.tail());
        debug_assert!(encoded.is_ok(), "a cancel frame is a few bytes");
    }

    /// Returns whether the response to `request` is still to come.
    #[must_use]
    pub fn is_pending(&self, request: RequestId) -> bool {
        self.requests.is_pending(request)
    }

    /// Returns the requests in flight that were not written to their end, in the order of the output, each with the number of bytes that
    /// are unwritten up to there. The daemon cannot have run them. For a connection whose daemon reads nothing more.
    pub fn unwritten_requests(&self) -> impl Iterator<Item = (RequestId, usize)> {
        let in_flight = self.unwritten.iter().filter(|(id, _)| self.requests.is_pending(*id));
        in_flight.map(|(id, end)| (*id, usize::try_from(end - self.written).unwrap_or(usize::MAX)))
    }

    /// Returns whether a response is still to come.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_pending(&self) -> bool {
        self.requests.has_pending()
    }

    /// Sets whether [`ClientEvent::Event`] and [`ClientEvent::Other`] are returned. Default: yes. Other frames are skipped without
    /// being decoded.
    pub fn set_unsolicited_events(&mut self, wanted: bool) {
        self.requests.unsolicited = wanted;
    }

    /// Drops the events of `request` from now on. Its response is still returned.
    pub fn drop_events(&mut self, request: RequestId) {
        self.requests.drop_events(request);
    }

    /// Returns the number of events and requests of the daemon that were skipped.
    #[must_use]
    pub fn skipped_events(&self) -> u64 {
        self.requests.dropped
    }

    /// Appends bytes that arrived.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.receive(bytes);
    }

    /// Returns the buffer to append arriving bytes to, with some room: [`receive`](Self::receive) without a copy.
    #[cfg_attr(not(feature = "host"), allow(dead_code, reason = "the crate's own drivers read this way"))]
    pub(crate) fn receive_buffer(&mut self) -> &mut Vec<u8> {
        self.received.tail()
    }

    /// Returns whether bytes have arrived that no event has consumed.
    #[cfg(feature = "host")]
    #[inline]
    pub(crate) fn holds_input(&self) -> bool {
        self.received.len() > 0
    }

    /// Checks the end of the stream.
    ///
    /// # Errors
    ///
    /// [`ClientConnectionError::Truncated`] if it stopped inside a frame.
    pub fn receive_eof(&self) -> Result<(), ClientConnectionError> {
        match self.received.len() {
            0 => Ok(()),
            buffered => Err(ClientConnectionError::Truncated { buffered }),
        }
    }

    /// Returns the next event; `None` until more bytes arrive.
    ///
    /// # Errors
    ///
    /// The daemon broke the rules; the connection is dead. There are no events after an error.
    pub fn next_event(&mut self) -> Result<Option<ClientEvent<FrameRef<'_>>>, ClientConnectionError> {
        self.next(ReceivedFrame::borrowed)
    }

    /// Returns the [next event](Self::next_event) with an owned frame. A large payload is not copied, unless it came in one read
    /// with the beginning of its frame.
    ///
    /// # Errors
    ///
    /// As [`next_event`](Self::next_event).
    pub fn next_owned_event(&mut self) -> Result<Option<ClientEvent<Frame>>, ClientConnectionError> {
        self.next(|received, _| received.into_frame())
    }

    /// Returns the [next owned event](Self::next_owned_event) with its descriptors, counted. The driver first closes as many as
    /// [were dropped](Self::take_dropped_descriptors).
    #[cfg(feature = "host")]
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]
    pub(crate) fn next_counted_event(
        &mut self,
    ) -> Result<Option<ClientEvent<(Frame, DescriptorFields)>>, ClientConnectionError> {
        self.next(|received, _| {
            let announced = received.frame.descriptors;
            (received.into_frame(), announced)
        })
    }

    /// Returns the next event, with the frame that `give` makes of the received one and of memory for its payload.
    #[inline]
    fn next<'a, F>(
        &'a mut self,
        give: impl FnOnce(ReceivedFrame<'a>, &'a mut Vec<u8>) -> F,
    ) -> Result<Option<ClientEvent<F>>, ClientConnectionError> {
        self.payload = Vec::new();
        if self.dead {
            return Ok(None);
        }
        let accepted = self.encodings.accepted();
        let mut front = self.received.front();
        let event = loop {
            let buffered = if self.descriptors.is_some() { front.buffered() } else { 0 };
            let received = match front.next() {
                Ok(Some(received)) => received,
                Ok(None) => break check(self.descriptors.as_deref()).map(|()| None),
                Err(error) => break Err(error.into()),
            };
            let fields = received.frame.descriptors;
            if !fields.is_none() || self.descriptors.is_some() {
                let length = buffered.saturating_sub(front.buffered());
                let counts = self.descriptors.as_deref_mut();
                if let Err(fault) = take_counted(counts, Announced::of(&received.frame), length, buffered) {
                    break Err(fault.into());
                }
                if fields.accepted() != 0 {
                    self.daemon_descriptors = fields.accepted();
                }
            }
            let kind = match received.frame.check_strict_accepting(accepted) {
                Ok(kind) => kind,
                Err(violation) => break Err(violation.into()),
            };
            if received.frame.accepted_encodings != 0 {
                self.daemon_accepts = Encodings::from_bits(received.frame.accepted_encodings);
            }
            let id = received.frame.request_id;
            let removed = match self.requests.answered(kind, &received.frame) {
                Ok(()) => {
                    let received = received.decoded(&self.encodings);
                    let give = |received| {
                        Some(ClientEvent::Response(RequestId(id), give(received, &mut self.payload)))
                    };
                    break received.map(give).map_err(ClientConnectionError::from);
                }
                Err(removed) => removed,
            };
            match self.requests.correlate(kind, &received, removed) {
                Ok(None) => self.dropped_descriptors += usize::from(fields.count()),
                Ok(Some(event)) => {
                    if matches!(event, ClientEvent::Moved | ClientEvent::Refused(..)) {
                        self.dropped_descriptors += usize::from(fields.count());
                    }
                    let give = |()| Ok(give(received.decoded(&self.encodings)?, &mut self.payload));
                    break event.try_map(give).map(Some);
                }
                Err(error) => break Err(error),
            }
        };
        self.dead = event.is_err();
        event
    }

    /// Counts the descriptors that come from now on: the daemon is told that so many are taken with one frame.
    #[cold]
    fn count_descriptors(&mut self, accepted: u8) {
        let (accepted, buffered) = (usize::from(accepted), self.received.len());
        match &mut self.descriptors {
            Some(counts) => counts.accept(accepted, 2 * accepted),
            None => {
                self.descriptors = Some(Box::new(DescriptorCounts::new(accepted, 2 * accepted, buffered)));
            }
        }
    }

    /// Returns whether descriptors may come, for which the driver reads with `recvmsg`.
    #[cfg(feature = "host")]
    #[inline]
    pub(crate) fn takes_descriptors(&self) -> bool {
        self.descriptors.is_some()
    }

    /// Takes the numbers of a read into the [receive buffer](Self::receive_buffer): of its bytes, and of the descriptors that came
    /// along. Some were dropped if it is `truncated`.
    #[cfg(feature = "host")]
    pub(crate) fn count_read(&mut self, bytes: usize, descriptors: usize, truncated: bool) {
        if let Some(counts) = &mut self.descriptors {
            counts.received(bytes, descriptors, truncated);
        }
    }

    /// Returns the number of descriptors that came with frames which were dropped since the last call.
    #[cfg(feature = "host")]
    pub(crate) fn take_dropped_descriptors(&mut self) -> usize {
        std::mem::take(&mut self.dropped_descriptors)
    }

    /// Returns the most descriptors that the daemon takes with one frame, as far as it has said so.
    #[cfg(feature = "host")]
    pub(crate) fn daemon_descriptors(&self) -> u8 {
        self.daemon_descriptors
    }

    /// Removes the request that the output begins with, which the system does not send because of its descriptors. Nothing of it was
    /// written.
    #[cfg(feature = "host")]
    #[cold]
    pub(crate) fn remove_unsent(&mut self) -> Option<RequestId> {
        let unwritten = self.output.len();
        let id = RequestId(self.output.remove_attached()?.request_id);
        self.written += (unwritten - self.output.len()) as u64;
        self.requests.cancel(id);
        // It may have been the one that said so. Once more does no harm.
        self.untold = self.wants_moved;
        Some(id)
    }

    /// Returns the descriptors that go with the first byte of the output.
    #[cfg(feature = "host")]
    #[inline]
    pub(crate) fn output_descriptors(&self) -> &[Descriptor] {
        self.output.descriptors()
    }

    /// Returns the bytes that wait to be written, as many as lie in one piece.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.first()
    }

    /// Returns the number of bytes that wait to be written.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.output.len()
    }

    /// Fills `slices` with the bytes that wait, for a vectored write. Returns the number of slices.
    pub fn output_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.output.fill(slices)
    }

    /// Removes `length` bytes that were written from the output.
    ///
    /// # Panics
    ///
    /// `length` is more than the output holds.
    pub fn output_written(&mut self, length: usize) {
        self.output.consume(length);
        self.written += length as u64;
        if self.output.is_empty() {
            self.unwritten.clear();
            self.unwritten.shrink_to(RETAINED_UNWRITTEN);
        } else {
            let written = self.unwritten.partition_point(|(_, end)| *end <= self.written);
            self.unwritten.drain(..written);
        }
    }
}

#[cfg(all(test, feature = "host"))]
mod tests;
