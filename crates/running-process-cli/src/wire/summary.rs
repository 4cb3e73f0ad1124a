//! One frame in one line.

use super::annotation::{AnnotatedFrame, Wire};
use super::frame::annotate;
use super::problem::{Problem, Reason, Severity};
use super::value::{Value, grouped, protocol_name};
use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::PROBE_NONCE_BYTES;
use running_process::broker::protocol::registry::{self, BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL};
use running_process::broker::protocol::{FrameKind, FrameRef};
use std::fmt;

/// Number of characters of a text payload in a headline.
const HEADLINE_CHARS: usize = 32;

/// Returns the frame in one line, such as `-> REQUEST 0xF00D #1 "GET greeting" (29 bytes)`.
///
/// The arrow shows the usual direction: requests and cancels go to the daemon, responses and events come from it. For
/// bytes that are no frame the line has the reason.
pub(crate) fn summarize(frame_bytes: &[u8]) -> String {
    let capture = annotate(frame_bytes);
    let Some(frame) = capture.first() else { return "nothing (0 bytes)".to_owned() };
    let arrow = match frame.frame.map(|frame| FrameKind::try_from(frame.kind)) {
        Some(Ok(FrameKind::Request | FrameKind::Cancel)) => "->",
        Some(Ok(FrameKind::Response | FrameKind::Event)) => "<-",
        Some(Err(_)) | None => "??",
    };
    format!("{arrow} {} ({} bytes)", Headline(frame), grouped(frame.length))
}

/// A frame in one line without its length. A refused frame has the first error behind it.
pub(super) struct Headline<'a>(pub(super) &'a AnnotatedFrame<'a>);

/// A frame in one line without its length and its errors.
pub(super) struct Title<'a>(pub(super) &'a AnnotatedFrame<'a>);

impl fmt::Display for Headline<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", Title(self.0))?;
        let mut errors = self.0.problems.iter().filter(|problem| problem.severity == Severity::Error);
        errors.next().map_or(Ok(()), |error| write!(formatter, ": {}", error.reason))
    }
}

impl fmt::Display for Title<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_cut_off = |problem: &Problem| {
            matches!(problem.reason, Reason::HeaderUnfinished { .. } | Reason::BodyUnfinished { .. })
        };
        match self.0.frame {
            Some(frame) => write_frame(formatter, &frame),
            None if self.0.wire == Wire::Legacy => formatter.write_str("LEGACY"),
            None if self.0.problems.iter().any(is_cut_off) => formatter.write_str("CUT OFF"),
            None => formatter.write_str("DAMAGED"),
        }
    }
}

fn write_frame(formatter: &mut fmt::Formatter<'_>, frame: &FrameRef<'_>) -> fmt::Result {
    match Value::frame_kind(frame.kind) {
        Value::Enumeration { name: Some(name), .. } => formatter.write_str(name)?,
        _ => write!(formatter, "KIND {}", frame.kind)?,
    }
    let id = frame.payload_protocol;
    write!(formatter, " 0x{id:04X}")?;
    if registry::is_first_party(id) || registry::registered_consumer(id).is_some() {
        write!(formatter, " {}", protocol_name(id))?;
    }
    write!(formatter, " #{}", frame.request_id)?;
    if frame.payload.is_empty() {
        return Ok(());
    }
    if id == BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL {
        return match identity(frame.payload) {
            Some(daemon) => {
                let path = daemon.exe_path.to_string_lossy();
                write!(formatter, " pid {} {}", daemon.pid, Value::Text(&path))
            }
            None => write!(formatter, " nonce {}", Value::Hex(frame.payload)),
        };
    }
    if let Value::Enumeration { name: Some(name), number: 1.. } =
        Value::payload_encoding(frame.payload_encoding)
    {
        write!(formatter, " {name}")?;
    }
    write!(formatter, " {:.HEADLINE_CHARS$}", Value::Bytes(frame.payload))
}

/// Returns the identity in the payload of a probe response.
fn identity(payload: &[u8]) -> Option<DaemonProcess> {
    payload.get(PROBE_NONCE_BYTES..).and_then(|identity| DaemonProcess::decode(identity).ok())
}
