//! The client's side of one connection as a state machine: correlation of responses with requests.

mod recv_buffer;
mod requests;

pub use requests::RequestHead;

use super::payload::Payload;
use super::send_buffer::SendBuffer;
use crate::broker::protocol::{
    DecodePayloadError, EncodingPolicy, Encodings, Frame, FrameKind, FrameRef, FrameViolation, FramingError,
    Refusal,
};
use recv_buffer::{Intake, Taken};
use requests::Requests;
use std::io::IoSlice;
use std::sync::Arc;

/// Names a request that was sent on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(crate) u64);

/// What a daemon's bytes mean to its client, with frames as `F` has them: [`FrameRef`] or [`Frame`]. A payload that came
/// encoded is decoded, and its frame says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent<F> {
    /// The response to the request; no other will come.
    Response(RequestId, F),
    /// The daemon does not serve the request, and says why; no response will come. The connection goes on.
    Refused(RequestId, Refusal),
    /// An event of the request, which was sent with [`RequestHead::events`] and is in flight.
    RequestEvent(RequestId, F),
    /// Any other event of the daemon's.
    Event(F),
    /// A request or cancel of the daemon's own.
    Other(F),
}

impl<F> ClientEvent<F> {
    #[inline]
    fn try_map<G, E>(self, map: impl FnOnce(F) -> Result<G, E>) -> Result<ClientEvent<G>, E> {
        Ok(match self {
            Self::Response(request, frame) => ClientEvent::Response(request, map(frame)?),
            Self::Refused(request, refusal) => ClientEvent::Refused(request, refusal),
            Self::RequestEvent(request, frame) => ClientEvent::RequestEvent(request, map(frame)?),
            Self::Event(frame) => ClientEvent::Event(map(frame)?),
            Self::Other(frame) => ClientEvent::Other(map(frame)?),
        })
    }
}

