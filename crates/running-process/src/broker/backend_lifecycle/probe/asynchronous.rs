//! The driver of a probe on tokio, with one deadline over everything.

use super::driver::ProbedEndpoint;
use super::driver::{READ_BYTES, believe, name_writers, stream_error};
use super::error::ProbeError;
use super::exchange::{Exchange, Writer};
use crate::broker::backend_lifecycle::disable::is_disabled;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::Endpoint;
use crate::broker::runtime_clock::before;
use crate::sys::PidfdPolicy;
use crate::transport::{LateReads, LocalStream};
use std::time::Instant;

/// Probes as [`probe_endpoint`](super::probe_endpoint) does, on tokio.
///
/// # Errors
///
/// As [`probe_endpoint`](super::probe_endpoint).
///
/// # Panics
///
/// Outside a tokio runtime that drives I/O and timers.
pub async fn probe_endpoint_async(
    endpoint: &Endpoint,
    deadline: Instant,
) -> Result<ProbedEndpoint, ProbeError> {
    if is_disabled() {
        return Err(ProbeError::Disabled);
    }
    let stream = LocalStream::connect(&endpoint.path)?;
    let identity =
        exchange_async(&stream, Exchange::new(PidfdPolicy::Use, believe)?, || {}, deadline).await?;
    Ok(ProbedEndpoint { identity, stream })
}

/// Sends the challenge, calls `meanwhile`, and reads the answer.
pub(in crate::broker::backend_lifecycle) async fn exchange_async(
    stream: &LocalStream,
    mut exchange: Exchange<impl FnMut(Writer) -> Result<(), ProbeError>>,
    meanwhile: impl FnOnce(),
    deadline: Instant,
) -> Result<DaemonProcess, ProbeError> {
    name_writers(stream, exchange.pidfds)?;
    let carry = async {
        let borrow = stream.as_async().map_err(stream_error)?;
        borrow.write_all(exchange.request()).await.map_err(stream_error)?;
        meanwhile();
        // On the heap, so that the future, which callers nest, stays small.
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let (length, writer) =
                borrow.read_named(&mut bytes, exchange.pidfds).await.map_err(stream_error)?;
            if let Some(identity) = exchange.receive(&bytes[..length], writer)? {
                return Ok(identity);
            }
        }
    };
    let identity = match before(deadline, carry).await {
        Some(identity) => identity,
        None => arrived(stream, &mut exchange),
    }?;
    stream.forget_writers().map_err(stream_error)?;
    Ok(identity)
}

/// Reads the rest of the answer, if it had arrived when the deadline passed.
fn arrived(
    stream: &LocalStream,
    exchange: &mut Exchange<impl FnMut(Writer) -> Result<(), ProbeError>>,
) -> Result<DaemonProcess, ProbeError> {
    let mut bytes = vec![0; READ_BYTES];
    let mut late = LateReads::default();
    loop {
        let read = late.read(|| stream.read_named_arrived(&mut bytes, exchange.pidfds));
        let (length, writer) = read.ok_or(ProbeError::TimedOut)?.map_err(stream_error)?;
        if let Some(identity) = exchange.receive(&bytes[..length], writer)? {
            return Ok(identity);
        }
    }
}
