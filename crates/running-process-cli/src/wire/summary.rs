//! One frame in one line.

use super::problem::Reason;
use super::value::{grouped, protocol_name};
use super::{AnnotatedFrame, Problem, Severity, Value, Wire, annotate};
use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::PROBE_NONCE_BYTES;
use running_process::broker::protocol::registry::{self, BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL};
use running_process::broker::protocol::{FrameKind, FrameRef};
use std::fmt;

/// How much of a text payload a headline shows, in characters.
const HEADLINE_CHARS: usize = 32;

/// The frame that `frame_bytes` are, as `-> REQUEST 0xF00D #1 "GET greeting" (29 bytes)`.
///
/// The arrow shows the way that such a frame usually takes: requests and cancels to the daemon, responses and events
/// from it. What is no frame is said to be none, and why.
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

/// What a frame is, without its length; of one that is refused, why.
pub(super) struct Headline<'a>(pub(super) &'a AnnotatedFrame<'a>);

/// What a frame is, without its length, above lines that say the rest.
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

/// The identity in the payload of a probe response.
fn identity(payload: &[u8]) -> Option<DaemonProcess> {
    payload.get(PROBE_NONCE_BYTES..).and_then(|identity| DaemonProcess::decode(identity).ok())
}
