//! The verification of a daemon that no identity file describes, by its own claim.

use super::blocking::verify_image;
use super::checks::pidfd_policy;
use super::outcome::Unverified;
use super::policy::Policy;
use super::proof::{Proof, Step, StepKind, StepVerdict};
use super::steps::Verification;
use crate::broker::backend_lifecycle::disable::is_disabled;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::probe::{Exchange, ProbeError, Writer, exchange};
use crate::broker::protocol::Endpoint;
use crate::sys::ProcessDescription;
use crate::transport::LocalStream;
use std::time::Instant;

/// A process at an endpoint: as the kernel names it, as it claims to be, and the proof that both are one.
///
/// A proven claim says that the process is what it claims to be. It does not say that this is the daemon that the
/// caller looks for: there is no identity file to compare it with.
#[derive(Debug)]
#[non_exhaustive]
pub struct Claim {
    /// The process that listens; `None` if there is no connection, or the kernel names none.
    pub listener: Option<ListeningProcess>,
    /// The identity that it claims; `None` without a usable answer.
    pub identity: Option<DaemonProcess>,
    /// The proof of that identity, or the reason why there is none.
    pub proof: Result<Proof, Unverified>,
}

/// The process that listens at the other end of a connection, as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListeningProcess {
    /// The process.
    pub process: ProcessDescription,
    /// The effective user when it began to listen; `None` if the system does not tell.
    pub uid: Option<u32>,
}

/// Asks the process at `endpoint` once for its identity, and takes the steps of a [verification](super::verify) with the answer in
/// the place of a recorded identity.
///
/// The endpoint in the answer is not compared with `endpoint`, since a socket may have several names.
#[must_use]
pub fn verify_claim(endpoint: &Endpoint, policy: &Policy, deadline: Instant) -> Claim {
    let mut claim = Claim {
        listener: None,
        identity: None,
        proof: Err(Unverified { error: ProbeError::Disabled, steps: Vec::new() }),
    };
    claim.proof = ask(endpoint, policy, deadline, &mut claim.listener).and_then(|answer| {
        let claimed = claim.identity.insert(answer.identity);
        let mut verification = Verification::of_claim(claimed, &endpoint.path, policy);
        verify_answer(&mut verification, claimed, answer.stream, answer.writers, deadline)
            .map_err(|error| verification.unverified(error))
    });
    claim
}

/// The answer to a challenge, and the first two of the processes that wrote it: one alone may.
struct Answer {
    stream: LocalStream,
    identity: DaemonProcess,
    writers: Vec<Writer>,
}

fn ask(
    endpoint: &Endpoint,
    policy: &Policy,
    deadline: Instant,
    listener: &mut Option<ListeningProcess>,
) -> Result<Answer, Unverified> {
    if is_disabled() {
        return Err(Unverified { error: ProbeError::Disabled, steps: Vec::new() });
    }
    let stream = LocalStream::connect(&endpoint.path)
        .map_err(|error| refused(Vec::new(), StepKind::Connection, error.into()))?;
    *listener = stream
        .peer(pidfd_policy(policy))
        .ok()
        .map(|peer| ListeningProcess { process: ProcessDescription::of(&peer.process), uid: peer.uid });
    let mut writers = Vec::new();
    let challenge = Exchange::new(pidfd_policy(policy), |writer| {
        if writers.len() < 2 && !writers.first().is_some_and(|first| is_same(first, &writer)) {
            writers.push(writer);
        }
        Ok(())
    });
    match challenge.and_then(|challenge| exchange(&stream, challenge, || {}, deadline)) {
        Ok(identity) => Ok(Answer { stream, identity, writers }),
        Err(error) => {
            let evidence = format!("connected to {:?}", endpoint.path);
            let connected = Step { kind: StepKind::Connection, verdict: StepVerdict::Proven, evidence };
            Err(refused(vec![connected], StepKind::Answer, error))
        }
    }
}

/// Returns the error of a step after `steps`.
fn refused(mut steps: Vec<Step>, kind: StepKind, error: ProbeError) -> Unverified {
    steps.push(Step { kind, verdict: StepVerdict::Refused, evidence: error.to_string() });
    Unverified { error, steps }
}

fn is_same(one: &Writer, other: &Writer) -> bool {
    matches!((one, other), (Ok(one), Ok(other)) if one.process.is_same_process(&other.process).unwrap_or(false))
}

fn verify_answer(
    verification: &mut Verification<'_>,
    claimed: &DaemonProcess,
    stream: LocalStream,
    writers: Vec<Writer>,
    deadline: Instant,
) -> Result<Proof, ProbeError> {
    let prepared = verification.prepare_on(|| Ok(stream))?;
    let (process, pending) = verification.process(prepared)?;
    let connected = verification.connected(pending, &process)?;
    let mut writer_check = verification.writer_check(&process);
    for writer in writers {
        if writer_check.check(writer).is_err() {
            break;
        }
    }
    let answered = verification.answered(connected, writer_check, Ok(claimed.clone()), false)?;
    let inspected = verification.inspect_image(&process)();
    let image = verify_image(verification, &process, inspected, deadline)?;
    Ok(verification.finish(process, answered, image)?.proof)
}
