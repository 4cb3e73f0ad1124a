//! A captured stream of frames, explained byte by byte.
//!
//! Pure: bytes in, values out. **The spans of a [`Capture`] cover every byte exactly once, in order**, whatever the
//! bytes are, and a frame has no error exactly when the library's decoder accepts it.
//! [`render`] shows a capture to people, [`json`] to programs, [`summarize`] one frame in one line.

mod frame;
pub(crate) mod json;
mod problem;
mod protobuf;
pub(crate) mod render;
mod schema;
mod summary;
#[cfg(test)]
mod tests;
mod value;
mod walk;

pub(crate) use problem::{Problem, Severity};
pub(crate) use render::{Look, Palette};
pub(crate) use summary::summarize;
pub(crate) use value::{Value, grouped};

use protobuf::WireType;
use running_process::broker::protocol::FrameRef;
use std::borrow::Cow;

/// Everything that one side sent, or what was recorded of it.
#[derive(Debug)]
pub(crate) struct Capture<'a> {
    /// The bytes as they came.
    pub(crate) bytes: &'a [u8],
    /// Adjacent and in order: together they are `bytes`.
    pub(crate) frames: Vec<AnnotatedFrame<'a>>,
}

/// One frame, or the rest of a capture in which no frame can be found.
#[derive(Debug)]
pub(crate) struct AnnotatedFrame<'a> {
    /// Where it starts in the capture.
    pub(crate) offset: usize,
    /// Header included, in bytes; of a frame that is cut off, what is there.
    pub(crate) length: usize,
    /// What it is.
    pub(crate) wire: Wire,
    /// What it says, if it can be decoded.
    pub(crate) frame: Option<FrameRef<'a>>,
    /// Adjacent and in order: together they are the frame.
    pub(crate) spans: Vec<Span<'a>>,
    /// Ordered by offset.
    pub(crate) problems: Vec<Problem>,
}

/// The two kinds of traffic that reach an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wire {
    /// It starts with the framing byte.
    Frame,
    /// It does not: some other framing, or garbage.
    Legacy,
}

/// Bytes that mean one thing: a header field, a protobuf field, the key of a field whose content follows.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    /// Where it starts in the capture.
    pub(crate) offset: usize,
    /// In bytes.
    pub(crate) length: usize,
    /// How deep it lies: 0 is the header, 1 the envelope, below are the parts of a payload.
    pub(crate) depth: usize,
    /// What it is called.
    pub(crate) name: Cow<'static, str>,
    /// Protobuf only.
    pub(crate) field: Option<FieldKey>,
    /// What it says.
    pub(crate) value: Value<'a>,
    /// What is worth knowing about it beyond that.
    pub(crate) note: Option<Cow<'static, str>>,
}

/// How a protobuf field announces itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldKey {
    /// The field's number.
    pub(crate) tag: u32,
    /// How its value is written.
    pub(crate) wire_type: WireType,
    /// Length of the key, in bytes.
    pub(crate) key_bytes: usize,
    /// Length of the length before a length-delimited value, in bytes; else 0.
    pub(crate) prefix_bytes: usize,
    /// The length that stands there, in bytes.
    pub(crate) announced: Option<u64>,
    /// Whether the message has such a field; the span's name then lacks the tag.
    pub(crate) is_known: bool,
}

impl Span<'_> {
    /// One past its last byte.
    pub(crate) fn end(&self) -> usize {
        self.offset + self.length
    }
}

impl AnnotatedFrame<'_> {
    /// Whether the library's decoder takes it: nothing in it is an error.
    pub(crate) fn is_accepted(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity != Severity::Error)
    }

    /// One past its last byte.
    pub(crate) fn end(&self) -> usize {
        self.offset + self.length
    }
}

impl Capture<'_> {
    /// Whether every frame is one that the library's decoder takes; so is a capture without any.
    pub(crate) fn is_accepted(&self) -> bool {
        self.frames.iter().all(AnnotatedFrame::is_accepted)
    }

    /// How many problems of `severity` there are.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        let problems = self.frames.iter().flat_map(|frame| &frame.problems);
        problems.filter(|problem| problem.severity == severity).count()
    }
}

/// Explains a captured stream that starts at a frame's first byte.
///
/// A frame with an intact header and an undecodable body is followed by the next frame. Where no frame can be told, the
/// rest of the capture is one [`AnnotatedFrame`].
pub(crate) fn annotate(bytes: &[u8]) -> Capture<'_> {
    let mut frames: Vec<AnnotatedFrame<'_>> = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let frame = frame::annotate_frame(bytes, offset);
        offset = frame.end();
        frames.push(frame);
    }
    Capture { bytes, frames }
}
