//! The client's side of a probe: the challenge, and the checks of its answer.

use super::envelope::{self, ProbeEnvelopeError};
use super::limits::PROBE_NONCE_BYTES;
use crate::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{FrameKind, FrameRef};

/// One probe. The caller chooses the nonce at random and never uses it again.
///
/// ```
/// use running_process::broker::backend_lifecycle::probe::EndpointProbeChallenge;
///
/// let challenge = EndpointProbeChallenge::new([7; 32], 1);
/// let mut wire = Vec::new();
/// challenge.request().encode_framed(&mut wire)?;
/// assert_eq!(wire[..5], [1, 42, 0, 0, 0]);
/// # Ok::<(), running_process::broker::protocol::FramingError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EndpointProbeChallenge {
    nonce: [u8; PROBE_NONCE_BYTES],
    request_id: u64,
}

/// The reason why a frame does not answer a challenge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointProbeError {
    /// The envelope is not that of a probe.
    #[error(transparent)]
    Envelope(#[from] ProbeEnvelopeError),
    /// The frame answers another request.
    #[error("probe response has request id {got}, expected {expected}")]
    RequestId {
        /// The id in the frame.
        got: u64,
        /// The id of the challenge.
        expected: u64,
    },
    /// The payload does not start with the nonce: the answer is a replay, or not an answer.
    #[error("probe response does not echo the nonce")]
    Nonce,
    /// The bytes after the nonce are not an identity.
    #[error("probe response carries no usable identity")]
    Identity(#[from] IdentityError),
}

impl EndpointProbeChallenge {
    /// Returns a challenge with a nonce that has not been used before.
    #[must_use]
    pub fn new(nonce: [u8; PROBE_NONCE_BYTES], request_id: u64) -> Self {
        Self { nonce, request_id }
    }

    /// Returns the frame to send.
    #[must_use]
    pub fn request(&self) -> FrameRef<'_> {
        FrameRef::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, self.request_id, &self.nonce)
    }

    /// Checks that `response` answers this challenge, and returns the identity in it.
    ///
    /// Compare it with the expected identity by [`compare`](crate::broker::backend_lifecycle::judge::compare).
    ///
    /// # Errors
    ///
    /// The first rule that the response breaks.
    pub fn identity(&self, response: &FrameRef<'_>) -> Result<DaemonProcess, EndpointProbeError> {
        envelope::check(response, FrameKind::Response)?;
        if response.request_id != self.request_id {
            return Err(EndpointProbeError::RequestId {
                got: response.request_id,
                expected: self.request_id,
            });
        }
        let identity = response.payload.strip_prefix(&self.nonce[..]).ok_or(EndpointProbeError::Nonce)?;
        Ok(DaemonProcess::decode(identity)?)
    }
}
