//! A challenge and its answer as a value: what is to be sent, what came, and who wrote it.

use super::{EndpointProbeChallenge, ProbeError};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::header::FrameHeader;
use crate::broker::protocol::{FramingError, try_decode_framed_ref};
use crate::sys::{Newest, Peer, PeerError};

/// The largest body of a probe response that is read, in bytes: a path of 4096 bytes twice, and room for the rest.
const MAX_PROBE_RESPONSE_BYTES: usize = 64 * 1024;

/// Who wrote a piece of an answer, as the kernel names it.
pub(in crate::broker::backend_lifecycle) type Writer = Result<Peer, PeerError>;

/// One exchange on one connection. A driver sends the request, then gives it what it reads, piece by piece.
pub(in crate::broker::backend_lifecycle) struct Exchange<J> {
    challenge: EndpointProbeChallenge,
    request: Vec<u8>,
    received: Vec<u8>,
    pub(super) newest: Newest,
    judge: J,
}

impl<J: FnMut(Writer) -> Result<(), ProbeError>> Exchange<J> {
    /// An exchange with a fresh challenge; `judge` sees who wrote each piece of the answer.
    pub(in crate::broker::backend_lifecycle) fn new(newest: Newest, judge: J) -> Result<Self, ProbeError> {
        let challenge = EndpointProbeChallenge::random().map_err(ProbeError::Stream)?;
        let mut request = Vec::new();
        challenge.request().encode_framed(&mut request)?;
        Ok(Self { challenge, request, received: Vec::new(), newest, judge })
    }

    /// All that is ever sent.
    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes a piece of the answer and who wrote it; no bytes are the end of the connection. Gives the identity once it is
    /// whole.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        writer: Option<Writer>,
    ) -> Result<Option<DaemonProcess>, ProbeError> {
        if bytes.is_empty() {
            return Err(match self.received.len() {
                0 => ProbeError::Closed,
                _ => FramingError::UnexpectedEof { context: "the probe response" }.into(),
            });
        }
        self.received.extend_from_slice(bytes);
        FrameHeader::parse(&self.received, MAX_PROBE_RESPONSE_BYTES)?;
        writer.map_or(Ok(()), &mut self.judge)?;
        let Some(response) = try_decode_framed_ref(&self.received)? else { return Ok(None) };
        match self.received.len() - response.consumed {
            0 => Ok(Some(self.challenge.identity(&response.frame)?)),
            bytes => Err(ProbeError::Unasked { bytes }),
        }
    }
}
