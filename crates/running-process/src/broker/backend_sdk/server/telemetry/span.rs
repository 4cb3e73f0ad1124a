//! The span of a request, and errors as events of `tracing`. Without that feature all of it does nothing.

#[cfg(feature = "tracing")]
use super::callback;
#[cfg(feature = "tracing")]
use super::error_kind::ErrorKind;
use crate::broker::backend_sdk::server::config::ServeError;
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::protocol::FrameRef;
#[cfg(feature = "tracing")]
use crate::broker::protocol::TraceParent;

/// The span that a request is served in. It is `None` only if the subscriber panicked, which costs nothing but the span.
#[derive(Debug)]
#[cfg_attr(not(feature = "tracing"), derive(Clone))]
pub(crate) struct RequestSpan(#[cfg(feature = "tracing")] Option<tracing::Span>);

#[cfg(feature = "tracing")]
impl RequestSpan {
    pub(crate) fn new(request: &FrameRef<'_>, peer: PeerCredentials) -> Self {
        Self(callback::run(|| span_of(request, peer)))
    }

    /// Runs `serve`, which does not panic, in the span.
    pub(crate) fn in_scope<T>(&self, serve: impl FnOnce() -> T) -> T {
        let entered = callback::run(|| self.0.as_ref().map(tracing::Span::enter));
        let served = serve();
        callback::discard(entered);
        served
    }
}

#[cfg(feature = "tracing")]
impl Clone for RequestSpan {
    fn clone(&self) -> Self {
        Self(callback::run(|| self.0.clone()).flatten())
    }
}

#[cfg(feature = "tracing")]
impl Drop for RequestSpan {
    fn drop(&mut self) {
        callback::discard(self.0.take());
    }
}

#[cfg(feature = "tracing")]
fn span_of(request: &FrameRef<'_>, peer: PeerCredentials) -> tracing::Span {
    use tracing::field::{Empty, display};

    let span = tracing::info_span!(
        target: "running_process",
        "running_process.request",
        payload_protocol = request.payload_protocol,
        request_id = request.request_id,
        deadline_unix_ms = (request.deadline_unix_ms > 0).then_some(request.deadline_unix_ms),
        peer.pid = peer.pid,
        peer.uid = peer.uid,
        trace_id = Empty,
        parent_span_id = Empty,
        trace_sampled = Empty,
    );
    if !span.is_disabled()
        && let Some(TraceParent { trace_id, parent_id, sampled }) = TraceParent::parse(request.traceparent)
    {
        span.record("trace_id", display(format_args!("{trace_id:032x}")));
        span.record("parent_span_id", display(format_args!("{parent_id:016x}")));
        span.record("trace_sampled", sampled);
    }
    span
}

#[cfg(feature = "tracing")]
pub(super) fn warn(error: &ServeError, peer: Option<PeerCredentials>) {
    let kind = ErrorKind::of(error).name();
    let error: &(dyn std::error::Error + 'static) = error;
    let (pid, uid) = peer.map_or((None, None), |peer| (peer.pid, peer.uid));
    tracing::warn!(target: "running_process", kind, error, peer.pid = pid, peer.uid = uid, "{error}");
}

#[cfg(not(feature = "tracing"))]
impl RequestSpan {
    pub(crate) fn new(_: &FrameRef<'_>, _: PeerCredentials) -> Self {
        Self()
    }

    #[expect(clippy::unused_self, reason = "there is something to it with the feature")]
    pub(crate) fn in_scope<T>(&self, serve: impl FnOnce() -> T) -> T {
        serve()
    }
}

#[cfg(not(feature = "tracing"))]
pub(super) fn warn(_: &ServeError, _: Option<PeerCredentials>) {}
