//! Frames to a peer: answers, encoded if the peer decodes that, and refusals.

use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::send_buffer::SendBuffer;
use crate::broker::protocol::{
    EncodingPolicy, Encodings, FrameKind, FrameRef, FramingError, Refusal, RefusalReason,
};
use prost::Message;
use std::error::Error;

/// Appends `frame` to `output`, with `payload` instead of its own. The payload is encoded if the sender of `request` decodes
/// that and it becomes shorter.
pub(crate) fn append_answer(
    request: &FrameRef<'_>,
    frame: FrameRef<'_>,
    payload: impl AsRef<[u8]> + Into<Payload>,
    encodings: &EncodingPolicy,
    output: &mut SendBuffer,
) -> Result<(), FramingError> {
    output.append(frame, payload, encodings, Encodings::from_bits(request.accepted_encodings))
}

/// Appends a refusal to `output`, if `request` is a request.
pub(super) fn refuse(
    request: &FrameRef<'_>,
    reason: RefusalReason,
    why: &dyn Error,
    output: &mut SendBuffer,
) {
    if request.kind == i32::from(FrameKind::Request) {
        append_refusal(request, &Refusal::new(reason, why.to_string()), output);
    }
}

/// Appends the frame that refuses `request` to `output`.
pub(crate) fn append_refusal(request: &FrameRef<'_>, refusal: &Refusal, output: &mut SendBuffer) {
    let payload = refusal.encode_to_vec();
    let frame = FrameRef::refusal_of(request, &payload).with_bounded_trace();
    let encoded = frame.encode_framed(output.tail());
    debug_assert!(encoded.is_ok(), "a refusal is a few bytes");
}
