use super::super::buffer::give_back;
use super::super::server_connection::{CallId, CancelReason, SendEventError};
use super::link::Link;
use super::{Cancellation, PeerCredentials};
use crate::broker::protocol::Frame;
use std::ops::Deref;
use std::sync::Arc;
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

/// A request and its way back, for a handler on a thread.
#[derive(Debug)]
pub struct ServerRequest {
    incoming: IncomingRequest,
    cancellation: Cancellation,
    link: Arc<Link>,
    call: CallId,
}

impl ServerRequest {
    pub(super) fn new(
        incoming: IncomingRequest,
        cancellation: Cancellation,
        link: Arc<Link>,
        call: CallId,
    ) -> Self {
        Self { incoming, cancellation, link, call }
    }

    /// Why nobody waits for the answer any more; `None` while somebody does. A handler that works for long looks now and
    /// then, and may return anything once it is cancelled.
    #[must_use]
    pub fn cancelled(&self) -> Option<CancelReason> {
        self.cancellation.get()
    }

    /// Tells of the cancellation wherever it is taken, such as to a thread that kills a child process.
    #[must_use]
    pub fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }

    /// Sends an event under the id of this request, ahead of its answer: a part of a long answer, or progress. Blocks
    /// while the client leaves [`ServerConfig::enough_output`](super::ServerConfig::enough_output) unread.
    ///
    /// # Errors
    ///
    /// Nothing was sent: the payload is too large, or nobody waits for the answer any more.
    pub fn send_event(&self, payload: &[u8]) -> Result<(), SendEventError> {
        self.link.send_event(self.call, payload)
    }
}

impl Deref for ServerRequest {
    type Target = IncomingRequest;

    fn deref(&self) -> &IncomingRequest {
        &self.incoming
    }
}
