//! The probe over a connection, blocking, with one deadline over everything.

use super::{EndpointProbeChallenge, PROBE_NONCE_BYTES, ProbeError};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::protocol::header::FrameHeader;
use crate::broker::protocol::{Endpoint, FramingError, try_decode_framed_ref};
use crate::sys::{Newest, Peer, PeerError};
use crate::transport::LocalStream;
use std::io;
use std::time::{Duration, Instant};

/// How long a probe takes at most unless the caller says otherwise: far above what a loaded machine needs for two small
/// messages, far below what a person waits for.
pub const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest body of a probe response that is read, in bytes: a path of 4096 bytes twice, and room for the rest.
const MAX_PROBE_RESPONSE_BYTES: usize = 64 * 1024;

/// An endpoint that answered a probe, and the connection on which it did.
#[derive(Debug)]
pub struct ProbedEndpoint {
    /// What the process at the other end says it is.
    pub identity: DaemonProcess,
    /// The connection, on which nothing else has been said.
    pub stream: LocalStream,
}

/// Asks whoever answers at `endpoint` who it is, and believes it: whether that is a daemon that can be trusted is for
/// [`verify`](crate::broker::backend_lifecycle::verify::verify) to say.
///
/// # Errors
///
/// There is no connection, or no usable answer before `deadline`.
pub fn probe_endpoint(endpoint: &Endpoint, deadline: Instant) -> Result<ProbedEndpoint, ProbeError> {
    if is_disabled() {
        return Err(ProbeError::Disabled);
    }
    let stream = LocalStream::connect(&endpoint.path)?;
    let challenge = EndpointProbeChallenge::random().map_err(ProbeError::Stream)?;
    let identity = exchange(&stream, &challenge, Newest::Use, deadline, |_| Ok(()))?;
    Ok(ProbedEndpoint { identity, stream })
}

/// Who wrote a piece of an answer, as the kernel names it.
pub(in crate::broker::backend_lifecycle) type Writer = Result<Peer, PeerError>;

/// Sends the challenge and reads the answer; `judge` sees who wrote each piece of it.
pub(in crate::broker::backend_lifecycle) fn exchange(
    stream: &LocalStream,
    challenge: &EndpointProbeChallenge,
    newest: Newest,
    deadline: Instant,
    mut judge: impl FnMut(Writer) -> Result<(), ProbeError>,
) -> Result<DaemonProcess, ProbeError> {
    let mut request = Vec::new();
    challenge.request().encode_framed(&mut request)?;
    // Before the daemon can write: the kernel names the writer when it writes.
    match stream.name_writers(newest) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
        named => drop(named.map_err(stream_error)?),
    }
    stream.write_all_before(&request, Some(deadline)).map_err(stream_error)?;

    let mut received = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let (length, writer) =
            stream.read_named_before(&mut bytes, Some(deadline), newest).map_err(stream_error)?;
        match length {
            0 if received.is_empty() => return Err(ProbeError::Closed),
            0 => return Err(FramingError::UnexpectedEof { context: "the probe response" }.into()),
            length => received.extend_from_slice(&bytes[..length]),
        }
        FrameHeader::parse(&received, MAX_PROBE_RESPONSE_BYTES)?;
        writer.map_or(Ok(()), &mut judge)?;
        if let Some(response) = try_decode_framed_ref(&received)? {
            return match received.len() - response.consumed {
                0 => {
                    stream.forget_writers().map_err(stream_error)?;
                    Ok(challenge.identity(&response.frame)?)
                }
                bytes => Err(ProbeError::Unasked { bytes }),
            };
        }
    }
}

impl EndpointProbeChallenge {
    /// A challenge whose nonce and request id are the operating system's randomness.
    ///
    /// # Errors
    ///
    /// The operating system has none to give.
    pub fn random() -> io::Result<Self> {
        let mut nonce = [0; PROBE_NONCE_BYTES];
        let mut request_id = [0; 8];
        getrandom::fill(&mut nonce)
            .and_then(|()| getrandom::fill(&mut request_id))
            .map_err(io::Error::other)?;
        Ok(Self::new(nonce, u64::from_le_bytes(request_id)))
    }
}

fn stream_error(error: io::Error) -> ProbeError {
    match error.kind() {
        io::ErrorKind::TimedOut => ProbeError::TimedOut,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ProbeError::Closed,
        _ => ProbeError::Stream(error),
    }
}
