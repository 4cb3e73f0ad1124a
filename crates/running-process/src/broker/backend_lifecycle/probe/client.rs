//! The client's side: the challenge, and what may answer it.

use super::envelope::{self, ProbeEnvelopeError};
use super::limits::PROBE_NONCE_BYTES;
use crate::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{FrameKind, FrameRef};

/// One probe in flight: the caller chose the nonce at random and never uses it again.
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

/// Why a frame does not answer a challenge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointProbeError {
    /// The envelope is not a probe's.
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
    /// What follows the nonce is not an identity.
    #[error("probe response carries no usable identity")]
    Identity(#[from] IdentityError),
}

impl EndpointProbeChallenge {
    /// A challenge with a nonce that nobody can have seen before.
    #[must_use]
    pub fn new(nonce: [u8; PROBE_NONCE_BYTES], request_id: u64) -> Self {
        Self { nonce, request_id }
    }

    /// The frame to send.
    #[must_use]
    pub fn request(&self) -> FrameRef<'_> {
        FrameRef::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, self.request_id, &self.nonce)
    }

    /// The identity in the answer to this very challenge.
    ///
    /// Whether it is the expected identity is for [`compare`](crate::broker::backend_lifecycle::judge::compare) to say.
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
