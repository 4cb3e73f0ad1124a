//! Frames as JSON.

use super::annotation::{AnnotatedFrame, Span, Wire};
use super::problem::{Problem, Severity};
use super::summary::Headline;
use super::totals::Totals;
use super::value::Value;
use super::wire_type::WireType;
use serde::Serialize;

/// Returns the object of the frame with the number `index`, counted from 0.
///
/// Payloads are whole, as text or as hex. Offsets count from the start of the capture; offsets and lengths are in bytes.
pub(crate) fn frame<'a>(index: usize, frame: &'a AnnotatedFrame<'a>) -> Frame<'a> {
    Frame {
        event: "frame",
        index,
        offset: frame.offset,
        length: frame.length,
        wire: frame.wire,
        accepted: frame.is_accepted(),
        summary: Headline(frame).to_string(),
        fields: frame.spans.iter().map(|span| field(span, frame.offset)).collect(),
        problems: frame.problems.iter().map(|problem| reported(problem, frame.offset)).collect(),
    }
}

/// Returns the object that follows all frames of a capture.
pub(crate) fn end(totals: Totals) -> End {
    let Totals { length, frames, errors, warnings } = totals;
    End { event: "end", length, frames, accepted: totals.is_accepted(), errors, warnings }
}

/// The object that follows all frames; see [`end`].
#[derive(Debug, Serialize)]
pub(crate) struct End {
    event: &'static str,
    length: usize,
    frames: usize,
    accepted: bool,
    errors: usize,
    warnings: usize,
}

/// The object of a frame; see [`frame`].
#[derive(Debug, Serialize)]
pub(crate) struct Frame<'a> {
    event: &'static str,
    index: usize,
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
    wire_type: Option<WireType>,
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

fn field<'a>(span: &'a Span<'a>, frame: usize) -> Field<'a> {
    Field {
        offset: frame + span.offset,
        length: span.length,
        depth: span.depth,
        name: &span.name,
        tag: span.field.map(|field| field.tag),
        wire_type: span.field.map(|field| field.wire_type),
        value: span.value,
        note: span.note.as_deref(),
    }
}

fn reported(problem: &Problem, frame: usize) -> Reported {
    Reported {
        severity: problem.severity,
        code: problem.reason.code(),
        offset: frame + problem.at.start,
        length: problem.at.len(),
        message: problem.reason.to_string(),
        expected: problem.reason.expected(),
        help: problem.reason.help(),
    }
}
