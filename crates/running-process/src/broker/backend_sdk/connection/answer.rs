//! What is written to a peer: answers, encoded where it takes that, and refusals.

use super::super::buffer::FrontBuffer;
use crate::broker::protocol::{
    EncodingPolicy, Encodings, FrameKind, FrameRef, FramingError, Refusal, RefusalReason,
};
use prost::Message;
use std::error::Error;

/// Appends the response to `request` to `output`, encoded if its sender takes that and it is worth it.
pub(in super::super) fn append_response(
    request: &FrameRef<'_>,
    payload: &[u8],
    encodings: &EncodingPolicy,
    output: &mut FrontBuffer,
) -> Result<(), FramingError> {
    append_encoded(request, FrameRef::response_to(request, payload), encodings, output)
}

/// Appends `frame`, which goes to the sender of `request`, to `output`, encoded if that one takes it and it is worth it.
pub(in super::super) fn append_encoded(
    request: &FrameRef<'_>,
    frame: FrameRef<'_>,
    encodings: &EncodingPolicy,
    output: &mut FrontBuffer,
) -> Result<(), FramingError> {
    let accepted = Encodings::from_bits(request.accepted_encodings);
    encodings.encode(frame, accepted, &mut Vec::new()).encode_framed(output.tail())
}

/// Appends the refusal of `request` to `output`.
pub(super) fn refuse(
    request: &FrameRef<'_>,
    reason: RefusalReason,
    why: &dyn Error,
    output: &mut FrontBuffer,
) {
    if request.kind == i32::from(FrameKind::Request) {
        append_refusal(request, &Refusal::new(reason, why.to_string()), output);
    }
}

/// Appends the frame that refuses `request` to `output`.
pub(in super::super) fn append_refusal(request: &FrameRef<'_>, refusal: &Refusal, output: &mut FrontBuffer) {
    let payload = refusal.encode_to_vec();
    // It is too large only if the request's trace context fills a frame by itself; a refusal does without.
    let frame = FrameRef::refusal_of(request, &payload);
    if frame.encode_framed(output.tail()).is_err() {
        let bare = FrameRef { traceparent: "", tracestate: "", ..frame };
        let encoded = bare.encode_framed(output.tail());
        debug_assert!(encoded.is_ok(), "a refusal is a few bytes");
    }
}
