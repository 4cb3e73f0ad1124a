//! The driver that blocks.

use super::file::FileId;
use super::image::{Image, Inspection, RunningImage};
use super::outcome::{Unverified, Verified};
use super::policy::Policy;
use super::proof::Proof;
use super::steps::{Answered, Connected, Verification, is_hang_up};
use crate::broker::backend_lifecycle::digest::digests_of;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::probe::{ProbeError, exchange};
use crate::sys::ProcessHandle;
use crate::transport::LocalStream;
use std::time::Instant;

/// Proves, before `deadline`, that the daemon `expected` answers at its endpoint.
///
/// [`BackendHandle`](crate::broker::backend_handle::BackendHandle) does the same and keeps the connection. This is for
/// a caller that wants to know how far a verification came. It says nothing of any later connection.
///
/// # Errors
///
/// [`Unverified`], with the reason and every step.
///
/// # Examples
///
/// ```no_run
/// use running_process::broker::backend_lifecycle::verify::{Policy, verify};
/// use running_process::read_daemon_identity_file;
/// use std::path::Path;
/// use std::time::{Duration, Instant};
///
/// let daemon = read_daemon_identity_file(Path::new("/run/user/1000/cache/daemon.json")).ok_or("no daemon runs")?;
/// let (steps, error) = match verify(&daemon, &Policy::default(), Instant::now() + Duration::from_secs(2)) {
///     Ok(proof) => (proof.steps, None),
///     Err(unverified) => (unverified.steps, Some(unverified.error)),
/// };
/// for step in steps {
///     println!("{}: {} ({})", step.kind, step.verdict, step.evidence);
/// }
/// if let Some(error) = error {
///     println!("refused: {error}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
/// If the kernel hands out the listener itself, that is one system call; otherwise the daemon is challenged again. The
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
    let image = verify_image(verification, &process, inspected.unwrap_or_else(inspect), deadline)?;
    verification.finish(process, answered, image)
}

/// Judges the image, which is digested first if it must be.
pub(super) fn verify_image(
    verification: &mut Verification<'_>,
    process: &ProcessHandle,
    inspected: Inspection,
    deadline: Instant,
) -> Result<RunningImage, ProbeError> {
    match verification.image(inspected)? {
        Image::Judged(image) => Ok(image),
        Image::Undigested(undigested) => {
            let read = digests_of(undigested.file(), undigested.wanted(), deadline);
            verification.digested(process, undigested, read)
        }
    }
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
