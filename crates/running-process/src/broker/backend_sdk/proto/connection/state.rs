//! What a connection is in, and what it holds.

use super::{Connection, Lane, LegacyClassification, Postponed};
use crate::broker::backend_sdk::proto::recv_buffer::FrontBuffer;
use crate::broker::backend_sdk::proto::send_buffer::Output;

impl<F> Connection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Whether there will be no more events: the connection was handed over, or has ended or failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.lane == Lane::Over
    }

    /// How many received bytes no event has consumed yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.input.len()
    }

    /// The memory of both buffers, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.input.capacity() + self.lent + self.output.capacity() + self.decoded.capacity()
    }

    /// Whether the next message waits for this side to take it.
    pub(crate) fn is_postponed(&self) -> bool {
        self.postponed.is_some()
    }

    /// Whether a probe waits for this daemon's identity.
    pub(crate) fn awaits_identity(&self) -> bool {
        self.postponed == Some(Postponed::Probe)
    }

    /// Whether there is nothing more to read.
    pub(crate) fn has_ended(&self) -> bool {
        self.eof || self.lane == Lane::Over
    }

    /// Whether the peer has sent anything that is valid: a probe or a frame for the daemon.
    pub(crate) fn has_spoken(&self) -> bool {
        self.lane != Lane::Undecided
    }

    /// Nothing more is received or written.
    pub(crate) fn abandon(&mut self) {
        self.lane = Lane::Over;
        self.postponed = None;
        self.input = FrontBuffer::default();
        self.output = Output::default();
    }

    /// Gives the memory of empty buffers back.
    pub(crate) fn release(&mut self) {
        self.input.release();
        if self.output.is_empty() {
            self.output = Output::default();
        }
        self.decoded = Vec::new();
    }
}
