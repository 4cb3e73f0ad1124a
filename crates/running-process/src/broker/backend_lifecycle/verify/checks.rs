//! The single checks of a verification, but for that of the image. None of them depends on the others.

use super::policy::{ImageCheck, InheritedListener, Policy, ProofLevel};
use super::proof::{Listener, StepVerdict};
use crate::broker::backend_lifecycle::identity::{DaemonProcess, started};
use crate::broker::backend_lifecycle::probe::{Absence, PeerRole, PolicyRule, ProbeError, Writer};
use crate::sys::{self, Peer, PeerError, PeerEvidence, PidfdPolicy, ProcessHandle};
use crate::transport::{ConnectError, LocalStream};
use std::io;

/// The system names the writers of what is read from a connection.
const NAMES_WRITERS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The verdict of a step, and its evidence for people.
pub(super) type Verdict = (StepVerdict, String);

pub(super) fn pidfd_policy(policy: &Policy) -> PidfdPolicy {
    if policy.only_credentials { PidfdPolicy::Avoid } else { PidfdPolicy::Use }
}

pub(super) fn boot(expected: &DaemonProcess) -> Result<Verdict, ProbeError> {
    judge_boot(expected, sys::boot_id())
}

fn judge_boot(expected: &DaemonProcess, current: io::Result<String>) -> Result<Verdict, ProbeError> {
    match current {
        Ok(current) if current == expected.boot_id => Ok((StepVerdict::Proven, current)),
        Ok(current) => Err(ProbeError::OtherBoot { recorded: expected.boot_id.clone(), current }),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            Ok((StepVerdict::Unchecked, "this system does not tell".to_owned()))
        }
        Err(error) => Err(ProbeError::Stream(error)),
    }
}

pub(super) fn namespace(expected: &DaemonProcess) -> Result<Verdict, ProbeError> {
    judge_namespace(expected, sys::own_pid_namespace().map_err(ProbeError::Stream)?)
}

fn judge_namespace(expected: &DaemonProcess, own: Option<u64>) -> Result<Verdict, ProbeError> {
    match (recorded_namespace(expected), own) {
        (Some(recorded), Some(own)) if recorded != own => {
            Err(ProbeError::OtherNamespace { pid: expected.pid })
        }
        (Some(_), Some(own)) => Ok((StepVerdict::Proven, format!("{own}, as the caller's"))),
        _ => Ok((StepVerdict::Unchecked, "not recorded, or this system has none".to_owned())),
    }
}

/// Opens the process of the recorded pid.
pub(super) fn live_process(expected: &DaemonProcess) -> Result<ProcessHandle, ProbeError> {
    let pid = expected.pid;
    let not_inspectable = |source| ProbeError::NotInspectable { pid, source };
    let process = ProcessHandle::open(pid)
        .map_err(not_inspectable)?
        .ok_or(ProbeError::Gone { pid, how: Absence::NoSuchProcess })?;
    if process.has_exited().map_err(not_inspectable)? {
        return Err(ProbeError::Gone { pid, how: Absence::Exited });
    }
    Ok(process)
}

/// Returns the recorded process, which is named by its start time and its boot. It was not asked anything, so it may be
/// too busy to answer.
pub(crate) fn recorded_process(expected: &DaemonProcess) -> Result<ProcessHandle, ProbeError> {
    let policy = Policy::default();
    boot(expected)?;
    namespace(expected)?;
    let process = live_process(expected)?;
    match start_time(expected, &process, &policy)? {
        (StepVerdict::Proven, _) => Ok(process),
        _ => Err(ProbeError::Policy(PolicyRule::WithoutOrigin)),
    }
}

/// Returns the pid of the recorded process, if a signal or a debugger has stopped it: then it answers nobody before it is told to go on.
///
/// # Platform-specific behavior
///
/// Only Linux tells. Elsewhere this is `None`.
#[must_use]
pub fn stopped_process(expected: &DaemonProcess) -> Option<u32> {
    let process = recorded_process(expected).ok()?;
    process.is_stopped().is_ok_and(|is_stopped| is_stopped).then(|| process.pid())
}

/// Returns the reason why there is no process of the recorded pid: `error`, unless the endpoint tells more.
///
/// A pid has no meaning without its namespace. If that is not recorded, a daemon may well listen that has another
/// number here, or none.
pub(super) fn absence_reason(
    error: ProbeError,
    expected: &DaemonProcess,
    policy: &Policy,
    connect: impl FnOnce() -> Result<LocalStream, ConnectError>,
) -> ProbeError {
    let pid = expected.pid;
    if !matches!(error, ProbeError::Gone { .. }) || recorded_namespace(expected).is_some() {
        return error;
    }
    let stream = match connect() {
        Ok(stream) => stream,
        // No process listens.
        Err(
            ConnectError::NotFound { .. } | ConnectError::Refused { .. } | ConnectError::NotASocket { .. },
        ) => return error,
        Err(untold) => return untold.into(),
    };
    let theirs = stream.peer(pidfd_policy(policy)).map(|peer| peer.process.pid_namespace());
    reason_of_listener(theirs, &sys::own_pid_namespace(), pid).unwrap_or(error)
}

