//! A request, for a handler on a thread.

use crate::broker::backend_sdk::proto::server_connection::{CallId, SendEventError};
use crate::broker::backend_sdk::server::request::{RequestParts, request_methods};
use std::fmt;
use std::sync::Arc;

/// The connection of a request, which sends its events.
pub(super) trait EventSender: fmt::Debug + Send + Sync {
    /// Blocks while the peer leaves too much unread, then queues and writes an event.
    fn send_event(self: Arc<Self>, call: CallId, payload: &[u8]) -> Result<(), SendEventError>;
}

/// A request, and the connection to send its events on, for a handler on a thread.
#[derive(Debug)]
pub struct ServerRequest {
    parts: RequestParts,
    conn: Arc<dyn EventSender>,
    call: CallId,
}

impl ServerRequest {
    request_methods!(parts);

    pub(super) fn new(parts: RequestParts, conn: Arc<dyn EventSender>, call: CallId) -> Self {
        Self { parts, conn, call }
    }

    /// Sends an event under the id of this request, ahead of its answer: a part of a long answer, or progress. Blocks
    /// while the client leaves [`ServerConfig::send_high_water`](crate::broker::backend_sdk::ServerConfig::send_high_water) bytes
    /// unread.
    ///
    /// # Errors
    ///
    /// Nothing was sent: the payload is too large, or the client does not wait for the answer any more.
    pub fn send_event(&self, payload: impl AsRef<[u8]>) -> Result<(), SendEventError> {
        Arc::clone(&self.conn).send_event(self.call, payload.as_ref())
    }
}