/// Why a connection to a daemon cannot go on: each is the daemon's fault.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientConnectionError {
    /// The bytes are not frames.
    #[error("the daemon sent no frame")]
    Framing(#[source] Arc<FramingError>),
    /// The frame breaks the strict rules.
    #[error("the daemon sent a frame that cannot be used")]
    Violation(#[from] FrameViolation),
    /// The payload is of an accepted encoding, and cannot be decoded.
    #[error("the daemon sent a payload that cannot be decoded")]
    Payload(#[from] DecodePayloadError),
    /// A response to a request that was never sent.
    #[error("the daemon answered request {got}, which was never sent")]
    UnknownRequest {
        /// The request id in the response.
        got: u64,
    },
    /// The response is of another payload protocol than its request, and no refusal.
    #[error("the daemon answered in payload protocol 0x{got:04X}, asked was 0x{expected:04X}")]
    PayloadProtocolMismatch {
        /// The id in the response.
        got: u32,
        /// The id in the request.
        expected: u32,
    },
    /// The daemon ended the connection inside a frame.
    #[error("the daemon ended the connection {buffered} bytes into a frame")]
    Truncated {
        /// How many bytes of the frame had come.
        buffered: usize,
    },
}

impl From<FramingError> for ClientConnectionError {
    fn from(error: FramingError) -> Self {
        Self::Framing(Arc::new(error))
    }
}

/// One client connection, without the connection. Requests may be in flight in any number and be answered in any order.
///
/// Nothing is kept of what was taken, so the driver bounds what it keeps: it takes no more events and reads no more while its
/// caller has enough, and drops what its caller did not ask for, with
/// [`set_unsolicited_events`](Self::set_unsolicited_events).
///
/// After an error the connection is dead, and there are no more events: what follows in the stream cannot be trusted.
#[derive(Debug, Default)]
pub struct ClientConnection {
    intake: Intake,
    output: SendBuffer,
    requests: Requests,
    encodings: EncodingPolicy,
    /// What the daemon has said that it decodes.
    daemon_accepts: Encodings,
    /// The payload of the last event, if it lies in memory of its own.
    payload: Vec<u8>,
    /// The daemon broke the rules.
    dead: bool,
}

impl ClientConnection {
    /// A connection on which nothing has been sent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Which encodings the daemon may use, and requests are sent in once it has said that it decodes them. Default: those
    /// compiled in.
    ///
    /// Each request says what is accepted, so a daemon goes by what the last one said.
    pub fn set_encoding_policy(&mut self, policy: EncodingPolicy) {
        self.encodings = policy;
    }

    /// Appends a request to the output. A large payload is not copied if it is given away or shared; a
    /// [`Cow`](std::borrow::Cow) borrows a small one.
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
        self.send_request_as(id, payload_protocol, payload, head)?;
        Ok(id)
    }

    /// Appends a request with an id of the caller's, above all that were used before.
    pub(crate) fn send_request_as(
        &mut self,
        id: RequestId,
        payload_protocol: u32,
        payload: impl AsRef<[u8]> + Into<Payload>,
        head: &RequestHead<'_>,
    ) -> Result<(), FramingError> {
        let accepted_encodings = self.encodings.accepted().bits();
        let RequestHead { deadline_unix_ms, traceparent, tracestate, events } = *head;
        let request = FrameRef::request(payload_protocol, id.0, &[]);
        let request = FrameRef { deadline_unix_ms, traceparent, tracestate, accepted_encodings, ..request };
        self.output.append(request, payload, &self.encodings, self.daemon_accepts)?;
        self.requests.sent(id, payload_protocol, events);
        Ok(())
    }

    /// Gives a request up and tells the daemon so; a response that comes all the same is dropped, and so are events of it that
    /// were given out before.
    ///
    /// Does nothing if the response has come already.
    pub fn cancel(&mut self, request: RequestId) {
        let Some(payload_protocol) = self.requests.cancel(request) else { return };
        let request = FrameRef::request(payload_protocol, request.0, &[]);
        let cancel = FrameRef { kind: FrameKind::Cancel.into(), ..request };
        let encoded = cancel.encode_framed(self.output.tail());
        debug_assert!(encoded.is_ok(), "a cancel frame is a few bytes");
    }

    /// Whether the response to `request` is still to come.
    #[must_use]
    pub fn is_pending(&self, request: RequestId) -> bool {
        self.requests.is_pending(request)
    }

    /// Sets whether [`ClientEvent::Event`] and [`ClientEvent::Other`] are given out. Default: yes. Frames that are not
    /// given out are skipped without being decoded.
    pub fn set_unsolicited_events(&mut self, wanted: bool) {
        self.requests.unsolicited = wanted;
    }

    /// Stops giving out the events of `request`; its response is still waited for.
    pub fn drop_events(&mut self, request: RequestId) {
        self.requests.drop_events(request);
    }

    /// Returns how many events and requests of the daemon were skipped.
    #[must_use]
    pub fn skipped_events(&self) -> u64 {
        self.requests.dropped
    }

    /// Takes what arrived.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.intake.receive(bytes);
    }

    /// [`receive`](Self::receive) without a copy: where to append what arrives, for which there is some room.
    #[cfg_attr(not(feature = "host"), allow(dead_code, reason = "the crate's own drivers read this way"))]
    pub(crate) fn receive_buffer(&mut self) -> &mut Vec<u8> {
        self.intake.tail()
    }

    /// The daemon will send nothing more.
    ///
    /// # Errors
    ///
    /// [`ClientConnectionError::Truncated`] if it stopped inside a frame.
    pub fn receive_eof(&self) -> Result<(), ClientConnectionError> {
        match self.intake.len() {
            0 => Ok(()),
            buffered => Err(ClientConnectionError::Truncated { buffered }),
        }
    }

    /// What comes next, or `None` until more arrives.
    ///
    /// # Errors
    ///
    /// The daemon broke the rules; the connection is dead. There are no events after an error.
    pub fn next_event(&mut self) -> Result<Option<ClientEvent<FrameRef<'_>>>, ClientConnectionError> {
        self.next(Taken::lent)
    }

    /// [`next_event`](Self::next_event) with a frame to keep. A large payload is not copied for it, unless it came in one
    /// piece with what stands before it.
    ///
    /// # Errors
    ///
    /// As [`next_event`](Self::next_event).
    pub fn next_owned_event(&mut self) -> Result<Option<ClientEvent<Frame>>, ClientConnectionError> {
        self.next(|taken, _| taken.into_frame())
    }

    /// What comes next, with the frame that `give` makes of the one that was taken and of memory for its payload.
    #[inline]
    fn next<'a, F>(
        &'a mut self,
        give: impl FnOnce(Taken<'a>, &'a mut Vec<u8>) -> F,
    ) -> Result<Option<ClientEvent<F>>, ClientConnectionError> {
        self.payload = Vec::new();
        if self.dead {
            return Ok(None);
        }
        let accepted = self.encodings.accepted();
        let mut front = self.intake.front();
        let event = loop {
            let taken = match front.next() {
                Ok(Some(taken)) => taken,
                Ok(None) => break Ok(None),
                Err(error) => break Err(error.into()),
            };
            let kind = match taken.frame.check_strict_accepting(accepted) {
                Ok(kind) => kind,
                Err(violation) => break Err(violation.into()),
            };
            if taken.frame.accepted_encodings != 0 {
                self.daemon_accepts = Encodings::from_bits(taken.frame.accepted_encodings);
            }
            let id = taken.frame.request_id;
            let removed = match self.requests.answered(kind, &taken.frame) {
                Ok(()) => {
                    let taken = taken.decoded(&self.encodings);
                    let give =
                        |taken| Some(ClientEvent::Response(RequestId(id), give(taken, &mut self.payload)));
                    break taken.map(give).map_err(ClientConnectionError::from);
                }
                Err(removed) => removed,
            };
            match self.requests.correlate(kind, &taken, removed) {
                Ok(None) => {}
                Ok(Some(event)) => {
                    let give = |()| Ok(give(taken.decoded(&self.encodings)?, &mut self.payload));
                    break event.try_map(give).map(Some);
                }
                Err(error) => break Err(error),
            }
        };
        self.dead = event.is_err();
        event
    }

    /// What waits to be written to the daemon, or as much of it as lies in one piece.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.first()
    }

    /// How many bytes wait to be written.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.output.len()
    }

    /// Fills `slices` with what waits to be written, for a vectored write; gives how many of them there are.
    pub fn output_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.output.fill(slices)
    }

    /// `length` bytes of the output were written.
    ///
    /// # Panics
    ///
    /// `length` is more than the output holds.
    pub fn output_written(&mut self, length: usize) {
        self.output.consume(length);
    }
}
