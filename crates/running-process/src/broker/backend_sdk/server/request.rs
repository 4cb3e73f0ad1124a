use super::peer::PeerCredentials;
use crate::broker::backend_sdk::proto::recv_buffer::give_back;
use crate::broker::protocol::Frame;
use std::time::Instant;

/// A request that was taken from its connection, with what a handler may want to know of it.
#[derive(Debug)]
pub struct IncomingRequest {
    frame: Frame,
    deadline: Option<Instant>,
    peer: PeerCredentials,
}

impl IncomingRequest {
    pub(in super::super) fn new(frame: Frame, deadline: Option<Instant>, peer: PeerCredentials) -> Self {
        Self { frame, deadline, peer }
    }

    /// What the client sent.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.frame.payload
    }

    #[cfg(feature = "tokio")]
    pub(in super::super) fn into_payload(mut self) -> Vec<u8> {
        std::mem::take(&mut self.frame.payload)
    }

    /// The whole frame: protocol, request id, trace context.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// When the client stops to wait for the answer; the request is cancelled then.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Who sent it.
    #[must_use]
    pub fn peer(&self) -> PeerCredentials {
        self.peer
    }
}

impl Drop for IncomingRequest {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.frame.payload));
    }
}
