//! The steps of a verification. Each takes the result of an earlier one, so their order is the same for every driver.
//! Between the steps a driver carries the exchange and digests an image.

use super::checks::{
    Verdict, absence_reason, boot, identify_listener, judge_writer, live_process, namespace, pidfd_policy,
    start_time, still_alive, writer_evidence,
};
use super::file::FileId;
use super::image::{
    Image, Inspected, Inspection, RunningImage, Undigested, judge_read, running_image, still_runs,
};
use super::outcome::{Unverified, Verified};
use super::policy::{Policy, ProofLevel};
use super::proof::{Listener, Proof, Step, StepKind, StepVerdict};
use crate::broker::backend_lifecycle::digest::{DigestError, Digested};
use crate::broker::backend_lifecycle::disable::is_disabled;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::judge::compare;
use crate::broker::backend_lifecycle::probe::{
    Absence, Exchange, IdentityMismatch, PolicyRule, ProbeError, Writer,
};
use crate::broker::protocol::FramingError;
use crate::sys::ProcessHandle;
use crate::transport::{ConnectError, LocalStream};

/// The expected identity, the policy, and the steps that were taken.
pub(super) struct Verification<'a> {
    expected: &'a DaemonProcess,
    policy: &'a Policy,
    /// The endpoint to connect to.
    path: &'a str,
    /// The evidence of an answer that agrees.
    answer: &'static str,
    taken: Vec<Step>,
}

/// A connection that was made ahead of its step, so that the daemon can accept it meanwhile. Nothing is sent on it.
pub(super) struct PendingConnect(Result<LocalStream, ConnectError>);

/// The result of preparing: if a process of the recorded pid is alive, a handle to it and a connection.
pub(super) struct Prepared(Result<(ProcessHandle, PendingConnect), ProbeError>);

/// A connection whose listener is named.
pub(super) struct Connected {
    pub(super) stream: LocalStream,
    listener: Listener,
    level: ProofLevel,
}

impl Connected {
    /// Returns the connection if the kernel has handed out the recorded process as the listener: no challenge can prove
    /// more.
    pub(super) fn held(self) -> Result<LocalStream, Self> {
        if self.level == ProofLevel::Held { Ok(self.stream) } else { Err(self) }
    }
}

/// A connection on which the recorded process has answered a challenge.
pub(super) struct Answered {
    pub(super) stream: LocalStream,
    listener: Listener,
    level: ProofLevel,
}

/// The check of the writers of the answer.
pub(super) struct WriterCheck<'a> {
    expected: &'a DaemonProcess,
    process: &'a ProcessHandle,
    level: ProofLevel,
    wrote: Result<(), ProbeError>,
}

impl WriterCheck<'_> {
    pub(super) fn check(&mut self, writer: Writer) -> Result<(), ProbeError> {
        self.wrote =
            judge_writer(writer, self.expected, self.process).map(|named| self.level = self.level.min(named));
        // The reason is returned later, with its step.
        if self.wrote.is_ok() { Ok(()) } else { Err(ProbeError::Closed) }
    }
}

/// Returns whether an exchange ended as it does when the process ends.
pub(super) fn is_hang_up(answer: &Result<DaemonProcess, ProbeError>) -> bool {
    matches!(answer, Err(ProbeError::Closed | ProbeError::Framing(FramingError::UnexpectedEof { .. })))
}

/// Returns the level of a proof, from those of the daemon as the process that listens and as the one that wrote the answer.
fn level(listener: Listener, named: ProofLevel, written: ProofLevel) -> ProofLevel {
    match listener {
        // Behind an inherited listener only the writer tells it.
        Listener::Inherited { .. } | Listener::Unknown => written,
        // A system that names no writers cannot tell more.
        Listener::Own if written == ProofLevel::Claimed => named,
        Listener::Own => named.min(written),
    }
}

impl<'a> Verification<'a> {
    pub(super) fn new(expected: &'a DaemonProcess, policy: &'a Policy) -> Self {
        let answer = "the recorded identity, with the challenge of this moment";
        Self { expected, policy, path: &expected.ipc_endpoint.path, answer, taken: Vec::new() }
    }

    /// Returns the verification of an identity that the process at `path` claims.
    pub(super) fn of_claim(claimed: &'a DaemonProcess, path: &'a str, policy: &'a Policy) -> Self {
        let answer = "its own claim, with the challenge of this moment";
        Self { expected: claimed, policy, path, answer, taken: Vec::new() }
    }

