//! Verification: the process at the other end of *this* connection is the recorded one, because the kernel says so.
//!
//! An identity is public, so an answer proves nothing by itself. [`verify`] asks the kernel instead: who listens there,
//! who wrote the answer, when that process started, what it runs, and whether it is alive after everything was read. All
//! under one deadline, and before a byte of the caller's request.

#[cfg(feature = "tokio")]
mod asynchronous;
mod checks;
mod file;
mod policy;
mod proof;
mod steps;

#[cfg(feature = "tokio")]
pub use asynchronous::verify_async;
#[cfg(feature = "tokio")]
pub(crate) use asynchronous::{verify_again_async, verify_connection_async};
pub(in crate::broker) use checks::still_runs;
pub(crate) use file::FileId;
pub use policy::{ImageCheck, InheritedListener, Policy, ProofLevel};
pub use proof::{ImageState, Listener, Proof, Step, StepKind, StepVerdict};

use super::digest::digests_of;
use super::identity::DaemonProcess;
use super::probe::{ProbeError, exchange};
use crate::sys::ProcessHandle;
use crate::transport::LocalStream;
use checks::Image;
use std::time::Instant;
use steps::{Answered, Connected, Verification, is_hang_up};

/// A daemon that proved itself.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) proof: Proof,
    pub(crate) process: ProcessHandle,
    /// The file of the image, where it was seen and the system leads to the one that runs.
    pub(crate) image: Option<FileId>,
    pub(crate) stream: LocalStream,
}

/// A daemon that did not, and how far it came.
#[derive(Debug)]
pub struct Unverified {
    /// Why there is no proof.
    pub error: ProbeError,
    /// The steps that were taken; the last one is the refused one, unless the error came before the first.
    pub steps: Vec<Step>,
}

/// Proves that the daemon `expected` answers at its endpoint, for as long as `deadline` allows.
///
/// [`BackendHandle`](crate::broker::backend_handle::BackendHandle) does the same and keeps the connection; this is for
/// who wants to know how far a verification came, and tells nothing of any later connection.
///
/// # Errors
///
/// [`Unverified`], with the reason and every step.
pub fn verify(expected: &DaemonProcess, policy: &Policy, deadline: Instant) -> Result<Proof, Unverified> {
    verify_connection(expected, policy, deadline).map(|verified| verified.proof)
}

pub(crate) fn verify_connection(
    expected: &DaemonProcess,
    policy: &Policy,
    deadline: Instant,
) -> Result<Verified, Unverified> {
    let mut verification = Verification::new(expected, policy);
    run(&mut verification, deadline).map_err(|error| verification.unverified(error))
}

/// Verifies a further connection to a daemon whose process is already held.
///
/// Where the kernel hands out the listener itself, that is one question to it; otherwise the daemon is asked again. The
/// process must still run `image`, if that is known.
pub(crate) fn verify_again(
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
        Err(connected) => ask(&mut verification, process, connected, || {}, deadline)?.stream,
    };
    verification.alive(process, image)?;
    Ok(stream)
}

fn run(verification: &mut Verification<'_>, deadline: Instant) -> Result<Verified, ProbeError> {
    let prepared = verification.prepare()?;
    let (process, pending) = verification.process(prepared)?;
    let connected = verification.connected(pending, &process)?;
    let inspect = verification.inspect_image(&process);
    let mut inspected = None;
    let answered = ask(verification, &process, connected, || inspected = Some(inspect()), deadline)?;
    let image = match verification.image(inspected.unwrap_or_else(inspect))? {
        Image::Judged(image) => image,
        Image::Undigested(undigested) => {
            let read = digests_of(undigested.file(), deadline);
            verification.digested(&process, undigested, read)?
        }
    };
    verification.finish(process, answered, image)
}

fn ask(
    verification: &mut Verification<'_>,
    process: &ProcessHandle,
    connected: Connected,
    meanwhile: impl FnOnce(),
    deadline: Instant,
) -> Result<Answered, ProbeError> {
    let mut writer_check = verification.writer_check(process);
    let challenge = verification.challenge(&mut writer_check)?;
    let answer = exchange(&connected.stream, challenge, meanwhile, deadline);
    let ended = is_hang_up(&answer) && matches!(process.is_ending(), Ok(true));
    verification.answered(connected, writer_check, answer, ended)
}
