//! A capture as JSON, for programs.

use super::summary::Headline;
use super::{AnnotatedFrame, Capture, Problem, Severity, Span, Value, Wire};
use serde::Serialize;

/// Grows when a field is removed or changes its meaning; new fields come without notice.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// `capture` as a serializable document. Payloads are whole, as text or as hex; offsets and lengths are in bytes.
pub(crate) fn document<'a>(capture: &'a Capture<'a>) -> Document<'a> {
    Document {
        schema_version: SCHEMA_VERSION,
        length: capture.bytes.len(),
        accepted: capture.is_accepted(),
        errors: capture.count(Severity::Error),
        warnings: capture.count(Severity::Warning),
        frames: capture.frames.iter().map(frame).collect(),
    }
}

/// See [`document`].
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    schema_version: u32,
    length: usize,
    accepted: bool,
    errors: usize,
    warnings: usize,
    frames: Vec<Frame<'a>>,
}

#[derive(Debug, Serialize)]
struct Frame<'a> {
    offset: usize,
    length: usize,
    wire: Wire,
    accepted: bool,
    summary: String,
    fields: Vec<Field<'a>>,
    problems: Vec<Reported>,
}

#[derive(Debug, Serialize)]
struct Field<'a> {
    offset: usize,
    length: usize,
    depth: usize,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wire_type: Option<super::WireType>,
    value: Value<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Reported {
    severity: Severity,
    code: &'static str,
    offset: usize,
    length: usize,
    message: String,
    expected: Option<String>,
    help: &'static str,
}

fn frame<'a>(frame: &'a AnnotatedFrame<'a>) -> Frame<'a> {
    Frame {
        offset: frame.offset,
        length: frame.length,
        wire: frame.wire,
        accepted: frame.is_accepted(),
        summary: Headline(frame).to_string(),
        fields: frame.spans.iter().map(field).collect(),
        problems: frame.problems.iter().map(reported).collect(),
    }
}

fn field<'a>(span: &'a Span<'a>) -> Field<'a> {
    Field {
        offset: span.offset,
        length: span.length,
        depth: span.depth,
        name: &span.name,
        tag: span.field.map(|field| field.tag),
        wire_type: span.field.map(|field| field.wire_type),
        value: span.value,
        note: span.note.as_deref(),
    }
}

fn reported(problem: &Problem) -> Reported {
    Reported {
        severity: problem.severity,
        code: problem.reason.code(),
        offset: problem.at.start,
        length: problem.at.len(),
        message: problem.reason.to_string(),
        expected: problem.reason.expected(),
        help: problem.reason.help(),
    }
}
