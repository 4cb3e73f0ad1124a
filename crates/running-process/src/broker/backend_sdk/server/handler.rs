//! The handlers of a server.

use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::FrameRef;
use std::sync::Arc;

/// Why a handler has no response. A [`Refusal`](crate::broker::protocol::Refusal) is sent as it is; any other error as
/// one with the reason `HandlerFailed` and its text.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type InlineHandler = dyn Fn(&FrameRef<'_>) -> Result<Payload, HandlerError> + Send + Sync;

/// Serves one payload protocol; `C` is a handler that may take its time.
pub(super) enum Handler<C: ?Sized> {
    Concurrent(Arc<C>),
    Inline(Box<InlineHandler>),
    /// Answers with what the server has counted.
    Status,
}

impl<C: ?Sized> Handler<C> {
    pub(super) fn inline<R: Into<Payload>>(
        handler: impl Fn(&FrameRef<'_>) -> Result<R, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        Self::Inline(Box::new(move |request| handler(request).map(R::into)))
    }
}
