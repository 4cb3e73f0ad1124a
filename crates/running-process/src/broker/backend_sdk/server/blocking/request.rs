//! A request as a handler on a thread gets it.

use super::cancellation::Cancellation;
use super::conn::Link;
use crate::broker::backend_sdk::proto::server_connection::{CallId, CancelReason, SendEventError};
use crate::broker::backend_sdk::server::request::IncomingRequest;
use std::ops::Deref;
use std::sync::Arc;

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
    /// while the client leaves [`ServerConfig::send_high_water`](super::super::ServerConfig::send_high_water) unread.
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
