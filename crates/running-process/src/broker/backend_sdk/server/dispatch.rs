//! Requests on their way to concurrent handlers, and back.

use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::server_connection::CallId;
use crate::broker::backend_sdk::server::answer_file::sendable;
use crate::broker::backend_sdk::server::callback;
use crate::broker::backend_sdk::server::cancellation::Cancellation;
use crate::broker::backend_sdk::server::handler::HandlerError;
use crate::broker::backend_sdk::server::request::RequestParts;
use crate::broker::backend_sdk::server::telemetry::RequestSpan;
use crate::broker::protocol::Frame;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The session's data of a request in flight.
#[derive(Debug)]
pub(crate) struct Work {
    pub(super) cancellation: Cancellation,
    pub(super) payload_protocol: u32,
    /// Bytes that the request is charged with.
    pub(super) memory: usize,
    /// When the session took the request.
    pub(super) taken: Instant,
    /// The span of the request, in which its failure is reported as well.
    pub(super) span: RequestSpan,
}

impl Work {
    /// Returns the data of a request with this `frame`, which is charged with `memory` and was taken then.
    #[inline]
    pub(super) fn new(
        frame: &Frame,
        cancellation: Cancellation,
        (memory, taken): (usize, Instant),
        span: RequestSpan,
    ) -> Self {
        Self { cancellation, payload_protocol: frame.payload_protocol, memory, taken, span }
    }
}

/// A request that a session passes to its driver, for a concurrent handler. It ends with
/// [`ServerSession::finish`](super::ServerSession::finish).
pub struct Dispatched<H: ?Sized> {
    pub(super) call: CallId,
    pub(super) handler: Arc<H>,
    pub(super) request: RequestParts,
    pub(super) span: RequestSpan,
}

impl<H: ?Sized> Dispatched<H> {
    /// Returns the id to [finish](super::ServerSession::finish) the request with.
    #[must_use]
    pub fn call(&self) -> CallId {
        self.call
    }

    /// Returns the handler of the request's payload protocol.
    #[must_use]
    pub fn handler(&self) -> &Arc<H> {
        &self.handler
    }

    /// Returns the request.
    #[must_use]
    pub fn request(&self) -> &RequestParts {
        &self.request
    }

    /// Runs `serve` on the handler and the request, in the request's tracing span, and catches its panic. Returns the answer
    /// for [`finish`](super::ServerSession::finish). Does not run `serve` if the request was cancelled before.
    ///
    /// A payload that is a file is read here if the client takes no descriptors, on the thread of the handler. As all memory that a
    /// handler takes, that of the bytes is charged once the request is finished.
    pub fn serve(self, serve: impl FnOnce(&H, RequestParts) -> Result<Payload, HandlerError>) -> Answer {
        self.serve_by(serve, |_| Ok(())).0
    }

    /// [Serves](Self::serve) the request, and returns the handler as well. `grant` gets the number of bytes before a file is read.
    pub(super) fn serve_by(
        self,
        serve: impl FnOnce(&H, RequestParts) -> Result<Payload, HandlerError>,
        grant: impl FnOnce(usize) -> Result<(), HandlerError>,
    ) -> (Answer, Arc<H>) {
        let Self { handler, request, span, .. } = self;
        if request.cancelled().is_some() {
            return (Answer::Abandoned, handler);
        }
        let accepted = request.accepted_descriptors();
        let answer = span.in_scope(|| Answer::of(|| sendable(serve(&handler, request)?, accepted, grant)));
        (answer, handler)
    }

    /// Returns the handler, the request, and the span to serve it in.
    #[cfg(feature = "tokio")]
    pub(crate) fn into_parts(self) -> (Arc<H>, RequestParts, RequestSpan) {
        (self.handler, self.request, self.span)
    }
}

impl<H: ?Sized> fmt::Debug for Dispatched<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Dispatched").field("call", &self.call).finish_non_exhaustive()
    }
}

/// The result of a handler.
#[derive(Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The payload of the response.
    Payload(Payload),
    /// The handler failed or refused the request.
    Failed(HandlerError),
    /// The handler panicked.
    Panicked,
    /// The handler did not run, or did not end: the request was cancelled.
    Abandoned,
}

impl Answer {
    /// Runs a handler and returns its answer.
    #[inline]
    pub(crate) fn of(handle: impl FnOnce() -> Result<Payload, HandlerError>) -> Self {
        match callback::run(handle) {
            Some(Ok(payload)) => Self::Payload(payload),
            Some(Err(error)) => Self::Failed(error),
            None => Self::Panicked,
        }
    }
}
