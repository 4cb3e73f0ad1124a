//! The driver on tokio, for the same steps.

use super::file::FileId;
use super::image::Image;
use super::outcome::{Unverified, Verified};
use super::policy::Policy;
use super::proof::Proof;
use super::steps::{Answered, Connected, Verification, is_hang_up};
use crate::broker::backend_lifecycle::digest::digests_of_async;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::probe::{ProbeError, exchange_async};
use crate::sys::ProcessHandle;
use crate::transport::LocalStream;
use std::time::Instant;

/// Verifies as [`verify`](super::verify) does, on tokio. An executable whose digests are not remembered is read on a
/// thread of its own.
///
/// # Errors
///
/// As [`verify`](super::verify).
///
/// # Panics
///
/// Outside a tokio runtime that drives I/O and timers.
pub async fn verify_async(
    expected: &DaemonProcess,
    policy: &Policy,
    deadline: Instant,
) -> Result<Proof, Unverified> {
    verify_connection_async(expected, policy, deadline).await.map(|verified| verified.proof)
}

pub(crate) async fn verify_connection_async(
    expected: &DaemonProcess,
    policy: &Policy,
    deadline: Instant,
) -> Result<Verified, Unverified> {
    let mut verification = Verification::new(expected, policy);
    run(&mut verification, deadline).await.map_err(|error| verification.unverified(error))
}

/// Verifies as [`verify_again`](super::verify_again) does, on tokio.
pub(crate) async fn verify_again_async(
    expected: &DaemonProcess,
    process: &ProcessHandle,
    image: Option<FileId>,
    policy: &Policy,
    deadline: Instant,
) -> Result<LocalStream, ProbeError> {
    let mut verification = Verification::new(expected, policy);
    let pending = verification.start_connect();
    let stream = match verification.connected(pending, process)?.held() {
        Ok(stream) => stream,
        Err(connected) => ask(&mut verification, process, connected, || {}, deadline).await?.stream,
    };
    verification.alive(process, image)?;
    Ok(stream)
}

async fn run(verification: &mut Verification<'_>, deadline: Instant) -> Result<Verified, ProbeError> {
    let prepared = verification.prepare()?;
    let (process, pending) = verification.process(prepared)?;
    let connected = verification.connected(pending, &process)?;
    let inspect = verification.inspect_image(&process);
    let mut inspected = None;
    let answered = ask(verification, &process, connected, || inspected = Some(inspect()), deadline).await?;
    let image = match verification.image(inspected.unwrap_or_else(inspect))? {
        Image::Judged(image) => image,
        Image::Undigested(undigested) => {
            let read = digests_of_async(undigested.file(), undigested.wanted(), deadline).await;
            verification.digested(&process, undigested, read)?
        }
    };
    verification.finish(process, answered, image)
}

async fn ask(
    verification: &mut Verification<'_>,
    process: &ProcessHandle,
    connected: Connected,
    meanwhile: impl FnOnce(),
    deadline: Instant,
) -> Result<Answered, ProbeError> {
    let mut writer_check = verification.writer_check(process);
    let challenge = verification.challenge(&mut writer_check)?;
    let answer = exchange_async(&connected.stream, challenge, meanwhile, deadline).await;
    let ended = is_hang_up(&answer) && matches!(process.is_ending(), Ok(true));
    verification.answered(connected, writer_check, answer, ended)
}
