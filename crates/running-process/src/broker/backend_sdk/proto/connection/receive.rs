//! The input of a connection, and the limit of its first message.

use super::{
    Connection, ConnectionError, LegacyClassification, MessageLimit, Received, WireState, ZERO_COPY_MIN,
};
#[cfg(feature = "host")]
use crate::broker::backend_sdk::proto::recv_buffer::Place;
use crate::broker::backend_sdk::proto::recv_buffer::{RecvBuffer, recycle};
use crate::broker::protocol::MAX_FRAME_BYTES;
use crate::broker::protocol::header::FrameHeader;
use std::time::Instant;

impl<F> Connection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Takes what arrived at `now`.
    #[inline]
    pub fn receive<'a>(&mut self, received: impl Into<Received<'a>>, now: Instant) {
        let received = received.into();
        self.receive_bytes(received.bytes(), now);
        self.descriptors.received(received.bytes().len(), received.descriptors(), received.is_truncated());
    }

    fn receive_bytes(&mut self, bytes: &[u8], now: Instant) {
        if self.input.is_empty() {
            self.message_began = now;
        }
        self.input.tail().extend_from_slice(bytes);
        self.received(now);
    }

    /// Takes the receive buffer, so that the driver reads onto its end and saves a copy. Returns `None` unless much of a
    /// message is still to come or the last message was large, and once descriptors [may come](Self::takes_descriptors). The driver then [restores](Self::restore_recv_buffer) the
    /// buffer, even if nothing was read.
    pub fn take_recv_buffer(&mut self) -> Option<Vec<u8>> {
        // A message that is blocked is complete, so nothing of it is expected.
        if self.wire != WireState::Framed || self.descriptors.is_counting() {
            return None;
        }
        let buffer = self.input.as_slice();
        let expected = match FrameHeader::parse(buffer, MAX_FRAME_BYTES) {
            Ok(Some(header)) => header.frame_length().saturating_sub(buffer.len()),
            _ => self.last_length,
        };
        if expected < ZERO_COPY_MIN {
            return None;
        }
        let taken = self.input.take_for(expected);
        self.taken = taken.capacity();
        Some(taken)
    }

    /// Puts the receive buffer back; its last `length` bytes arrived at `now`.
    pub fn restore_recv_buffer(&mut self, mut input: Vec<u8>, length: usize, now: Instant) {
        self.taken = 0;
        if self.wire == WireState::Over {
            return recycle(&mut input);
        }
        if input.len() == length {
            self.message_began = now;
        }
        self.input.restore(input);
        if length > 0 {
            self.received(now);
            self.descriptors.received(length, 0, false);
        }
    }

    /// Returns the payload of the request that was taken last, which lies at `place`, as
    /// [`RecvBuffer::take_consumed`] does.
    #[cfg(feature = "host")]
    pub(crate) fn take_payload(&mut self, place: Place) -> Vec<u8> {
        self.input.take_consumed(place)
    }

    fn received(&mut self, now: Instant) {
        self.last_received = now;
        self.last_activity = now;
        self.expired = false;
    }

    /// Ends the input: the peer sends nothing more.
    pub fn receive_eof(&mut self) {
        self.eof = true;
    }

    /// Checks that the peer may send a message of `length` bytes.
    #[inline]
    pub(super) fn check_first(&mut self, length: usize) -> Result<(), ConnectionError> {
        if self.allows_first(length) {
            return Ok(());
        }
        let limit = self.config.first_message_bytes;
        Err(self.wire.fail(ConnectionError::FirstMessageTooLarge { limit }))
    }

    #[inline]
    fn allows_first(&self, length: usize) -> bool {
        self.message_limit == MessageLimit::Lifted || length <= self.config.first_message_bytes
    }

    /// Returns whether the next message is too large for a peer that is not [trusted](Self::trust_peer), by its header or by
    /// the bytes that have come.
    pub fn exceeds_first_message(&self) -> bool {
        if self.message_limit == MessageLimit::Lifted {
            return false;
        }
        let buffer = self.input.as_slice();
        let header = FrameHeader::parse(buffer, MAX_FRAME_BYTES).ok().flatten();
        let length = header.map_or(0, FrameHeader::frame_length).max(buffer.len());
        !self.allows_first(length)
    }

    /// Limits each message to [`ConnectionConfig::first_message_bytes`](super::ConnectionConfig::first_message_bytes) until the
    /// peer is [trusted](Self::trust_peer), even after a frame for the daemon.
    pub fn limit_messages(&mut self) {
        self.message_limit = MessageLimit::UntilTrusted;
    }

    /// Allows messages of any length from now on.
    pub fn trust_peer(&mut self) {
        self.message_limit = MessageLimit::Lifted;
    }

    /// Ends the connection at the next probe, without an answer: the daemon is about to end, and a client that is proven now would meet its end.
    pub fn refuse_probes(&mut self) {
        self.refuses_probes = true;
    }

    /// Ends the input as if the peer had sent nothing more. Output that waits can still be written.
    pub fn close(&mut self) {
        self.wire = WireState::Over;
        self.blocked = None;
        self.input = RecvBuffer::default();
    }
}
