//! An explained frame and its parts.

use super::problem::{Problem, Severity};
use super::value::Value;
use super::wire_type::WireType;
use running_process::broker::protocol::FrameRef;
use std::borrow::Cow;

/// One frame, or the rest of a capture if no frame begins there.
#[derive(Debug)]
pub(crate) struct AnnotatedFrame<'a> {
    /// Offset of the first byte in the capture.
    pub(crate) offset: usize,
    /// Length in bytes, header included. A frame that is cut off has the length of the bytes in the capture.
    pub(crate) length: usize,
    /// Bytes of the frame. Of the rest of a capture, only the buffered bytes.
    pub(crate) bytes: &'a [u8],
    pub(crate) wire: Wire,
    /// The decoded frame; `None` if the decoder refuses it.
    pub(crate) frame: Option<FrameRef<'a>>,
    /// Adjacent spans in order, which together are the frame.
    pub(crate) spans: Vec<Span<'a>>,
    /// Problems, ordered by offset.
    pub(crate) problems: Vec<Problem>,
}

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wire {
    /// Bytes that begin with the framing byte.
    Frame,
    /// Other bytes: another framing, or garbage.
    Legacy,
}

/// Bytes with one meaning: a header field, a protobuf field, or the key of a field whose content has spans of its own.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    /// Offset in the frame.
    pub(crate) offset: usize,
    /// Length in bytes.
    pub(crate) length: usize,
    /// Nesting depth: 0 for the header, 1 for the envelope, more for the parts of a payload.
    pub(crate) depth: usize,
    pub(crate) name: Cow<'static, str>,
    /// Key of a protobuf field; `None` for other bytes.
    pub(crate) field: Option<FieldKey>,
    pub(crate) value: Value<'a>,
    /// Remark about the value.
    pub(crate) note: Option<Cow<'static, str>>,
}

/// The key of a protobuf field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldKey {
    /// The field's number.
    pub(crate) tag: u32,
    pub(crate) wire_type: WireType,
    /// Length of the key in bytes.
    pub(crate) key_bytes: usize,
    /// Length of the length prefix of a length-delimited value, in bytes; 0 for other values.
    pub(crate) prefix_bytes: usize,
    /// Value of the length prefix, in bytes.
    pub(crate) announced: Option<u64>,
    /// Set if the message has such a field. The span's name then lacks the tag.
    pub(crate) is_known: bool,
}

impl Span<'_> {
    /// Creates a span without a value.
    pub(super) fn new(offset: usize, length: usize, depth: usize, name: &'static str) -> Self {
        Self { offset, length, depth, name: name.into(), field: None, value: Value::Nothing, note: None }
    }

    /// Returns the offset behind the last byte.
    pub(crate) fn end(&self) -> usize {
        self.offset + self.length
    }
}

impl AnnotatedFrame<'_> {
    /// Returns whether the library's decoder accepts the frame, which then has no problem of severity error.
    pub(crate) fn is_accepted(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity != Severity::Error)
    }

    /// Returns the offset in the capture behind the last byte.
    pub(crate) fn end(&self) -> usize {
        self.offset + self.length
    }
}
