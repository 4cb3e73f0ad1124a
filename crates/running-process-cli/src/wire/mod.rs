//! A captured stream of frames, explained byte by byte.
//!
//! Pure: bytes in, values out. **The spans of an [`AnnotatedFrame`] cover every byte exactly once, in order**, whatever the
//! bytes are, and a frame has no error exactly when the library's decoder accepts it. A capture is explained frame by frame,
//! so that one of any size takes the memory of its largest frame; [`wanted`] says how much of it a frame needs.
//! [`render`] shows a frame to people, [`json`] to programs, [`summarize`] one frame in one line.

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

pub(crate) use frame::annotate_frame;
pub(crate) use problem::{Problem, Severity};
pub(crate) use render::{Look, Palette};
pub(crate) use summary::summarize;
pub(crate) use value::{Value, counted, grouped};

use protobuf::WireType;
use running_process::broker::protocol::{ENVELOPE_VERSION, FRAME_HEADER_BYTES, FrameRef, MAX_FRAME_BYTES};
use std::borrow::Cow;

/// One frame, or the rest of a capture in which no frame can be found.
#[derive(Debug)]
pub(crate) struct AnnotatedFrame<'a> {
    /// Where it starts in the capture.
    pub(crate) offset: usize,
    /// Header included, in bytes; of a frame that is cut off, what is there.
    pub(crate) length: usize,
    /// Bytes of the frame; of the rest of a capture, as many as were buffered.
    pub(crate) bytes: &'a [u8],
    /// What it is.
    pub(crate) wire: Wire,
    /// What it says, if it can be decoded.
    pub(crate) frame: Option<FrameRef<'a>>,
    /// Adjacent and in order: together they are the frame.
    pub(crate) spans: Vec<Span<'a>>,
    /// Problems, ordered by offset, which counts from the frame's first byte.
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
    /// Offset in the frame.
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

/// Totals over the frames of a capture.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Length of all frames, in bytes.
    pub(crate) length: usize,
    pub(crate) frames: usize,
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
}

impl Totals {
    pub(crate) fn add(&mut self, frame: &AnnotatedFrame<'_>) {
        let count = |severity| frame.problems.iter().filter(|problem| problem.severity == severity).count();
        self.length += frame.length;
        self.frames += 1;
        self.errors += count(Severity::Error);
        self.warnings += count(Severity::Warning);
    }

    /// Reports whether the library's decoder accepts every frame; true of a capture without frames.
    pub(crate) fn is_accepted(&self) -> bool {
        self.errors == 0
    }
}

/// Returns the number of bytes needed to explain the frame that starts with `bytes`, unless the capture ends before.
///
/// A frame with an intact header and an undecodable body is followed by the next frame. Where no frame can be told, the
/// rest of the capture is one [`AnnotatedFrame`], of which no more is looked at than a frame takes.
pub(crate) fn wanted(bytes: &[u8]) -> Wanted {
    const LARGEST: usize = FRAME_HEADER_BYTES + MAX_FRAME_BYTES;
    match bytes.first_chunk::<FRAME_HEADER_BYTES>() {
        None if bytes.first().is_none_or(|first| *first == ENVELOPE_VERSION) => {
            Wanted::Frame(FRAME_HEADER_BYTES)
        }
        Some([ENVELOPE_VERSION, length @ ..]) => match u32::from_le_bytes(*length) as usize {
            length if length <= MAX_FRAME_BYTES => Wanted::Frame(FRAME_HEADER_BYTES + length),
            _ => Wanted::Rest(LARGEST),
        },
        _ => Wanted::Rest(LARGEST),
    }
}

/// The number of bytes needed next; see [`wanted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This many bytes, at which the next frame may end.
    Frame(usize),
    /// This many bytes, and the number of bytes that follow them.
    Rest(usize),
}

/// Explains a whole captured stream.
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
