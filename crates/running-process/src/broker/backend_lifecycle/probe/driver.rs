//! The probe over a connection, blocking, with one deadline over everything.

use super::{EndpointProbeChallenge, EndpointProbeError, PROBE_NONCE_BYTES};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::judge::Check;
use crate::broker::backend_lifecycle::{DISABLE_VARIABLE, is_disabled};
use crate::broker::protocol::header::FrameHeader;
use crate::broker::protocol::{Endpoint, FramingError, try_decode_framed_ref};
use crate::transport::{ConnectError, LocalStream};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// How long a probe takes at most unless the caller says otherwise: far above what a loaded machine needs for two small
/// messages, far below what a person waits for.
pub const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest body of a probe response that is read, in bytes: a path of 4096 bytes twice, and room for the rest.
const MAX_PROBE_RESPONSE_BYTES: usize = 64 * 1024;

/// Why a daemon could not be probed, or is not the one that was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The environment asks for the legacy path.
    #[error("probes are switched off by {DISABLE_VARIABLE}=1")]
    Disabled,
    /// The record is of a daemon at another endpoint than the one to probe.
    #[error("asked to probe {asked}, the record is of a daemon at {recorded}")]
    EndpointMismatch {
        /// The path or pipe name that was asked for.
        asked: String,
        /// The path or pipe name in the record.
        recorded: String,
    },
    /// No process has the recorded pid.
    #[error("process {pid} is gone")]
    Gone {
        /// The recorded pid.
        pid: u32,
    },
    /// The operating system does not let this process look at the daemon's; it may well be alive.
    #[error("process {pid} cannot be inspected")]
    NotInspectable {
        /// The recorded pid.
        pid: u32,
        /// What the operating system said.
        source: io::Error,
    },
    /// The endpoint could not be connected to.
    #[error("no connection to the daemon")]
    Connect(#[from] ConnectError),
    /// Nothing usable came before the deadline.
    #[error("the daemon did not answer the probe in time")]
    TimedOut,
    /// The peer ended the connection instead of answering.
    #[error("the daemon closed the connection instead of answering the probe")]
    Closed,
    /// The connection failed.
    #[error("the connection failed during the probe")]
    Stream(#[source] io::Error),
    /// What came is not a frame.
    #[error("the answer to the probe is not a frame")]
    Framing(#[from] FramingError),
    /// The frame is not an answer to the challenge.
    #[error("the answer to the probe cannot be used")]
    Response(#[from] EndpointProbeError),
    /// More than the answer came: the connection is not the caller's to go on with.
    #[error("{bytes} bytes came behind the answer to the probe, which nobody asked for")]
    Unasked {
        /// How many.
        bytes: usize,
    },
    /// Another process answered.
    #[error(transparent)]
    Mismatch(#[from] IdentityMismatch),
}

/// The identity that answered is not the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityMismatch {
    /// Every comparison, those that agree included.
    pub checks: Vec<Check>,
}

impl fmt::Display for IdentityMismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("another process answered")?;
        let mut separator = ": ";
        for check in self.checks.iter().filter(|check| !check.agrees) {
            write!(formatter, "{separator}{check}")?;
            separator = "; ";
        }
        Ok(())
    }
}

impl std::error::Error for IdentityMismatch {}

/// An endpoint that answered a probe, and the connection on which it did.
#[derive(Debug)]
pub struct ProbedEndpoint {
    /// What the process at the other end says it is.
    pub identity: DaemonProcess,
    /// The connection, on which nothing else has been said.
    pub stream: LocalStream,
}

/// Asks whoever answers at `endpoint` who it is. Whether that is the expected daemon is for
/// [`compare`](crate::broker::backend_lifecycle::judge::compare) to say.
///
/// # Errors
///
/// There is no connection, or no usable answer before `deadline`.
pub fn probe_endpoint(endpoint: &Endpoint, deadline: Instant) -> Result<ProbedEndpoint, ProbeError> {
    if is_disabled() {
        return Err(ProbeError::Disabled);
    }
    let stream = LocalStream::connect(&endpoint.path)?;
    let identity = exchange(&stream, deadline)?;
    Ok(ProbedEndpoint { identity, stream })
}

fn exchange(stream: &LocalStream, deadline: Instant) -> Result<DaemonProcess, ProbeError> {
    let challenge = EndpointProbeChallenge::random().map_err(ProbeError::Stream)?;
    let mut request = Vec::new();
    challenge.request().encode_framed(&mut request)?;
    stream.write_all_before(&request, Some(deadline)).map_err(stream_error)?;

    let mut received = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match stream.read_before(&mut bytes, Some(deadline)).map_err(stream_error)? {
            0 if received.is_empty() => return Err(ProbeError::Closed),
            0 => return Err(FramingError::UnexpectedEof { context: "the probe response" }.into()),
            length => received.extend_from_slice(&bytes[..length]),
        }
        FrameHeader::parse(&received, MAX_PROBE_RESPONSE_BYTES)?;
        if let Some(response) = try_decode_framed_ref(&received)? {
            return match received.len() - response.consumed {
                0 => Ok(challenge.identity(&response.frame)?),
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