    pub(super) fn prepare(&self) -> Result<Prepared, ProbeError> {
        self.prepare_on(|| LocalStream::connect(self.path))
    }

    /// Prepares with the connection that `connect` returns.
    pub(super) fn prepare_on(
        &self,
        connect: impl FnOnce() -> Result<LocalStream, ConnectError>,
    ) -> Result<Prepared, ProbeError> {
        if is_disabled() {
            return Err(ProbeError::Disabled);
        }
        if self.expected.origin.is_none() && !self.policy.without_origin {
            return Err(ProbeError::Policy(PolicyRule::WithoutOrigin));
        }
        let Self { expected, policy, .. } = *self;
        match live_process(expected) {
            Ok(process) => Ok(Prepared(Ok((process, PendingConnect(connect()))))),
            Err(error) => Ok(Prepared(Err(absence_reason(error, expected, policy, connect)))),
        }
    }

    pub(super) fn start_connect(&self) -> PendingConnect {
        PendingConnect(LocalStream::connect(self.path))
    }

    /// Checks boot, pid namespace and start time, and returns the recorded process, which is held from here on.
    pub(super) fn process(
        &mut self,
        prepared: Prepared,
    ) -> Result<(ProcessHandle, PendingConnect), ProbeError> {
        let Self { expected, policy, .. } = *self;
        self.step(StepKind::Boot, boot(expected))?;
        self.step(StepKind::Namespace, namespace(expected))?;
        let (process, pending) = self.refuse(StepKind::Process, prepared.0)?;
        self.step(StepKind::Process, start_time(expected, &process, policy))?;
        Ok((process, pending))
    }

    /// Returns the connection, after naming the process that listens at its other end.
    pub(super) fn connected(
        &mut self,
        pending: PendingConnect,
        process: &ProcessHandle,
    ) -> Result<Connected, ProbeError> {
        let path = self.path;
        let stream = self.refuse(StepKind::Connection, pending.0.map_err(ProbeError::from))?;
        self.take(StepKind::Connection, StepVerdict::Proven, format!("connected to {path:?}"));
        let found = identify_listener(&stream, self.expected, process, self.policy);
        let (listener, level, verdict, evidence) = self.refuse(StepKind::Listener, found)?;
        self.take(StepKind::Listener, verdict, evidence);
        Ok(Connected { stream, listener, level })
    }

