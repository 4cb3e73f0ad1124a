//! Frames to a peer: answers, encoded if the peer decodes that, and refusals.

use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::send_buffer::SendBuffer;
use crate::broker::protocol::{
    DescriptorFields, EncodingPolicy, Encodings, FrameKind, FrameRef, FramingError, Refusal, RefusalReason,
};
use prost::Message;
use std::error::Error;

/// Returns `frame`, which answers `request`. If the sender of that has asked how many descriptors this side takes, the frame says so.
#[inline]
pub(crate) fn answering<'a>(
    request: &FrameRef<'_>,
    frame: FrameRef<'a>,
    accepted_descriptors: u8,
) -> FrameRef<'a> {
    if request.descriptors.accepted() == 0 {
        return frame;
    }
    FrameRef { descriptors: DescriptorFields::NONE.accepting(accepted_descriptors), ..frame }
}

/// Appends `frame` to `output`, with `payload` instead of its own, and the descriptors of that.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]
pub(crate) fn append_payload(
    request: &FrameRef<'_>,
    frame: FrameRef<'_>,
    payload: Payload,
    encodings: &EncodingPolicy,
    output: &mut SendBuffer,
) -> Result<(), FramingError> {
    let accepted = Encodings::from_bits(request.accepted_encodings);
    output.append_payload(frame, payload, encodings, accepted, request.descriptors.accepted())
}

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

/// Returns the refusal of a request whose answer could not be sent for `error`.
pub(crate) fn unanswerable(error: &FramingError) -> Refusal {
    let reason = match error {
        FramingError::FrameTooLarge { .. } => RefusalReason::AnswerTooLarge,
        _ => RefusalReason::HandlerFailed,
    };
    Refusal::new(reason, error_text(error))
}

/// Returns the text of `error`, with that of the system's error in it.
fn error_text(error: &FramingError) -> String {
    match error {
        FramingError::Io(error) => error.to_string(),
        error => error.to_string(),
    }
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
