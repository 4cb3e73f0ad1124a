//! What a connection receives: where it lies, and how large the first message may be.

use super::{Connection, ConnectionError, Fence, LARGE, Lane, LegacyClassification};
use crate::broker::backend_sdk::proto::recv_buffer::{FrontBuffer, give_back};
use crate::broker::protocol::MAX_FRAME_BYTES;
use crate::broker::protocol::header::FrameHeader;
use std::time::Instant;

impl<F> Connection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Takes what arrived at `now`.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        if self.input.is_empty() {
            self.message_began = now;
        }
        self.input.tail().extend_from_slice(bytes);
        self.received(now);
    }

    /// Where to append what arrives, instead of [receiving](Self::receive) a copy, if that is worth it: when much of a
    /// message is still to come, or the last one was large. It is to be [given back](Self::give_back_input).
    #[cfg_attr(not(feature = "host"), allow(dead_code, reason = "the crate's own drivers read this way"))]
    pub(crate) fn lend_input(&mut self) -> Option<Vec<u8>> {
        if self.lane != Lane::Framed || self.postponed.is_some() {
            return None;
        }
        let buffer = self.input.as_slice();
        let expected = match FrameHeader::parse(buffer, MAX_FRAME_BYTES) {
            Ok(Some(header)) => header.frame_length().saturating_sub(buffer.len()),
            _ => self.last_length,
        };
        if expected < LARGE {
            return None;
        }
        let lent = self.input.lend(expected);
        self.lent = lent.capacity();
        Some(lent)
    }

    /// Takes back what was lent; its last `length` bytes arrived at `now`.
    #[cfg_attr(not(feature = "host"), allow(dead_code, reason = "the crate's own drivers read this way"))]
    pub(crate) fn give_back_input(&mut self, input: Vec<u8>, length: usize, now: Instant) {
        self.lent = 0;
        if self.lane == Lane::Over {
            return give_back(input);
        }
        if input.len() == length {
            self.message_began = now;
        }
        self.input.give_back(input);
        if length > 0 {
            self.received(now);
        }
    }

    fn received(&mut self, now: Instant) {
        self.last_received = now;
        self.last_activity = now;
        self.expired = false;
    }

    /// The peer will send nothing more.
    pub fn receive_eof(&mut self) {
        self.eof = true;
    }

    /// A first message may have `length` bytes.
    #[inline]
    pub(super) fn check_first(&mut self, length: usize) -> Result<(), ConnectionError> {
        if self.allows_first(length) {
            return Ok(());
        }
        let limit = self.config.first_message_bytes;
        Err(self.lane.fail(ConnectionError::FirstMessageTooLarge { limit }))
    }

    #[inline]
    fn allows_first(&self, length: usize) -> bool {
        self.fence == Fence::Lifted || length <= self.config.first_message_bytes
    }

    /// Returns whether the next message, as far as it has come or says its length, is too large for a peer that is not
    /// [trusted](Self::trust).
    #[cfg_attr(not(feature = "host"), allow(dead_code, reason = "the crate's own drivers read this way"))]
    pub(crate) fn begins_too_large(&self) -> bool {
        let buffer = self.input.as_slice();
        let header = FrameHeader::parse(buffer, MAX_FRAME_BYTES).ok().flatten();
        let length = header.map_or(0, FrameHeader::frame_length).max(buffer.len());
        !self.allows_first(length)
    }

    /// Each message may only be as large as a first one, whatever has come, until the peer is [trusted](Self::trust).
    #[cfg_attr(
        not(feature = "host"),
        allow(dead_code, reason = "the crate's own drivers know whom they serve")
    )]
    pub(crate) fn fence(&mut self) {
        self.fence = Fence::UntilTrusted;
    }

    /// The peer may send messages of any length.
    #[cfg_attr(
        not(feature = "host"),
        allow(dead_code, reason = "the crate's own drivers know whom they serve")
    )]
    pub(crate) fn trust(&mut self) {
        self.fence = Fence::Lifted;
    }

    /// Nothing more is received; what is to be written still is.
    #[cfg_attr(
        not(feature = "host"),
        allow(dead_code, reason = "the crate's own drivers know whom they serve")
    )]
    pub(crate) fn close(&mut self) {
        self.lane = Lane::Over;
        self.postponed = None;
        self.input = FrontBuffer::default();
    }
}
