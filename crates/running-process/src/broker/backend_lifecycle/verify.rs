//! Verification: the process at the other end of *this* connection is the recorded one, because the kernel says so.
//!
//! An identity is public, so an answer proves nothing by itself. [`verify`] asks the kernel instead: who listens there,
//! who wrote the answer, when that process started, what it runs, and whether it is alive after everything was read. All
//! under one deadline, and before a byte of the caller's request.

mod checks;
mod file;
mod policy;
mod proof;

pub use policy::{ImageCheck, InheritedListener, Policy, ProofLevel};
pub use proof::{ImageState, Listener, Proof, Step, StepKind, StepVerdict};

use super::identity::DaemonProcess;
use super::is_disabled;
use super::judge::compare;
use super::probe::{Absence, EndpointProbeChallenge, IdentityMismatch, PolicyRule, ProbeError, exchange};
use crate::broker::protocol::FramingError;
use crate::sys::ProcessHandle;
use crate::transport::LocalStream;
use checks::{
    boot, judge_writer, namespace, newest, recorded_process, running_image, still_alive, who_listens,
    writer_evidence,
};
use std::time::Instant;

/// A daemon that proved itself.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) proof: Proof,
    pub(crate) process: ProcessHandle,
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
    let mut verification = Verification { expected, policy, deadline, taken: Vec::new() };
    match verification.run() {
        Ok(verified) => Ok(verified),
        Err(error) => Err(Unverified { error, steps: verification.taken }),
    }
}

/// Verifies a further connection to a daemon whose process is already held.
///
/// Where the kernel hands out the listener itself, that is one question to it; otherwise the daemon is asked again.
pub(crate) fn verify_again(
    expected: &DaemonProcess,
    process: &ProcessHandle,
    policy: &Policy,
    deadline: Instant,
) -> Result<LocalStream, ProbeError> {
    let mut verification = Verification { expected, policy, deadline, taken: Vec::new() };
    let connected = verification.connect(process, Challenge::UnlessHeld)?;
    verification.alive(process)?;
    Ok(connected.stream)
}

/// When the peer is challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Challenge {
    Always,
    /// Not if the kernel has handed out the recorded process as the listener.
    UnlessHeld,
}

/// A connection whose other end is named.
struct Connected {
    stream: LocalStream,
    listener: Listener,
    level: ProofLevel,
}

/// What is asked for, and the steps that were taken.
struct Verification<'a> {
    expected: &'a DaemonProcess,
    policy: &'a Policy,
    deadline: Instant,
    taken: Vec<Step>,
}

