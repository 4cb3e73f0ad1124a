//! The daemon's side: validates a probe and answers it.

use super::envelope::{self, ProbeEnvelopeError};
use super::limits::{MAX_PROBE_REQUEST_BYTES, PROBE_NONCE_BYTES};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{
    DescriptorFields, Frame, FrameKind, FrameRef, FramingError, read_frame_with_cap,
};
use prost::Message;
use std::io::{Read, Write};

/// A validated probe, with the fields that its reply echoes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointProbeRequest {
    /// The request id that the client chose.
    pub request_id: u64,
    /// The nonce that the client chose at random.
    pub nonce: [u8; PROBE_NONCE_BYTES],
    /// W3C Trace Context `traceparent`.
    pub traceparent: String,
    /// W3C Trace Context `tracestate`.
    pub tracestate: String,
}

/// The reason why a frame is not a probe that may be answered, or why the answer could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointProbeServerError {
    /// The envelope is not that of a probe.
    #[error(transparent)]
    Envelope(#[from] ProbeEnvelopeError),
    /// The payload is not a nonce.
    #[error("probe payload is {length} bytes, a nonce is {PROBE_NONCE_BYTES}")]
    NonceLength {
        /// The payload's length, in bytes.
        length: usize,
    },
    /// The frame is larger than a probe can be.
    #[error("probe is {length} bytes, the limit is {MAX_PROBE_REQUEST_BYTES}")]
    TooLarge {
        /// The length of the frame's body, in bytes.
        length: usize,
    },
    /// The probe could not be read, or its reply could not be written.
    #[error("probe exchange failed")]
    Framing(#[from] FramingError),
}

/// A validated probe, borrowed from its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointProbeRequestRef<'a>(FrameRef<'a>);

impl<'a> EndpointProbeRequestRef<'a> {
    /// Validates `frame`, whose body is `body_length` bytes.
    ///
    /// # Errors
    ///
    /// The first rule that the frame breaks, as in [`endpoint_probe_request_from_frame`].
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]
    pub fn validate(frame: FrameRef<'a>, body_length: usize) -> Result<Self, EndpointProbeServerError> {
        envelope::check(&frame, FrameKind::Request)?;
        if frame.payload.len() != PROBE_NONCE_BYTES {
            return Err(EndpointProbeServerError::NonceLength { length: frame.payload.len() });
        }
        if body_length > MAX_PROBE_REQUEST_BYTES {
            return Err(EndpointProbeServerError::TooLarge { length: body_length });
        }
        Ok(Self(frame))
    }

    /// Returns the frame that was validated.
    #[must_use]
    pub fn frame(&self) -> &FrameRef<'a> {
        &self.0
    }
}

/// Appends the framed reply to `probe`: the nonce and `identity`, an encoded [`DaemonProcess`].
pub(crate) fn encode_probe_reply(
    probe: &EndpointProbeRequestRef<'_>,
    identity: &[u8],
    accepted_descriptors: u8,
    out: &mut Vec<u8>,
) -> Result<(), FramingError> {
    let request = probe.frame();
    let descriptors = DescriptorFields::NONE.accepting(accepted_descriptors);
    let reply = FrameRef { descriptors, ..FrameRef::response_to(request, &[]) };
    reply.encode_framed_with_payload(&[request.payload, identity], out)
}

/// Returns the framed reply as [`encode_probe_reply`] writes it, in a vector of its size.
pub(crate) fn probe_reply(
    probe: &EndpointProbeRequestRef<'_>,
    identity: &[u8],
) -> Result<Vec<u8>, FramingError> {
    let request = probe.frame();
    FrameRef::response_to(request, &[]).framed_with_payload(&[request.payload, identity])
}

/// Validates a frame as a probe.
///
/// # Errors
///
/// The first rule that the frame breaks: envelope version, kind, payload protocol, encoding, length of the nonce, size.
pub fn endpoint_probe_request_from_frame(
    frame: &Frame,
) -> Result<EndpointProbeRequest, EndpointProbeServerError> {
    let probe = EndpointProbeRequestRef::validate(frame.borrowed(), frame.encoded_len())?;
    let frame = probe.frame();
    let mut nonce = [0; PROBE_NONCE_BYTES];
    nonce.copy_from_slice(frame.payload);
    Ok(EndpointProbeRequest {
        request_id: frame.request_id,
        nonce,
        traceparent: frame.traceparent.to_owned(),
        tracestate: frame.tracestate.to_owned(),
    })
}

/// Returns the reply to a validated probe: the nonce and the identity.
#[must_use]
pub fn endpoint_probe_response_frame(request: &EndpointProbeRequest, daemon: &DaemonProcess) -> Frame {
    let mut payload = request.nonce.to_vec();
    payload.extend(daemon.encode());
    let request = FrameRef {
        traceparent: &request.traceparent,
        tracestate: &request.tracestate,
        ..FrameRef::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, request.request_id, &request.nonce)
    };
    Frame { payload, ..FrameRef::response_to(&request, &[]).to_frame() }
}

/// Reads one probe from `stream` and answers it, blocking as the stream does.
///
/// This is for a daemon whose endpoint serves only probes. Every other one uses
/// [`BackendEndpointMux`](crate::broker::backend_sdk::BackendEndpointMux).
///
/// # Errors
///
/// The stream fails, or the received bytes are not a probe. Nothing is answered then.
pub fn handle_endpoint_probe<S: Read + Write>(
    stream: &mut S,
    daemon: &DaemonProcess,
) -> Result<(), EndpointProbeServerError> {
    let body = read_frame_with_cap(stream, MAX_PROBE_REQUEST_BYTES)?;
    let frame = FrameRef::decode(&body).map_err(FramingError::Decode)?;
    let probe = EndpointProbeRequestRef::validate(frame, body.len())?;
    let reply = probe_reply(&probe, &daemon.encode())?;
    stream.write_all(&reply).and_then(|()| stream.flush()).map_err(FramingError::Io)?;
    Ok(())
}
