//! What is written to a peer: answers, encoded where it takes that, and refusals.

use super::super::output::{LARGE, Output};
use crate::broker::protocol::{
    EncodingPolicy, Encodings, FrameKind, FrameRef, FramingError, PayloadEncoding, Refusal, RefusalReason,
};
use prost::Message;
use std::error::Error;

/// Appends the response to `request` to `output`, encoded if its sender takes that and it is worth it. What is large by then
/// is not copied.
pub(in super::super) fn append_response(
    request: &FrameRef<'_>,
    payload: Vec<u8>,
    encodings: &EncodingPolicy,
    output: &mut Output,
) -> Result<(), FramingError> {
    let mut encoded = Vec::new();
    let response = encode_for(request, FrameRef::response_to(request, &payload), encodings, &mut encoded);
    if response.payload.len() < LARGE {
        return response.encode_framed(output.tail());
    }
    let at = response.encode_around_payload(output.tail())?;
    let as_it_was = response.payload_encoding == i32::from(PayloadEncoding::None);
    output.insert(at, if as_it_was { payload } else { encoded });
    Ok(())
}

/// Appends `frame`, which goes to the sender of `request`, to `output`, encoded if that one takes it and it is worth it.
pub(in super::super) fn append_encoded(
    request: &FrameRef<'_>,
    frame: FrameRef<'_>,
    encodings: &EncodingPolicy,
    output: &mut Output,
) -> Result<(), FramingError> {
    encode_for(request, frame, encodings, &mut Vec::new()).encode_framed(output.tail())
}

fn encode_for<'a>(
    request: &FrameRef<'_>,
    frame: FrameRef<'a>,
    encodings: &EncodingPolicy,
    buffer: &'a mut Vec<u8>,
) -> FrameRef<'a> {
    encodings.encode(frame, Encodings::from_bits(request.accepted_encodings), buffer)
}

/// Appends the refusal of `request` to `output`.
pub(super) fn refuse(request: &FrameRef<'_>, reason: RefusalReason, why: &dyn Error, output: &mut Output) {
    if request.kind == i32::from(FrameKind::Request) {
        append_refusal(request, &Refusal::new(reason, why.to_string()), output);
    }
}

/// Appends the frame that refuses `request` to `output`.
pub(in super::super) fn append_refusal(request: &FrameRef<'_>, refusal: &Refusal, output: &mut Output) {
    let payload = refusal.encode_to_vec();
    // It is too large only if the request's trace context fills a frame by itself; a refusal does without.
    let frame = FrameRef::refusal_of(request, &payload);
    if frame.encode_framed(output.tail()).is_err() {
        let bare = FrameRef { traceparent: "", tracestate: "", ..frame };
        let encoded = bare.encode_framed(output.tail());
        debug_assert!(encoded.is_ok(), "a refusal is a few bytes");
    }
}
