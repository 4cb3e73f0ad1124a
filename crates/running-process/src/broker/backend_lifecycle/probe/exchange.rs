//! A challenge and its answer as a value without I/O.

use super::client::EndpointProbeChallenge;
use super::error::ProbeError;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::header::FrameHeader;
use crate::broker::protocol::{FramingError, try_decode_framed_ref};
use crate::sys::{Peer, PeerError, PidfdPolicy};

/// Largest body of a probe response that is read, in bytes: two paths of 4096 bytes, and room for the rest.
const MAX_PROBE_RESPONSE_BYTES: usize = 64 * 1024;

/// The writer of a piece of an answer, as the kernel names it.
pub(in crate::broker::backend_lifecycle) type Writer = Result<Peer, PeerError>;

/// One exchange on one connection. A driver sends the request, then passes in what it reads, piece by piece.
pub(in crate::broker::backend_lifecycle) struct Exchange<J> {
    challenge: EndpointProbeChallenge,
    request: Vec<u8>,
    received: Vec<u8>,
    pub(super) pidfds: PidfdPolicy,
    judge: J,
}

impl<J: FnMut(Writer) -> Result<(), ProbeError>> Exchange<J> {
    /// Returns an exchange with a fresh challenge; `judge` gets the writer of each piece of the answer.
    pub(in crate::broker::backend_lifecycle) fn new(
        pidfds: PidfdPolicy,
        judge: J,
    ) -> Result<Self, ProbeError> {
        let challenge = EndpointProbeChallenge::random().map_err(ProbeError::Stream)?;
        Ok(Self::of(challenge, pidfds, judge)?)
    }

    /// Returns the exchange of `challenge`.
    pub(super) fn of(
        challenge: EndpointProbeChallenge,
        pidfds: PidfdPolicy,
        judge: J,
    ) -> Result<Self, FramingError> {
        let mut request = Vec::new();
        challenge.request().encode_framed(&mut request)?;
        Ok(Self { challenge, request, received: Vec::new(), pidfds, judge })
    }

    /// Returns the request, all that is ever sent.
    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes a piece of the answer and its writer; no bytes mean the end of the connection. Returns the identity once
    /// it is complete.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::backend_lifecycle::probe::{
        endpoint_probe_request_from_frame, endpoint_probe_response_frame,
    };
    use crate::broker::protocol::{Endpoint, encode_framed, try_decode_framed};

    type Judge = fn(Writer) -> Result<(), ProbeError>;

    fn exchange() -> Exchange<Judge> {
        Exchange::new(PidfdPolicy::Use, (|_| Ok(())) as Judge).unwrap()
    }

    /// Returns an identity and the answer with it.
    fn answer<J: FnMut(Writer) -> Result<(), ProbeError>>(
        exchange: &Exchange<J>,
    ) -> (DaemonProcess, Vec<u8>) {
        let endpoint = Endpoint::unix_socket("test", "/anywhere").unwrap();
        let identity = DaemonProcess::current_process(endpoint, None).unwrap();
        let request = try_decode_framed(exchange.request()).unwrap().unwrap();
        assert_eq!(request.consumed, exchange.request().len());
        let request = endpoint_probe_request_from_frame(&request.frame).unwrap();
        let answer = encode_framed(&endpoint_probe_response_frame(&request, &identity)).unwrap();
        (identity, answer)
    }

    #[test]
    fn an_answer_is_understood_however_it_is_cut_and_only_as_a_whole() {
        let mut by_bytes = exchange();
        let (identity, answer) = answer(&by_bytes);
        let (last, most) = answer.split_last().unwrap();
        for byte in most {
            assert!(by_bytes.receive(&[*byte], None).unwrap().is_none());
        }
        assert_eq!(by_bytes.receive(&[*last], None).unwrap(), Some(identity));
    }

    #[test]
    fn the_end_before_and_within_an_answer_are_different() {
        let mut silent = exchange();
        assert!(matches!(silent.receive(&[], None), Err(ProbeError::Closed)));
        let (_, answer) = answer(&silent);
        assert!(silent.receive(&answer[..40], None).unwrap().is_none());
        let cut = silent.receive(&[], None);
        assert!(matches!(cut, Err(ProbeError::Framing(FramingError::UnexpectedEof { .. }))), "{cut:?}");
    }

    #[test]
    fn the_header_of_an_answer_above_64_kibibytes_is_refused() {
        let header = |length| FrameHeader::for_body(length, usize::MAX).unwrap().to_bytes();
        assert!(exchange().receive(&header(64 * 1024), None).unwrap().is_none());
        let above = exchange().receive(&header(64 * 1024 + 1), None);
        assert!(matches!(above, Err(ProbeError::Framing(FramingError::FrameTooLarge { .. }))), "{above:?}");
    }

    #[test]
    fn an_answer_to_another_exchange_and_one_with_more_behind_it_are_refused() {
        let mut one = exchange();
        let (_, mut answer) = answer(&one);
        assert!(matches!(exchange().receive(&answer, None), Err(ProbeError::Response(_))));
        answer.extend_from_slice(b"more");
        assert!(matches!(one.receive(&answer, None), Err(ProbeError::Unasked { bytes: 4 })));
    }

    #[test]
    fn a_refused_writer_ends_the_exchange_whatever_it_wrote() {
        let mut seen = 0;
        let mut exchange = Exchange::new(PidfdPolicy::Use, |_| {
            seen += 1;
            if seen < 3 { Ok(()) } else { Err(ProbeError::Closed) }
        })
        .unwrap();
        let (_, answer) = answer(&exchange);
        let unknown = || Some(Err(PeerError::Unsupported));
        assert!(exchange.receive(&answer[..10], unknown()).unwrap().is_none());
        assert!(exchange.receive(&answer[10..20], unknown()).unwrap().is_none());
        assert!(matches!(exchange.receive(&answer[20..], unknown()), Err(ProbeError::Closed)));
        assert_eq!(seen, 3);
    }
}
