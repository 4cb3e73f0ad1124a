//! Errors of a client connection.

use crate::broker::backend_sdk::proto::descriptors::DescriptorFault;
use crate::broker::protocol::{DecodePayloadError, FrameViolation, FramingError};
use std::sync::Arc;

/// The reason why a connection to a daemon cannot go on. Each is a fault of the daemon.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientConnectionError {
    /// The bytes are not frames.
    #[error("the daemon sent no frame")]
    Framing(#[source] Arc<FramingError>),
    /// The frame breaks the strict rules.
    #[error("the daemon sent a frame that cannot be used")]
    Violation(#[from] FrameViolation),
    /// The payload is of an accepted encoding, and cannot be decoded.
    #[error("the daemon sent a payload that cannot be decoded")]
    Payload(#[from] DecodePayloadError),
    /// A response to a request that was never sent.
    #[error("the daemon answered request {got}, which was never sent")]
    UnknownRequest {
        /// The request id in the response.
        got: u64,
    },
    /// The response is of another payload protocol than its request, and no refusal.
    #[error("the daemon answered in payload protocol 0x{got:04X}, asked was 0x{expected:04X}")]
    PayloadProtocolMismatch {
        /// The id in the response.
        got: u32,
        /// The id in the request.
        expected: u32,
    },
    /// The descriptors that the daemon sent are not those that its frames announce, or too many.
    #[error("the daemon broke the rules of descriptors")]
    Descriptors(#[from] DescriptorFault),
    /// The daemon ended the connection inside a frame.
    #[error("the daemon ended the connection {buffered} bytes into a frame")]
    Truncated {
        /// The number of bytes of the frame that had come.
        buffered: usize,
    },
}

impl From<FramingError> for ClientConnectionError {
    fn from(error: FramingError) -> Self {
        Self::Framing(Arc::new(error))
    }
}
