//! The client's side of one connection as a state machine: correlation of responses with requests.

mod error;
mod event;
mod recv_buffer;
mod requests;

pub use error::ClientConnectionError;
pub use event::{ClientEvent, RequestId};
pub use requests::RequestHead;

use super::payload::Payload;
use super::send_buffer::SendBuffer;
use crate::broker::protocol::{
    EncodingPolicy, Encodings, Frame, FrameKind, FrameRef, FramingError, WANTS_MOVED,
};
use recv_buffer::{ClientRecvBuffer, ReceivedFrame};
use requests::Requests;
use std::io::IoSlice;

/// The state of one client connection, without I/O. Any number of requests may be in flight, and responses come in any order.
///
/// Events that were returned are not kept, so the driver bounds its own memory: it takes no more events and reads no more
/// while its caller has enough. [`set_unsolicited_events`](Self::set_unsolicited_events) drops events that the caller does not want.
///
/// After an error the connection is dead and returns no more events, because the bytes that follow cannot be trusted.
#[derive(Debug, Default)]
pub struct ClientConnection {
    received: ClientRecvBuffer,
    output: SendBuffer,
    requests: Requests,
    encodings: EncodingPolicy,
    /// The encodings that the daemon has said it decodes.
    daemon_accepts: Encodings,
    /// [`WANTS_MOVED`] until the first request is sent, if [`ClientEvent::Moved`] is wanted.
    wants_moved: u32,
    /// The payload of the last event, if it has memory of its own.
    payload: Vec<u8>,
    /// The daemon broke the rules.
    dead: bool,
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

    /// Tells the daemon, with the first request, that [`ClientEvent::Moved`] is wanted. A daemon that knows it then says when its
    /// successor has the endpoint. Default: not wanted.
    pub fn want_moved(&mut self) {
        self.wants_moved = WANTS_MOVED;
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
        let accepted_encodings = self.encodings.accepted().bits() | self.wants_moved;
        let RequestHead { deadline_unix_ms, traceparent, tracestate, events } = *head;
        let request = FrameRef::request(payload_protocol, id.0, &[]);
        let request = FrameRef { deadline_unix_ms, traceparent, tracestate, accepted_encodings, ..request };
        self.output.append(request, payload, &self.encodings, self.daemon_accepts)?;
        self.wants_moved = 0;
        self.requests.sent(id, payload_protocol, events);
        Ok(())
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
            let received = match front.next() {
                Ok(Some(received)) => received,
                Ok(None) => break Ok(None),
                Err(error) => break Err(error.into()),
            };
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
                Ok(None) => {}
                Ok(Some(event)) => {
                    let give = |()| Ok(give(received.decoded(&self.encodings)?, &mut self.payload));
                    break event.try_map(give).map(Some);
                }
                Err(error) => break Err(error),
            }
        };
        self.dead = event.is_err();
        event
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
    }
}