/// Returns the reason why a daemon that listens is no process here: `theirs` is the namespace of the process that listens. `None` if
/// there is no other reason than that it has ended.
fn reason_of_listener(
    theirs: Result<io::Result<Option<u64>>, PeerError>,
    own: &io::Result<Option<u64>>,
    pid: u32,
) -> Option<ProbeError> {
    match theirs {
        Err(PeerError::OtherNamespace) => Some(ProbeError::OtherNamespace { pid }),
        Ok(Ok(Some(theirs))) if own.as_ref().is_ok_and(|own| *own != Some(theirs)) => {
            Some(ProbeError::OtherNamespace { pid })
        }
        Ok(Err(source)) if source.kind() != io::ErrorKind::NotFound => {
            Some(ProbeError::NotInspectable { pid, source })
        }
        _ => None,
    }
}

fn recorded_namespace(expected: &DaemonProcess) -> Option<u64> {
    expected.origin.as_ref().and_then(|origin| origin.pid_namespace)
}

/// Checks that the process has the recorded start time.
pub(super) fn start_time(
    expected: &DaemonProcess,
    process: &ProcessHandle,
    policy: &Policy,
) -> Result<Verdict, ProbeError> {
    let pid = expected.pid;
    let Some(origin) = &expected.origin else {
        return Ok((StepVerdict::Unchecked, format!("pid {pid} is alive; its identity has no start time")));
    };
    judge_start_time(pid, origin.start_time, process.start_time(), policy)
}

fn judge_start_time(
    pid: u32,
    recorded: u64,
    found: io::Result<u64>,
    policy: &Policy,
) -> Result<Verdict, ProbeError> {
    let found = match found {
        Ok(found) => found,
        Err(error) if policy.image == ImageCheck::IfReadable && error.kind() != io::ErrorKind::NotFound => {
            let evidence = format!("pid {pid} is alive; its start time cannot be read: {error}");
            return Ok((StepVerdict::Unchecked, evidence));
        }
        Err(error) => return Err(unanswered(pid, error)),
    };
    if found != recorded {
        return Err(ProbeError::ReusedPid { pid, recorded, found });
    }
    Ok((StepVerdict::Proven, format!("pid {pid} is alive and started {}, as recorded", started(found))))
}

pub(super) fn identify_listener(
    stream: &LocalStream,
    expected: &DaemonProcess,
    process: &ProcessHandle,
    policy: &Policy,
) -> Result<NamedListener, ProbeError> {
    judge_listener(stream.peer(pidfd_policy(policy)), expected, process, policy)
}

/// The process that listens, as the kernel names it, with the verdict and its evidence.
type NamedListener = (Listener, ProofLevel, StepVerdict, String);

fn judge_listener(
    peer: Result<Peer, PeerError>,
    expected: &DaemonProcess,
    process: &ProcessHandle,
    policy: &Policy,
) -> Result<NamedListener, ProbeError> {
    let inherited = match policy.inherited_listener {
        InheritedListener::Refuse => false,
        InheritedListener::IfRecorded => {
            expected.origin.as_ref().is_some_and(|origin| origin.inherited_listener)
        }
        InheritedListener::Accept => true,
    };
    let made_by = |by: Option<u32>| {
        let maker = by.map_or_else(|| "a process that has ended".to_owned(), |pid| format!("process {pid}"));
        let evidence = format!("{maker} made the socket; the writer of the answer decides");
        Ok((Listener::Inherited { by }, ProofLevel::Claimed, StepVerdict::Unchecked, evidence))
    };
    match peer {
        Ok(peer) if is_same(&peer.process, process)? => {
            let level = level(peer.evidence);
            let user = peer.uid.map_or_else(String::new, |uid| format!(" of user {uid}"));
            let evidence = format!("process {}{user}, {level}", expected.pid);
            Ok((Listener::Own, level, StepVerdict::Proven, evidence))
        }
        Ok(peer) if inherited => made_by(Some(peer.process.pid())),
        Ok(peer) => Err(impostor(PeerRole::Listener, &peer, expected)),
        Err(PeerError::Gone { .. }) if inherited => made_by(None),
        Err(PeerError::Gone { pid }) => {
            still_alive(process)?;
            Err(ended_impostor(PeerRole::Listener, pid, expected))
        }
        Err(PeerError::OtherNamespace) => Err(ProbeError::OtherNamespace { pid: expected.pid }),
        Err(PeerError::Unsupported) => Ok((
            Listener::Unknown,
            ProofLevel::Claimed,
            StepVerdict::Unchecked,
            "this system does not name the listener".to_owned(),
        )),
        Err(PeerError::Io(error)) => Err(ProbeError::Stream(error)),
        Err(error @ PeerError::NotNoted) => {
            Err(ProbeError::Stream(io::Error::new(io::ErrorKind::InvalidData, error)))
        }
    }
}

