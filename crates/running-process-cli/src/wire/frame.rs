//! Annotates one frame: its header, its body, and the objections of receivers.

use super::annotation::{AnnotatedFrame, Span, Wire};
use super::problem::{Guess, Problem, Reason, Severity};
use super::schema;
use super::value::Value;
use super::walk::{PayloadShape, Walk};
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use running_process::broker::backend_lifecycle::probe::{
    EndpointProbeRequestRef, EndpointProbeServerError, PROBE_NONCE_BYTES, ProbeEnvelopeError,
};
use running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::{
    ENVELOPE_VERSION, FRAME_HEADER_BYTES, FrameKind, FrameRef, FrameViolation, MAX_FRAME_BYTES,
    PROTOCOL_VERSION, PayloadEncoding,
};
use std::ops::Range;

/// Annotates a whole captured stream.
pub(crate) fn annotate(bytes: &[u8]) -> Vec<AnnotatedFrame<'_>> {
    let mut frames: Vec<AnnotatedFrame<'_>> = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let frame = annotate_frame(rest, offset, rest.len());
        offset = frame.end();
        frames.push(frame);
    }
    frames
}

/// Annotates the start of `capture`, which is not empty: one frame, or everything up to the end.
///
/// `capture` has the bytes from `offset` on, at least as many as are [`wanted`](super::wanted), unless the stream ends
/// before. `left` is the number of bytes from `offset` to the end of the stream where no frame begins, else
/// `capture.len()`.
pub(crate) fn annotate_frame(capture: &[u8], offset: usize, left: usize) -> AnnotatedFrame<'_> {
    if capture[0] != ENVELOPE_VERSION {
        return legacy(capture, offset, left);
    }
    let mut walk = Walk::new(capture);
    let value = Value::Number(u64::from(ENVELOPE_VERSION));
    walk.push(Span { value, ..Span::new(0, 1, 0, "framing byte") });
    let rest = &capture[1..];
    // The library returns the length of accepted frames only; here the length of every frame is needed.
    let Some(length) = rest.first_chunk() else {
        let note = Some("cut off by the end of the capture".into());
        walk.push(Span { note, ..Span::new(1, rest.len(), 0, "body length") });
        return walk.refuse(
            offset,
            capture.len()..capture.len(),
            Reason::HeaderUnfinished { there: 1 + rest.len() },
        );
    };
    let body_length = u32::from_le_bytes(*length) as usize;
    let value = Value::Number(body_length as u64);
    walk.push(Span { value, ..Span::new(1, length.len(), 0, "body length") });
    let start = FRAME_HEADER_BYTES;
    if body_length > MAX_FRAME_BYTES {
        let is_big_endian = u32::from_be_bytes(*length) as usize == left - start;
        walk.push(Span::new(start, left - start, 0, "not decoded"));
        return walk.refuse(offset, 1..start, Reason::TooLarge { body_length, is_big_endian });
    }
    let end = start + body_length;
    let Some(body) = capture.get(start..end) else {
        walk.message(&schema::FRAME, start, end, 1);
        let reason = Reason::BodyUnfinished { there: capture.len() - start, announced: body_length };
        return walk.refuse(offset, capture.len()..capture.len(), reason);
    };
    match FrameRef::decode(body) {
        Ok(frame) => {
            walk.shape = payload_shape(&frame);
            walk.message(&schema::FRAME, start, end, 1);
            judge(&mut walk, frame, body_length);
            walk.finish(offset, Some(frame))
        }
        Err(error) => {
            walk.message(&schema::FRAME, start, end, 1);
            if walk.problems.is_empty() {
                return walk.refuse(offset, start..end, Reason::Undecodable(error.into()));
            }
            walk.finish(offset, None)
        }
    }
}

impl<'a> Walk<'a> {
    fn refuse(mut self, offset: usize, at: Range<usize>, reason: Reason) -> AnnotatedFrame<'a> {
        self.problems.push(Problem { severity: Severity::Error, at, reason });
        self.finish(offset, None)
    }

    fn finish(mut self, offset: usize, frame: Option<FrameRef<'a>>) -> AnnotatedFrame<'a> {
        self.problems.sort_by_key(|problem| problem.at.start);
        let length = self.spans.last().map_or(0, Span::end);
        AnnotatedFrame {
            offset,
            length,
            bytes: &self.capture[..length.min(self.capture.len())],
            wire: Wire::Frame,
            frame,
            spans: self.spans,
            problems: self.problems,
        }
    }

    /// Adds a warning about the last field with `tag`, or about the header if the field is absent.
    fn warn_at_field(&mut self, tag: u32, reason: impl FnOnce(IsAbsent) -> Reason) {
        let at = self.envelope_field(tag).map(value_bytes);
        let is_absent = at.is_none();
        self.warn(at.unwrap_or(1..FRAME_HEADER_BYTES), reason(is_absent));
    }

    fn warn(&mut self, at: Range<usize>, reason: Reason) {
        self.problems.push(Problem { severity: Severity::Warning, at, reason });
    }

    /// Returns the span of the envelope's field with `tag`; the last one if it is repeated.
    fn envelope_field(&self, tag: u32) -> Option<&Span<'a>> {
        let has_tag = |span: &&Span<'_>| span.depth == 1 && span.field.is_some_and(|field| field.tag == tag);
        self.spans.iter().rev().find(has_tag)
    }
}