    /// Returns a check that `process` alone writes the answer.
    pub(super) fn writer_check<'w>(&self, process: &'w ProcessHandle) -> WriterCheck<'w>
    where
        'a: 'w,
    {
        WriterCheck { expected: self.expected, process, level: ProofLevel::Held, wrote: Ok(()) }
    }

    /// Returns a fresh challenge, whose answer goes through `writer_check`.
    pub(super) fn challenge<'w, 'p>(
        &mut self,
        writer_check: &'w mut WriterCheck<'p>,
    ) -> Result<Exchange<impl FnMut(Writer) -> Result<(), ProbeError> + use<'w, 'p>>, ProbeError> {
        let exchange = Exchange::new(pidfd_policy(self.policy), |writer| writer_check.check(writer));
        self.refuse(StepKind::Answer, exchange)
    }

    /// Judges the answer. It must be the recorded identity, written by the recorded process, and both must be named as
    /// well as the policy asks for. `ended` means that the process was found to have ended.
    pub(super) fn answered(
        &mut self,
        connected: Connected,
        writer_check: WriterCheck<'_>,
        answer: Result<DaemonProcess, ProbeError>,
        ended: bool,
    ) -> Result<Answered, ProbeError> {
        let Self { expected, policy, .. } = *self;
        let Connected { stream, listener, level: named } = connected;
        let WriterCheck { level: written, wrote, .. } = writer_check;
        self.refuse(StepKind::Writer, wrote)?;
        let answer = match answer {
            Err(_) if ended => Err(ProbeError::Gone { pid: expected.pid, how: Absence::DuringProbe }),
            answer => answer,
        };
        let identity = self.refuse(StepKind::Answer, answer)?;
        let checks = compare(expected, &identity);
        if checks.iter().any(|check| !check.agrees) {
            return self.refuse(StepKind::Answer, Err(IdentityMismatch { checks }.into()));
        }
        self.take(StepKind::Answer, StepVerdict::Claimed, self.answer.to_owned());
        self.step(StepKind::Writer, writer_evidence(written, listener, expected))?;

        let level = level(listener, named, written);
        if level < policy.weakest {
            let rule = PolicyRule::Level { got: level, weakest: policy.weakest };
            return self.refuse(StepKind::Listener, Err(ProbeError::Policy(rule)));
        }
        Ok(Answered { stream, listener, level })
    }

    /// Returns a function that inspects the running image, so that this can be done ahead of its step.
    pub(super) fn inspect_image<'p>(
        &self,
        process: &'p ProcessHandle,
    ) -> impl Fn() -> Inspection + use<'a, 'p> {
        let Self { expected, policy, .. } = *self;
        move || running_image(expected, process, policy)
    }

    /// Returns the running image, judged or still to be digested.
    pub(super) fn image(&mut self, inspected: Inspection) -> Result<Image<RunningImage>, ProbeError> {
        match self.refuse(StepKind::Image, inspected)? {
            Image::Judged(inspected) => Ok(Image::Judged(self.take_image(inspected))),
            Image::Undigested(undigested) => Ok(Image::Undigested(undigested)),
        }
    }

    /// Judges an image by its digests.
    pub(super) fn digested(
        &mut self,
        process: &ProcessHandle,
        image: Undigested,
        read: Result<Digested, DigestError>,
    ) -> Result<RunningImage, ProbeError> {
        let judged = judge_read(self.expected, process, image, read);
        let inspected = self.refuse(StepKind::Image, judged)?;
        Ok(self.take_image(inspected))
    }

    /// Checks that the process is alive and runs the same image, after everything else.
    pub(super) fn alive(&mut self, process: &ProcessHandle, image: Option<FileId>) -> Result<(), ProbeError> {
        self.refuse(StepKind::Image, still_runs(process, image))?;
        let alive =
            still_alive(process).map(|()| (StepVerdict::Proven, "still alive after all this".to_owned()));
        self.step(StepKind::Alive, alive)
    }

    /// Takes the last step, and returns the proof.
    pub(super) fn finish(
        &mut self,
        process: ProcessHandle,
        answered: Answered,
        image: RunningImage,
    ) -> Result<Verified, ProbeError> {
        self.alive(&process, image.file)?;
        let Answered { stream, listener, level } = answered;
        let steps = std::mem::take(&mut self.taken);
        let with_origin = self.expected.origin.is_some();
        let proof = Proof { steps, level, listener, image: image.state, with_origin };
        Ok(Verified { proof, process, image: image.file, stream })
    }

    /// Returns `error` with the steps that were taken before it.
    pub(super) fn unverified(self, error: ProbeError) -> Unverified {
        Unverified { error, steps: self.taken }
    }

    fn take_image(&mut self, Inspected { image, verdict, evidence }: Inspected) -> RunningImage {
        self.take(StepKind::Image, verdict, evidence);
        image
    }

    fn step(&mut self, kind: StepKind, result: Result<Verdict, ProbeError>) -> Result<(), ProbeError> {
        let (verdict, evidence) = self.refuse(kind, result)?;
        self.take(kind, verdict, evidence);
        Ok(())
    }

    fn take(&mut self, kind: StepKind, verdict: StepVerdict, evidence: String) {
        self.taken.push(Step { kind, verdict, evidence });
    }

    /// Records a failed step.
    fn refuse<T>(&mut self, kind: StepKind, result: Result<T, ProbeError>) -> Result<T, ProbeError> {
        result.inspect_err(|error| self.take(kind, StepVerdict::Refused, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProofLevel::{Claimed, Held, Named};

    #[test]
    fn a_daemon_is_named_as_well_as_its_listener_and_its_writer_are() {
        let inherited = Listener::Inherited { by: Some(1) };
        for (listener, named, written, expected) in [
            (Listener::Own, Held, Held, Held),
            (Listener::Own, Held, Named, Named),
            (Listener::Own, Named, Held, Named),
            (Listener::Own, Held, Claimed, Held),
            (inherited, Held, Claimed, Claimed),
            (inherited, Claimed, Held, Held),
            (Listener::Unknown, Held, Named, Named),
        ] {
            assert_eq!(level(listener, named, written), expected, "{listener:?}, {named:?}, {written:?}");
        }
    }

    #[test]
    fn only_an_answer_that_ends_early_may_be_that_of_a_process_that_ends() {
        let early = FramingError::UnexpectedEof { context: "header" };
        for (error, expected) in [
            (ProbeError::Closed, true),
            (ProbeError::Framing(early), true),
            (ProbeError::TimedOut, false),
            (ProbeError::Disabled, false),
        ] {
            let shown = error.to_string();
            assert_eq!(is_hang_up(&Err(error)), expected, "{shown}");
        }
    }
}
