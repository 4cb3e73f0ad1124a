//! The span of a request, and troubles as events: nothing without the feature `tracing`.

use super::super::{PeerCredentials, ServerTrouble};
#[cfg(feature = "tracing")]
use super::TroubleKind;
use crate::broker::protocol::FrameRef;
#[cfg(feature = "tracing")]
use crate::broker::protocol::TraceParent;

/// What a request is served in.
#[derive(Clone, Debug)]
pub(in super::super::super) struct RequestSpan(#[cfg(feature = "tracing")] tracing::Span);

#[cfg(feature = "tracing")]
impl RequestSpan {
    pub(in super::super::super) fn new(request: &FrameRef<'_>, peer: PeerCredentials) -> Self {
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
            && let Some(TraceParent { trace_id, parent_id, sampled }) =
                TraceParent::parse(request.traceparent)
        {
            span.record("trace_id", display(format_args!("{trace_id:032x}")));
            span.record("parent_span_id", display(format_args!("{parent_id:016x}")));
            span.record("trace_sampled", sampled);
        }
        Self(span)
    }

    pub(in super::super::super) fn in_scope<T>(&self, serve: impl FnOnce() -> T) -> T {
        self.0.in_scope(serve)
    }
}

#[cfg(feature = "tracing")]
pub(super) fn warn(trouble: &ServerTrouble) {
    let error: &(dyn std::error::Error + 'static) = trouble;
    let kind = TroubleKind::of(trouble).name();
    tracing::warn!(target: "running_process", kind, error, "{trouble}");
}

#[cfg(not(feature = "tracing"))]
impl RequestSpan {
    pub(in super::super::super) fn new(_: &FrameRef<'_>, _: PeerCredentials) -> Self {
        Self()
    }

    #[expect(clippy::unused_self, reason = "there is something to it with the feature")]
    pub(in super::super::super) fn in_scope<T>(&self, serve: impl FnOnce() -> T) -> T {
        serve()
    }
}

#[cfg(not(feature = "tracing"))]
pub(super) fn warn(_: &ServerTrouble) {}