/// Set if the frame lacks the field of a warning.
type IsAbsent = bool;

/// Returns the rest of a capture in which no frame begins.
fn legacy(rest: &[u8], offset: usize, left: usize) -> AnnotatedFrame<'_> {
    // A bare body is the whole capture.
    let is_whole = rest.len() == left;
    let reason = Reason::NotAFrame { got: rest[0], guess: guess(rest, offset == 0, is_whole) };
    AnnotatedFrame {
        offset,
        length: left,
        bytes: rest,
        wire: Wire::Legacy,
        frame: None,
        spans: vec![Span { value: Value::Bytes(rest), ..Span::new(0, left, 0, "legacy") }],
        problems: vec![Problem { severity: Severity::Error, at: 0..1, reason }],
    }
}

fn guess(rest: &[u8], is_first: bool, is_whole: bool) -> Guess {
    let mut text = rest.iter().filter(|byte| !byte.is_ascii_whitespace());
    if is_first && rest.starts_with(b"01") && text.all(u8::is_ascii_hexdigit) {
        Guess::HexText
    } else if is_first && is_whole && FrameRef::decode(rest).is_ok_and(|frame| frame.check_strict().is_ok()) {
        Guess::BareBody
    } else if is_first {
        Guess::LegacyWire
    } else {
        Guess::AfterFrames
    }
}

fn payload_shape(frame: &FrameRef<'_>) -> PayloadShape {
    if frame.payload_protocol != BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL {
        PayloadShape::Opaque
    } else if frame.kind == i32::from(FrameKind::Response) {
        PayloadShape::NonceAndIdentity
    } else {
        PayloadShape::Nonce
    }
}

/// Adds the objections of strict receivers to a frame that the decoder accepts.
fn judge(walk: &mut Walk<'_>, mut frame: FrameRef<'_>, body_length: usize) {
    // A receiver reports the first violation only. Each one is corrected here to find the next.
    while let Err(violation) = frame.check_strict() {
        let tag = match violation {
            FrameViolation::EnvelopeVersion { .. } => {
                frame.envelope_version = PROTOCOL_VERSION;
                schema::ENVELOPE_VERSION
            }
            FrameViolation::Kind { .. } => {
                frame.kind = FrameKind::Request.into();
                schema::KIND
            }
            FrameViolation::UnknownEncoding { .. } | FrameViolation::UnsupportedEncoding { .. } => {
                frame.payload_encoding = PayloadEncoding::None.into();
                schema::PAYLOAD_ENCODING
            }
            _ => return walk.warn_at_field(0, |_| Reason::Violation { violation, is_absent: false }),
        };
        walk.warn_at_field(tag, |is_absent| Reason::Violation { violation, is_absent });
    }
    match payload_shape(&frame) {
        PayloadShape::Opaque => {}
        PayloadShape::Nonce => {
            if let Err(error) = EndpointProbeRequestRef::validate(frame, body_length) {
                let tag = match error {
                    EndpointProbeServerError::Envelope(ProbeEnvelopeError::Kind { .. }) => schema::KIND,
                    EndpointProbeServerError::NonceLength { .. } => schema::PAYLOAD,
                    _ => 0,
                };
                walk.warn_at_field(tag, |_| Reason::MalformedProbe(error));
            }
        }
        PayloadShape::NonceAndIdentity => judge_response(walk, frame.payload),
    }
}

fn judge_response(walk: &mut Walk<'_>, payload: &[u8]) {
    let Some((_, identity)) = payload.split_at_checked(PROBE_NONCE_BYTES) else {
        let reason = Reason::NoNonce { length: payload.len() };
        return walk.warn_at_field(schema::PAYLOAD, |_| reason);
    };
    let Err(error) = DaemonProcess::decode(identity) else { return };
    let name = match &error {
        // The walk has added a problem for it.
        IdentityError::Decode(_) if walk.problems.iter().any(|problem| problem.reason.is_protobuf()) => {
            return;
        }
        IdentityError::DigestLength { field, .. } => field,
        IdentityError::UnknownDigestAlgorithm { .. } => "exe_hash_algorithm",
        _ => "",
    };
    match walk.spans.iter().rev().find(|span| span.depth == 2 && span.name == name) {
        Some(span) => walk.warn(value_bytes(span), Reason::Identity(error)),
        // A field that is missing is reported at the payload.
        None => walk.warn_at_field(schema::PAYLOAD, |_| Reason::Identity(error)),
    }
}

/// Returns the bytes of the field's value, or of its length if the content has spans of its own.
fn value_bytes(span: &Span<'_>) -> Range<usize> {
    let (key, prefix) = span.field.map_or((0, 0), |field| (field.key_bytes, field.prefix_bytes));
    let skipped = if key + prefix < span.length { key + prefix } else { key };
    span.offset + skipped..span.end()
}
