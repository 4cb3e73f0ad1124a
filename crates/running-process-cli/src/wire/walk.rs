//! Splits a message into spans, field by field. After a problem it continues, as long as the extent of the field is known.

use super::annotation::{FieldKey, Span};
use super::problem::{Problem, Reason, Severity};
use super::protobuf::{Reader, Stop};
use super::schema::{self, Field, FieldType, Message};
use super::value::Value;
use super::wire_type::WireType;
use running_process::broker::backend_lifecycle::probe::PROBE_NONCE_BYTES;
use std::borrow::Cow;
use std::ops::Range;

/// Largest number of spans of a frame; one more covers the rest. The limit bounds the memory of a frame of tiny fields.
const MAX_SPANS: usize = 1_000;
/// Largest number of problems of the fields of a frame.
const MAX_PROBLEMS: usize = 100;
const NOT_LISTED: &str = "further fields";

/// The structure of a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PayloadShape {
    Opaque,
    /// The nonce of a probe.
    Nonce,
    /// The nonce and the `DaemonProcess` of a probe's response.
    NonceAndIdentity,
}

/// The spans and problems found in one frame so far.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    /// The capture from the frame's first byte on.
    pub(super) capture: &'a [u8],
    pub(super) shape: PayloadShape,
    pub(super) spans: Vec<Span<'a>>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(capture: &'a [u8]) -> Self {
        Self { capture, shape: PayloadShape::Opaque, spans: Vec::new(), problems: Vec::new() }
    }

    /// Appends a span that starts where the last one ended.
    pub(super) fn push(&mut self, span: Span<'a>) {
        if span.length == 0 {
            return;
        }
        let is_full = self.spans.len() >= MAX_SPANS;
        match self.spans.last_mut() {
            Some(last) if last.name == NOT_LISTED => last.length += span.length,
            _ if !is_full => self.spans.push(span),
            _ => {
                let name = Cow::Borrowed(NOT_LISTED);
                let note = Some(Cow::Borrowed("checked, but not listed one by one"));
                self.spans.push(Span { name, note, depth: 1, field: None, value: Value::Nothing, ..span });
            }
        }
    }

    /// Splits the message in `start..announced_end`, or the part of it that the capture has.
    pub(super) fn message(
        &mut self,
        message: &'static Message,
        start: usize,
        announced_end: usize,
        depth: usize,
    ) {
        let mut reader = Reader::new(self.capture, start, announced_end, message.name);
        let first_span = self.spans.len();
        while !reader.is_at_end() {
            let mut span = Span::new(reader.position(), 0, depth, "not decoded");
            let Err(stop) = self.read_field(message, &mut reader, &mut span, first_span) else { continue };
            span.length = reader.end() - span.offset;
            span.note = match stop {
                Stop::CutOff => Some("cut off by the end of the capture".into()),
                Stop::Fault(fault) => {
                    self.problem(depth, fault.at, fault.reason);
                    None
                }
            };
            return self.push(span);
        }
    }

    /// Reads one field and pushes its span. On an error, `span` has the parts that were read.
    fn read_field(
        &mut self,
        message: &'static Message,
        reader: &mut Reader<'a>,
        span: &mut Span<'a>,
        first_span: usize,
    ) -> Result<(), Stop> {
        let key = reader.key()?;
        let known = message.field(key.tag);
        let mut parts = FieldKey {
            tag: key.tag,
            wire_type: key.wire_type,
            key_bytes: key.at.len(),
            prefix_bytes: 0,
            announced: None,
            is_known: known.is_some(),
        };
        span.field = Some(parts);
        span.name = match known {
            Some(field) => Cow::Borrowed(field.name),
            None => Cow::Owned(format!("field {} (unknown, skipped)", key.tag)),
        };
        let expected = known.map_or(key.wire_type, |field| field.kind.wire_type());
        // The reader reports the end of a group that is not open.
        if let Some(field) = known
            && expected != key.wire_type
            && key.wire_type != WireType::EndGroup
        {
            let reason = Reason::WrongWireType { field: field.name, expected, got: key.wire_type };
            self.problem(span.depth, key.at.clone(), reason);
        }
        let raw = match key.wire_type {
            WireType::Varint => Raw::Number(reader.varint()?),
            WireType::Len => {
                let claim = reader.position();
                let length = reader.varint()?;
                parts.announced = Some(length);
                parts.prefix_bytes = reader.position() - claim;
                span.field = Some(parts);
                Raw::Bytes(reader.take(length, claim..reader.position())?)
            }
            _ => {
                reader.skip(&key)?;
                Raw::Skipped
            }
        };
        span.length = reader.position() - span.offset;
        let value_start = key.at.end + parts.prefix_bytes;
        let known = known.filter(|_| expected == key.wire_type);
        match (known, raw) {
            (Some(field), Raw::Number(raw)) => {
                span.value = number(field.kind, raw);
                span.note = number_note(field.kind, raw, reader.position() - value_start);
            }
            (Some(field), Raw::Bytes(bytes)) => self.known_bytes(field, bytes, span, value_start),
            (_, Raw::Number(raw)) => span.value = Value::Number(raw),
            (_, Raw::Bytes(bytes)) => span.value = Value::Bytes(bytes),
            (_, Raw::Skipped) => {}
        }
        let span = std::mem::replace(span, Span::new(reader.position(), 0, span.depth, ""));
        let depth = span.depth + 1;
        if known.is_some_and(|field| !matches!(field.kind, FieldType::Message(_))) {
            self.supersede(first_span, &span);
        }
        self.push(span);
        self.content(known.map(|field| field.kind), value_start, reader.position(), depth);
        Ok(())
    }

    /// Reads the value of a length-delimited field. The span keeps the bytes that no deeper span covers.
    fn known_bytes(&mut self, field: &Field, bytes: &'a [u8], span: &mut Span<'a>, value_start: usize) {
        match field.kind {
            FieldType::Text => match std::str::from_utf8(bytes) {
                Ok(text) => span.value = Value::Text(text),
                Err(error) => {
                    span.value = Value::Bytes(bytes);
                    let at = error.valid_up_to();
                    let length = error.error_len().unwrap_or(bytes.len() - at);
                    let at = value_start + at..value_start + at + length;
                    let reason = Reason::NotUtf8 { field: field.name, byte: self.capture[at.start] };
                    self.problem(span.depth, at, reason);
                }
            },
            FieldType::Digest => span.value = Value::Hex(bytes),
            FieldType::Message(_) => span.length = value_start - span.offset,
            FieldType::Payload if self.shape != PayloadShape::Opaque => {
                span.length = value_start - span.offset;
            }
            _ => span.value = Value::Bytes(bytes),
        }
    }

    /// Splits the content of a field.
    fn content(&mut self, kind: Option<FieldType>, start: usize, end: usize, depth: usize) {
        match kind {
            Some(FieldType::Message(inner)) => self.message(inner, start, end, depth),
            Some(FieldType::Payload) if self.shape != PayloadShape::Opaque => {
                let identity = match self.shape {
                    PayloadShape::NonceAndIdentity => end.min(start + PROBE_NONCE_BYTES),
                    _ => end,
                };
                let nonce = Value::Hex(&self.capture[start..identity]);
                self.push(Span { value: nonce, ..Span::new(start, identity - start, depth, "nonce") });
                self.message(&schema::IDENTITY, identity, end, depth);
            }
            _ => {}
        }
    }

    /// Marks the earlier span of the same field, which `later` overrides.
    fn supersede(&mut self, first_span: usize, later: &Span<'a>) {
        if self.spans.len() > MAX_SPANS {
            return;
        }
        let tag = later.field.map(|field| field.tag);
        let same =
            |span: &&mut Span<'a>| span.depth == later.depth && span.field.map(|field| field.tag) == tag;
        let siblings = self.spans.get_mut(first_span..).unwrap_or_default();
        if let Some(earlier) = siblings.iter_mut().rev().find(same) {
            earlier.note = Some("overridden by a later one".into());
        }
    }

    /// Adds a problem. It is an error in the envelope, and a warning below it, where the frame decoder does not look.
    fn problem(&mut self, depth: usize, at: Range<usize>, reason: Reason) {
        if self.problems.len() < MAX_PROBLEMS {
            let severity = if depth > 1 { Severity::Warning } else { Severity::Error };
            self.problems.push(Problem { severity, at, reason });
        }
    }
}

