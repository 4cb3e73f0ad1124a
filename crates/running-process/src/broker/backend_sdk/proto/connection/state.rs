//! The state of a connection, and its memory.

use super::{Blocked, Connection, LegacyClassification, WireState};
use crate::broker::backend_sdk::proto::recv_buffer::RecvBuffer;
use crate::broker::backend_sdk::proto::send_buffer::SendBuffer;

impl<F> Connection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Returns whether there are no more events: the connection was handed over, or has ended or failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.wire == WireState::Over
    }

    /// Returns how many received bytes no event has consumed yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.input.len()
    }

    /// Returns the memory of the buffers, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.input.capacity() + self.taken + self.output.capacity() + self.decoded.capacity()
    }

    /// Returns whether the next message waits for this side to take it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Returns whether a probe waits for this daemon's identity.
    pub(crate) fn awaits_identity(&self) -> bool {
        self.blocked == Some(Blocked::Probe)
    }

    /// Returns whether there is nothing more to read.
    pub(crate) fn has_ended(&self) -> bool {
        self.eof || self.wire == WireState::Over
    }

    /// Returns whether the peer has sent anything valid: a probe or a frame for the daemon.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.wire != WireState::Undecided
    }

    /// Ends the connection at once: nothing more is received or written.
    pub(crate) fn reset(&mut self) {
        self.wire = WireState::Over;
        self.blocked = None;
        self.input = RecvBuffer::default();
        self.output = SendBuffer::default();
    }

    /// Releases the memory of empty buffers.
    pub(crate) fn release(&mut self) {
        self.input.release();
        if self.output.is_empty() {
            self.output = SendBuffer::default();
        }
        self.decoded = Vec::new();
    }
}
