use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{FrameKind, FrameRef, PROTOCOL_VERSION, PayloadEncoding};

/// The reason why the envelope of a frame is not that of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeEnvelopeError {
    /// The envelope is of another version.
    #[error("probe has envelope version {got}, this side speaks {PROTOCOL_VERSION}")]
    EnvelopeVersion {
        /// The version in the frame.
        got: u32,
    },
    /// The frame is not of the expected kind, request or response.
    #[error("probe has kind {got}, due is {expected:?} ({})", *expected as i32)]
    Kind {
        /// The kind in the frame.
        got: i32,
        /// The expected kind.
        expected: FrameKind,
    },
    /// The frame is of another payload protocol.
    #[error(
        "probe has payload protocol 0x{got:04X}, a probe's is 0x{BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL:04X}"
    )]
    PayloadProtocol {
        /// The id in the frame.
        got: u32,
    },
    /// The payload is encoded.
    #[error("probe has payload encoding {got}, a probe is not encoded (0)")]
    PayloadEncoding {
        /// The encoding in the frame.
        got: i32,
    },
}

/// Checks the fields that a probe and its answer have in common, in this order: envelope version, kind, protocol,
/// encoding.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]
pub(super) fn check(frame: &FrameRef<'_>, expected: FrameKind) -> Result<(), ProbeEnvelopeError> {
    if frame.envelope_version != PROTOCOL_VERSION {
        return Err(ProbeEnvelopeError::EnvelopeVersion { got: frame.envelope_version });
    }
    if frame.kind != i32::from(expected) {
        return Err(ProbeEnvelopeError::Kind { got: frame.kind, expected });
    }
    if frame.payload_protocol != BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL {
        return Err(ProbeEnvelopeError::PayloadProtocol { got: frame.payload_protocol });
    }
    if frame.payload_encoding != i32::from(PayloadEncoding::None) {
        return Err(ProbeEnvelopeError::PayloadEncoding { got: frame.payload_encoding });
    }
    Ok(())
}