/// A value of which only the wire type is known.
#[derive(Debug)]
enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Skipped,
}

#[allow(clippy::cast_possible_truncation, reason = "protobuf truncates a varint to the field's width")]
fn number<'a>(kind: FieldType, raw: u64) -> Value<'a> {
    match kind {
        FieldType::Uint32 => Value::Number(u64::from(raw as u32)),
        FieldType::Seconds => Value::Seconds(u64::from(raw as u32)),
        FieldType::FrameKind => Value::frame_kind(raw as i32),
        FieldType::PayloadEncoding => Value::payload_encoding(raw as i32),
        FieldType::PayloadProtocol => Value::Protocol(raw as u32),
        FieldType::Time => Value::Time(raw),
        _ => Value::Number(raw),
    }
}

/// Returns the remark about a number that the decoder accepts although it is unusual.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the comparison finds what is truncated"
)]
fn number_note(kind: FieldType, raw: u64, length: usize) -> Option<Cow<'static, str>> {
    let fits = match kind {
        FieldType::Uint32 | FieldType::Seconds | FieldType::PayloadProtocol => raw == u64::from(raw as u32),
        FieldType::FrameKind | FieldType::PayloadEncoding => raw == i64::from(raw as i32) as u64,
        _ => true,
    };
    let shortest = (64 - (raw | 1).leading_zeros() as usize).div_ceil(7);
    if !fits {
        Some(format!("the low 32 bits of 0x{raw:x}").into())
    } else if length > shortest {
        Some(format!("written in {length} bytes, {shortest} would do").into())
    } else {
        None
    }
}
