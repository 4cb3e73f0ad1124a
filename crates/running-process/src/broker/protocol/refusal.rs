//! Refusals: responses of a daemon that does not serve a request.
//!
//! A refusal carries the request's id under the control protocol instead of the request's own, so that no client takes
//! it for an answer. A peer that does not know refusals sees a response of the wrong protocol. That is an error to
//! published Rust clients; the published Python client skips it.

use super::frame::FrameRef;
use super::generated::{FrameKind, PayloadEncoding, Refusal, RefusalReason};
use super::registry::CONTROL_PAYLOAD_PROTOCOL;
use prost::Message;
use std::fmt;
use std::time::Duration;

/// ```
/// use running_process::Refusal;
/// use running_process::broker::protocol::RefusalReason;
/// use std::time::Duration;
///
/// let busy = Refusal::new(RefusalReason::Overloaded, "64 builds run").retry_after(Duration::from_millis(200));
/// assert!(!busy.may_have_run()); // so the client may send the request again
/// assert!(Refusal::new(RefusalReason::HandlerFailed, "no such file").may_have_run());
/// ```
impl Refusal {
    /// Returns a refusal with its reason; `message` is one line for people.
    pub fn new(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), retry_after_ms: None }
    }

    /// Returns the refusal with the hint that the request may be served after `delay`, in whole milliseconds.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after_ms = Some(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Returns whether the request may have run, as far as the reason tells.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match self.reason() {
            RefusalReason::Overloaded
            | RefusalReason::UnservedProtocol
            | RefusalReason::BadEncoding
            | RefusalReason::NotAuthorized
            | RefusalReason::ShuttingDown => false,
            RefusalReason::Unspecified
            | RefusalReason::DeadlinePassed
            | RefusalReason::Cancelled
            | RefusalReason::HandlerFailed
            | RefusalReason::AnswerTooLarge => true,
        }
    }

    /// Returns the refusal that `frame` carries; `None` if it carries none. A refusal is never encoded.
    #[must_use]
    pub fn from_frame(frame: &FrameRef<'_>) -> Option<Self> {
        let is_refusal = frame.kind == i32::from(FrameKind::Response)
            && frame.payload_protocol == CONTROL_PAYLOAD_PROTOCOL
            && frame.payload_encoding == i32::from(PayloadEncoding::None);
        if is_refusal { Self::decode(frame.payload).ok() } else { None }
    }
}

impl<'a> FrameRef<'a> {
    /// Returns the frame that refuses `request`; `payload` is an encoded [`Refusal`].
    #[must_use]
    pub fn refusal_of(request: &FrameRef<'a>, payload: &'a [u8]) -> Self {
        Self { payload_protocol: CONTROL_PAYLOAD_PROTOCOL, ..Self::response_to(request, payload) }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unspecified => "refused for a reason that this side does not know",
            Self::Overloaded => "overloaded",
            Self::DeadlinePassed => "the deadline has passed",
            Self::Cancelled => "cancelled",
            Self::UnservedProtocol => "the payload protocol is not served",
            Self::BadEncoding => "the payload's encoding cannot be decoded",
            Self::NotAuthorized => "not authorized",
            Self::HandlerFailed => "the handler failed",
            Self::ShuttingDown => "shutting down",
            Self::AnswerTooLarge => "the answer does not fit a frame",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.reason())?;
        if !self.message.is_empty() {
            write!(formatter, " ({:?})", self.message)?;
        }
        match self.retry_after_ms {
            Some(delay) => write!(formatter, "; may be served after {delay} ms"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_written_as_documented() {
        let payload = Refusal::new(RefusalReason::Overloaded, "").encode_to_vec();
        let mut wire = Vec::new();
        FrameRef::refusal_of(&FrameRef::request(0xF00D, 1, b""), &payload).encode_framed(&mut wire).unwrap();
        assert_eq!(wire, b"\x01\x0b\0\0\0\x08\x01\x10\x01\x22\x03\xc0\x3e\x01\x28\x01");
    }

    #[test]
    fn a_refusal_is_read_from_its_own_frame_only() {
        let refusal = Refusal::new(RefusalReason::Overloaded, "64 requests are in flight")
            .retry_after(Duration::from_millis(20));
        let payload = refusal.encode_to_vec();
        let request = FrameRef::request(0xF00D, 7, b"work");
        let frame = FrameRef::refusal_of(&request, &payload);
        assert_eq!(Refusal::from_frame(&frame), Some(refusal.clone()));
        assert_eq!(frame.request_id, 7);
        assert_eq!(Refusal::from_frame(&FrameRef::response_to(&request, &payload)), None);
        let request = FrameRef { kind: FrameKind::Request.into(), ..frame };
        assert_eq!(Refusal::from_frame(&request), None);
        assert_eq!(
            refusal.to_string(),
            r#"overloaded ("64 requests are in flight"); may be served after 20 ms"#
        );
    }

    #[test]
    fn only_a_request_that_was_refused_before_its_handler_has_not_run() {
        let ran = |reason| Refusal::new(reason, "").may_have_run();
        assert!(!ran(RefusalReason::Overloaded) && !ran(RefusalReason::ShuttingDown));
        assert!(ran(RefusalReason::HandlerFailed) && ran(RefusalReason::Unspecified));
    }
}