impl Verification<'_> {
    fn run(&mut self) -> Result<Verified, ProbeError> {
        let Self { expected, policy, .. } = *self;
        if is_disabled() {
            return Err(ProbeError::Disabled);
        }
        if expected.origin.is_none() && !policy.without_origin {
            return Err(ProbeError::Policy(PolicyRule::WithoutOrigin));
        }
        self.step(StepKind::Boot, boot(expected))?;
        self.step(StepKind::Namespace, namespace(expected))?;
        let process = self.process()?;
        let connected = self.connect(&process, Challenge::Always)?;
        let Connected { stream, listener, level } = connected;
        let image = self.image(&process)?;
        self.alive(&process)?;
        let proof = Proof {
            steps: std::mem::take(&mut self.taken),
            level,
            listener,
            image,
            with_origin: expected.origin.is_some(),
        };
        Ok(Verified { proof, process, stream })
    }

    /// A connection to the recorded process, as well named as the policy asks for.
    fn connect(&mut self, process: &ProcessHandle, challenge: Challenge) -> Result<Connected, ProbeError> {
        let Self { expected, policy, .. } = *self;
        let path = &expected.ipc_endpoint.path;
        let stream =
            self.refuse(StepKind::Connection, LocalStream::connect(path).map_err(ProbeError::from))?;
        self.take(StepKind::Connection, StepVerdict::Proven, format!("connected to {path}"));
        let (listener, named) = self.listener(&stream, process)?;
        if challenge == Challenge::UnlessHeld && named == ProofLevel::Held {
            return Ok(Connected { stream, listener, level: named });
        }
        let written = self.answer(&stream, process, listener)?;
        let level = match listener {
            // Behind an inherited listener only the writer tells how well the kernel names the daemon.
            Listener::Inherited { .. } | Listener::Unknown => written,
            // A system that names no writers has said all that it can.
            Listener::Own if written == ProofLevel::Claimed => named,
            Listener::Own => named.min(written),
        };
        if level < policy.weakest {
            let rule = PolicyRule::Level { got: level, weakest: policy.weakest };
            return self.refuse(StepKind::Listener, Err(ProbeError::Policy(rule)));
        }
        Ok(Connected { stream, listener, level })
    }

    fn process(&mut self) -> Result<ProcessHandle, ProbeError> {
        let found = recorded_process(self.expected, self.policy);
        let (process, verdict, evidence) = self.refuse(StepKind::Process, found)?;
        self.take(StepKind::Process, verdict, evidence);
        Ok(process)
    }

    /// Who listens at the other end, and how well the kernel names it.
    fn listener(
        &mut self,
        stream: &LocalStream,
        process: &ProcessHandle,
    ) -> Result<(Listener, ProofLevel), ProbeError> {
        let found = who_listens(stream, self.expected, process, self.policy);
        let (listener, level, verdict, evidence) = self.refuse(StepKind::Listener, found)?;
        self.take(StepKind::Listener, verdict, evidence);
        Ok((listener, level))
    }

    /// Challenges the peer; the answer must be the recorded identity, and written by the recorded process.
    fn answer(
        &mut self,
        stream: &LocalStream,
        process: &ProcessHandle,
        listener: Listener,
    ) -> Result<ProofLevel, ProbeError> {
        let Self { expected, policy, deadline, .. } = *self;
        let mut level = ProofLevel::Held;
        let mut wrote = Ok(());
        let challenge = EndpointProbeChallenge::random().map_err(ProbeError::Stream);
        let answered = challenge.and_then(|challenge| {
            exchange(stream, &challenge, newest(policy), deadline, |writer| {
                wrote = judge_writer(writer, expected, process).map(|named| level = level.min(named));
                // The reason is given below, with the step that it belongs to.
                if wrote.is_ok() { Ok(()) } else { Err(ProbeError::Closed) }
            })
        });
        self.refuse(StepKind::Writer, wrote)?;
        let answered = answered.map_err(|error| match error {
            ProbeError::Closed | ProbeError::Framing(FramingError::UnexpectedEof { .. })
                if matches!(process.is_ending(), Ok(true)) =>
            {
                ProbeError::Gone { pid: expected.pid, how: Absence::DuringProbe }
            }
            error => error,
        });
        let identity = self.refuse(StepKind::Answer, answered)?;
        let checks = compare(expected, &identity);
        if checks.iter().any(|check| !check.agrees) {
            return self.refuse(StepKind::Answer, Err(IdentityMismatch { checks }.into()));
        }
        let evidence = "the recorded identity, with the challenge of this moment".to_owned();
        self.take(StepKind::Answer, StepVerdict::Claimed, evidence);

        let (verdict, evidence) =
            self.refuse(StepKind::Writer, writer_evidence(level, listener, expected))?;
        self.take(StepKind::Writer, verdict, evidence);
        Ok(level)
    }

    fn image(&mut self, process: &ProcessHandle) -> Result<ImageState, ProbeError> {
        let judged = running_image(self.expected, process, self.policy, self.deadline);
        let (state, verdict, evidence) = self.refuse(StepKind::Image, judged)?;
        self.take(StepKind::Image, verdict, evidence);
        Ok(state)
    }

    fn alive(&mut self, process: &ProcessHandle) -> Result<(), ProbeError> {
        let alive =
            still_alive(process).map(|()| (StepVerdict::Proven, "still alive after all this".to_owned()));
        self.step(StepKind::Alive, alive)
    }

    fn step(
        &mut self,
        kind: StepKind,
        result: Result<(StepVerdict, String), ProbeError>,
    ) -> Result<(), ProbeError> {
        let (verdict, evidence) = self.refuse(kind, result)?;
        self.take(kind, verdict, evidence);
        Ok(())
    }

    fn take(&mut self, kind: StepKind, verdict: StepVerdict, evidence: String) {
        self.taken.push(Step { kind, verdict, evidence });
    }

    /// Notes a step that failed.
    fn refuse<T>(&mut self, kind: StepKind, result: Result<T, ProbeError>) -> Result<T, ProbeError> {
        result.inspect_err(|error| self.take(kind, StepVerdict::Refused, error.to_string()))
    }
}