/// Checks that the recorded process wrote a piece of the answer, and returns how well the kernel names it.
pub(super) fn judge_writer(
    writer: Writer,
    expected: &DaemonProcess,
    process: &ProcessHandle,
) -> Result<ProofLevel, ProbeError> {
    match writer {
        Ok(peer) if is_same(&peer.process, process)? => Ok(level(peer.evidence)),
        Ok(peer) => Err(impostor(PeerRole::Writer, &peer, expected)),
        Err(PeerError::Gone { pid }) => {
            still_alive(process)?;
            Err(ended_impostor(PeerRole::Writer, pid, expected))
        }
        Err(PeerError::OtherNamespace) => Err(ProbeError::OtherNamespace { pid: expected.pid }),
        Err(PeerError::Unsupported | PeerError::NotNoted) => Ok(ProofLevel::Claimed),
        Err(PeerError::Io(error)) => Err(ProbeError::Stream(error)),
    }
}

pub(super) fn writer_evidence(
    level: ProofLevel,
    listener: Listener,
    expected: &DaemonProcess,
) -> Result<Verdict, ProbeError> {
    judge_writers(NAMES_WRITERS, level, listener, expected)
}

fn judge_writers(
    names_writers: bool,
    level: ProofLevel,
    listener: Listener,
    expected: &DaemonProcess,
) -> Result<Verdict, ProbeError> {
    match (level, listener) {
        // The kernel notes the writer of every byte from the challenge on.
        (ProofLevel::Claimed, _) if names_writers => Err(ProbeError::Stream(io::Error::new(
            io::ErrorKind::InvalidData,
            "a part of the answer came before the challenge was sent",
        ))),
        (ProofLevel::Claimed, Listener::Inherited { .. }) => {
            Err(ProbeError::Policy(PolicyRule::InheritedListener))
        }
        (ProofLevel::Claimed, _) => {
            Ok((StepVerdict::Unchecked, "this system does not name the writer".to_owned()))
        }
        _ => Ok((StepVerdict::Proven, format!("process {}, {level}", expected.pid))),
    }
}

pub(super) fn still_alive(process: &ProcessHandle) -> Result<(), ProbeError> {
    let pid = process.pid();
    match process.has_exited() {
        Ok(false) => Ok(()),
        Ok(true) => Err(ProbeError::Gone { pid, how: Absence::DuringProbe }),
        Err(source) => Err(ProbeError::NotInspectable { pid, source }),
    }
}

/// Returns the error for a failed question about the held process. `NotFound` means that it has exited, and nothing
/// else does.
pub(super) fn unanswered(pid: u32, source: io::Error) -> ProbeError {
    match source.kind() {
        io::ErrorKind::NotFound => ProbeError::Gone { pid, how: Absence::DuringProbe },
        _ => ProbeError::NotInspectable { pid, source },
    }
}

fn is_same(peer: &ProcessHandle, recorded: &ProcessHandle) -> Result<bool, ProbeError> {
    peer.is_same_process(recorded).map_err(|error| unanswered(recorded.pid(), error))
}

/// Returns the error for a process that is not the recorded one. A process of another pid namespace may be the daemon
/// under another number, which cannot be told here.
fn impostor(role: PeerRole, peer: &Peer, expected: &DaemonProcess) -> ProbeError {
    let elsewhere = matches!(
        (peer.process.pid_namespace(), sys::own_pid_namespace()),
        (Ok(Some(theirs)), Ok(Some(own))) if theirs != own
    );
    if elsewhere {
        return ProbeError::OtherNamespace { pid: expected.pid };
    }
    let image = sys::process_image(&peer.process).ok();
    ProbeError::Impostor { role, pid: peer.process.pid(), image, expected: expected.pid }
}

/// Returns the error for a process that has ended and is not the recorded one, which is alive.
fn ended_impostor(role: PeerRole, pid: u32, expected: &DaemonProcess) -> ProbeError {
    ProbeError::Impostor { role, pid, image: None, expected: expected.pid }
}

fn level(evidence: PeerEvidence) -> ProofLevel {
    match evidence {
        PeerEvidence::PidFd => ProofLevel::Held,
        PeerEvidence::Credentials | PeerEvidence::AuditToken | PeerEvidence::PipeServer => ProofLevel::Named,
    }
}

#[cfg(test)]
mod tests;
