//! The probe over a connection, blocking, with one deadline over everything.

use super::client::EndpointProbeChallenge;
use super::error::ProbeError;
use super::exchange::{Exchange, Writer};
use super::limits::PROBE_NONCE_BYTES;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::is_disabled;
use crate::broker::protocol::Endpoint;
use crate::sys::{self, PidfdPolicy};
use crate::transport::{LateReads, LocalStream};
use std::io;
use std::time::{Duration, Instant};

/// How much of an answer is read at once, in bytes: more than most have.
pub(super) const READ_BYTES: usize = 4096;

/// How long a probe takes at most unless the caller says otherwise: far above what a loaded machine needs for two small
/// messages, far below what a person waits for.
pub const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// An endpoint that answered a probe, and the connection on which it did.
#[derive(Debug)]
#[non_exhaustive]
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
    let identity = exchange(&stream, Exchange::new(PidfdPolicy::Use, believe)?, || {}, deadline)?;
    Ok(ProbedEndpoint { identity, stream })
}

/// For who does not ask who wrote the answer.
#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "what an exchange calls")]
pub(super) fn believe(_writer: Writer) -> Result<(), ProbeError> {
    Ok(())
}

/// Sends the challenge, does what can be done `meanwhile`, and reads the answer.
pub(in crate::broker::backend_lifecycle) fn exchange(
    stream: &LocalStream,
    mut exchange: Exchange<impl FnMut(Writer) -> Result<(), ProbeError>>,
    meanwhile: impl FnOnce(),
    deadline: Instant,
) -> Result<DaemonProcess, ProbeError> {
    name_writers(stream, exchange.pidfds)?;
    stream.write_all_deadline(exchange.request(), Some(deadline)).map_err(stream_error)?;
    meanwhile();
    let mut bytes = [0; READ_BYTES];
    let mut late = LateReads::default();
    loop {
        let read = stream.read_named_deadline(&mut bytes, Some(deadline), exchange.pidfds);
        let read = late.or(read, || stream.read_named_arrived(&mut bytes, exchange.pidfds));
        let (length, writer) = read.map_err(stream_error)?;
        if let Some(identity) = exchange.receive(&bytes[..length], writer)? {
            stream.forget_writers().map_err(stream_error)?;
            return Ok(identity);
        }
    }
}

/// Before the daemon can write: the kernel names the writer when it writes.
pub(super) fn name_writers(stream: &LocalStream, pidfds: PidfdPolicy) -> Result<(), ProbeError> {
    match stream.name_writers(pidfds) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        named => named.map(drop).map_err(stream_error),
    }
}

impl EndpointProbeChallenge {
    /// A challenge whose nonce and request id are the operating system's randomness.
    ///
    /// # Errors
    ///
    /// The operating system has none to give.
    pub fn random() -> io::Result<Self> {
        let random: [u8; PROBE_NONCE_BYTES + size_of::<u64>()] = sys::random()?;
        let (mut nonce, mut request_id) = ([0; PROBE_NONCE_BYTES], [0; size_of::<u64>()]);
        nonce.copy_from_slice(&random[..PROBE_NONCE_BYTES]);
        request_id.copy_from_slice(&random[PROBE_NONCE_BYTES..]);
        Ok(Self::new(nonce, u64::from_ne_bytes(request_id)))
    }
}

pub(super) fn stream_error(error: io::Error) -> ProbeError {
    match error.kind() {
        io::ErrorKind::TimedOut => ProbeError::TimedOut,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ProbeError::Closed,
        _ => ProbeError::Stream(error),
    }
}
