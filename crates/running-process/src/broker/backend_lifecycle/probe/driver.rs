//! The driver of a probe that blocks, with one deadline over everything.

use super::client::EndpointProbeChallenge;
use super::error::ProbeError;
use super::exchange::{Exchange, Writer};
use super::limits::PROBE_NONCE_BYTES;
use crate::broker::backend_lifecycle::disable::is_disabled;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::Endpoint;
use crate::sys::{self, PidfdPolicy};
use crate::transport::{LateReads, LocalStream};
use std::io;
use std::time::{Duration, Instant};

/// Number of bytes of an answer that are read at once: more than most answers have.
pub(super) const READ_BYTES: usize = 4096;

/// Longest time of a probe unless the caller sets another: far above what a loaded machine needs for two small
/// messages, far below what a person waits for.
pub const DEFAULT_PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// An endpoint that answered a probe, and the connection on which it did.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProbedEndpoint {
    /// The identity that the peer claims.
    pub identity: DaemonProcess,
    /// The connection, on which nothing else was sent.
    pub stream: LocalStream,
}

/// Asks the process that answers at `endpoint` for its identity, and proves nothing:
/// [`verify`](crate::broker::backend_lifecycle::verify::verify) does that.
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

/// Accepts any writer of the answer.
#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "what an exchange calls")]
pub(super) fn believe(_writer: Writer) -> Result<(), ProbeError> {
    Ok(())
}

/// Sends the challenge, calls `meanwhile`, and reads the answer.
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

/// Makes the kernel note writers. It notes them when they write, so this comes before the daemon can.
pub(super) fn name_writers(stream: &LocalStream, pidfds: PidfdPolicy) -> Result<(), ProbeError> {
    unless_unsupported(stream.name_writers(pidfds).map(drop))
}

fn unless_unsupported(named: io::Result<()>) -> Result<(), ProbeError> {
    match named {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        named => named.map_err(stream_error),
    }
}

impl EndpointProbeChallenge {
    /// Returns a challenge whose nonce and request id are randomness of the operating system.
    ///
    /// # Errors
    ///
    /// The operating system has no randomness.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_system_that_names_no_writers_goes_without_their_names() {
        assert!(unless_unsupported(Ok(())).is_ok());
        assert!(unless_unsupported(Err(io::ErrorKind::Unsupported.into())).is_ok());
        let denied = unless_unsupported(Err(io::ErrorKind::PermissionDenied.into()));
        assert!(matches!(denied, Err(ProbeError::Stream(_))));
    }
}
