//! The exceptions of the package, made from the errors of the library. Their classes are in `_errors.py`.

use crate::data;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use running_process::Refusal;
use running_process::broker::backend_handle::BackendHandleError;
use running_process::broker::backend_lifecycle::probe::{PeerRole, ProbeError};
use running_process::broker::backend_lifecycle::verify::{Step, Unverified};
use running_process::broker::backend_sdk::FrameClientError;
use running_process::broker::service::{EnsureError, FindError, StartFailure, StopError};
use std::error::Error;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// An exception that is being made.
struct Exception<'py> {
    class: &'static str,
    message: String,
    fields: Bound<'py, PyDict>,
}

impl<'py> Exception<'py> {
    fn new(py: Python<'py>, class: &'static str, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), fields: PyDict::new(py) }
    }

    /// Returns the exception of `error`, whose message is that of the error and of its sources.
    fn of(py: Python<'py>, class: &'static str, error: &(dyn Error + 'static)) -> Self {
        Self::new(py, class, told(error))
    }

    fn with(self, name: &str, value: impl IntoPyObject<'py>) -> PyResult<Self> {
        self.fields.set_item(name, value)?;
        Ok(self)
    }

    fn raise(self) -> PyResult<PyErr> {
        let class = self.fields.py().import("running_process_client._errors")?.getattr(self.class)?;
        Ok(PyErr::from_value(class.call((self.message,), Some(&self.fields))?))
    }
}

/// Returns the exception, or the one that kept it from being made.
fn made(exception: PyResult<PyErr>) -> PyErr {
    exception.unwrap_or_else(|error| error)
}

/// Returns what an error and its sources say.
fn told(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        told = format!("{told}: {error}");
        source = error.source();
    }
    told
}

/// Returns a number of seconds as a time.
///
/// # Errors
///
/// `ValueError`: the number is negative, or not a number.
pub(crate) fn seconds(name: &str, seconds: Option<f64>) -> PyResult<Option<Duration>> {
    match seconds {
        None => Ok(None),
        Some(seconds) if seconds >= 0.0 => Ok(Duration::try_from_secs_f64(seconds).ok()),
        Some(seconds) => {
            Err(PyValueError::new_err(format!("{name} is {seconds}, and must be a number of seconds from 0")))
        }
    }
}

pub(crate) fn forked(py: Python<'_>) -> PyErr {
    let message = "made by the process that this one was forked from; make another one here";
    made(Exception::new(py, "ForkedError", message).raise())
}

pub(crate) fn interpreter_ends(py: Python<'_>) -> PyErr {
    made(
        Exception::new(py, "InterpreterEndsError", "the interpreter ends, and waits for nothing more")
            .raise(),
    )
}

pub(crate) fn client_closed(py: Python<'_>) -> PyErr {
    made(closed(py))
}

fn closed(py: Python<'_>) -> PyResult<PyErr> {
    Exception::new(py, "ClientClosedError", "the client was closed").with("kind", "client closed")?.raise()
}

/// Returns the exception for a request without a response.
pub(crate) fn request(py: Python<'_>, error: &FrameClientError) -> PyErr {
    made(request_of(py, error))
}

fn request_of(py: Python<'_>, error: &FrameClientError) -> PyResult<PyErr> {
    use FrameClientError as E;
    let (class, kind) = match error {
        E::Refused(refusal) => return refused(py, error, refusal),
        E::TimedOut { timeout } => {
            return Exception::of(py, "RequestTimeoutError", error)
                .with("kind", "timed out")?
                .with("may_have_run", true)?
                .with("timeout", timeout.as_secs_f64())?
                .raise();
        }
        E::Disabled => ("DisabledError", "disabled"),
        E::Connect(_) => ("ConnectionLostError", "connect"),
        E::Request(_) | E::DescriptorsNotTaken { .. } => ("RequestTooLargeError", "too large"),
        E::Stream(_) => ("ConnectionLostError", "stream"),
        E::Closed => ("ConnectionLostError", "closed"),
        E::NotReceived => ("ConnectionLostError", "not received"),
        E::Dead => ("ConnectionLostError", "dead"),
        E::Connection(_) => ("DaemonFaultError", "daemon fault"),
        E::NotInFlight => ("RequestError", "not in flight"),
        _ => ("RequestError", "other"),
    };
    Exception::of(py, class, error).with("kind", kind)?.with("may_have_run", error.may_have_run())?.raise()
}

fn refused(py: Python<'_>, error: &FrameClientError, refusal: &Refusal) -> PyResult<PyErr> {
    let reason = py
        .import("running_process_client._errors")?
        .getattr("RefusalReason")?
        .call1((i32::from(refusal.reason()),))?;
    let retry_after = refusal.retry_after_ms.map(|ms| f64::from(ms) / 1000.0);
    Exception::of(py, "RefusedError", error)
        .with("kind", "refused")?
        .with("reason", reason)?
        .with("may_have_run", refusal.may_have_run())?
        .with("retry_after", retry_after)?
        .with("detail", &refusal.message)?
        .raise()
}

/// Returns the exception for a daemon that did not prove itself.
pub(crate) fn unverified(py: Python<'_>, unverified: &Unverified) -> PyErr {
    made(proof(py, &unverified.error, &unverified.steps))
}

fn proof(py: Python<'_>, error: &ProbeError, steps: &[Step]) -> PyResult<PyErr> {
    use ProbeError as E;
    let (class, kind) = match error {
        E::Disabled => return Exception::of(py, "DisabledError", error).raise(),
        E::EndpointMismatch { .. } => ("ProofError", "endpoint mismatch"),
        E::OtherBoot { .. } => ("GoneError", "other boot"),
        E::OtherNamespace { .. } => ("ProofError", "other namespace"),
        E::Gone { .. } => ("GoneError", "gone"),
        E::ReusedPid { .. } => ("GoneError", "pid used again"),
        E::NotInspectable { .. } => ("ProofError", "not inspectable"),
        E::Connect(_) => ("NotConnectedError", "connect"),
        E::Impostor { .. } => ("ImpostorError", "impostor"),
        E::WrongImage { .. } => ("WrongImageError", "wrong image"),
        E::OtherImage { .. } => ("WrongImageError", "other image"),
        E::Policy(_) => ("PolicyError", "policy"),
        E::TimedOut => ("ProofTimeoutError", "timed out"),
        E::Closed => ("NotConnectedError", "closed"),
        E::Stream(_) => ("NotConnectedError", "stream"),
        E::Framing(_) | E::Response(_) | E::Unasked { .. } => ("ProofError", "answer"),
        E::Mismatch(_) => ("MismatchError", "mismatch"),
        _ => ("ProofError", "other"),
    };
    let failed = steps.last().map(|step| step.kind.to_string());
    let exception = Exception::of(py, class, error)
        .with("kind", kind)?
        .with("step", failed)?
        .with("steps", data::steps(py, steps)?)?;
    match error {
        E::Gone { pid, .. } | E::ReusedPid { pid, .. } => exception.with("pid", pid)?,
        E::Impostor { role, pid, image, expected } => exception
            .with("role", if *role == PeerRole::Writer { "writer" } else { "listener" })?
            .with("pid", pid)?
            .with("image", image.as_deref().map(|image| data::path(py, image)).transpose()?)?
            .with("expected", expected)?,
        E::Mismatch(mismatch) => {
            let differing = mismatch.checks.iter().filter(|check| !check.agrees);
            let differences: Vec<_> = differing.map(ToString::to_string).collect();
            exception.with("differences", pyo3::types::PyTuple::new(py, differences)?)?
        }
        _ => exception,
    }
    .raise()
}

/// Returns the exception for an identity file that is not there.
pub(crate) fn no_daemon(py: Python<'_>, path: &Path) -> PyErr {
    let message = format!("no daemon runs: there is no identity file {}", path.display());
    made(identity_file_of(py, "NoDaemonError", message, path))
}

/// Returns the exception for an identity file that is not used.
pub(crate) fn identity_file(py: Python<'_>, path: &Path, error: &io::Error) -> PyErr {
    let message = format!("the identity file {} cannot be used: {error}", path.display());
    made(identity_file_of(py, "IdentityFileError", message, path))
}

fn identity_file_of(py: Python<'_>, class: &'static str, message: String, path: &Path) -> PyResult<PyErr> {
    Exception::new(py, class, message).with("path", data::path(py, path)?)?.raise()
}

/// Returns the exception for a socket whose process claims to listen elsewhere.
pub(crate) fn other_endpoint(py: Python<'_>, asked: &str, claimed: &str) -> PyErr {
    let message = format!("the process at {asked:?} claims to listen at {claimed:?}");
    let exception = Exception::new(py, "ProofError", message);
    made(exception.with("kind", "endpoint mismatch").and_then(Exception::raise))
}

/// Returns the exception for a service without a daemon.
pub(crate) fn ensure(py: Python<'_>, error: &EnsureError) -> PyErr {
    made(ensure_of(py, error))
}

fn ensure_of(py: Python<'_>, error: &EnsureError) -> PyResult<PyErr> {
    use EnsureError as E;
    let (class, kind) = match error {
        E::Find(error) => return find_of(py, error),
        E::Impostor(error) | E::NotInspectable(error) => return proof(py, error, &[]),
        E::NoCommand => ("ServiceError", "no command"),
        E::NoProgram { .. } => ("ServiceError", "no program"),
        E::StartFailed(_) => ("StartFailedError", "start failed"),
        E::BackingOff { .. } => ("BackingOffError", "backing off"),
        E::Files(_) => ("ServiceError", "files"),
        E::Process(_) => ("ServiceError", "process"),
        E::HeldByOrphan { .. } => ("ServiceError", "held by an orphan"),
        E::ReplacementRefused { .. } => ("ReplacementError", "replacement refused"),
        E::ReplacementFailed { .. } => ("ReplacementError", "replacement failed"),
        E::TimedOut { .. } => ("ServiceTimeoutError", "timed out"),
        _ => ("ServiceError", "other"),
    };
    let exception = Exception::of(py, class, error).with("kind", kind)?;
    match error {
        E::StartFailed(failure) => exception.with("log", &failure.log)?,
        E::BackingOff { until, failure } => exception
            .with("retry_after", left(*until))?
            .with("log", failure.as_ref().map(|StartFailure { log, .. }| log))?,
        E::TimedOut { state, .. } => exception.with("state", state)?,
        _ => exception,
    }
    .raise()
}

/// Returns the exception for a service whose state cannot be told.
pub(crate) fn find(py: Python<'_>, error: &FindError) -> PyErr {
    made(find_of(py, error))
}

fn find_of(py: Python<'_>, error: &FindError) -> PyResult<PyErr> {
    let kind = match error {
        FindError::Probe(error) => return proof(py, error, &[]),
        FindError::Place(_) => "place",
        FindError::IdentityFile { .. } => "identity file",
        FindError::Activation(_) => "activation",
        FindError::Lock(_) => "lock",
        _ => "other",
    };
    Exception::of(py, "ServiceError", error).with("kind", kind)?.raise()
}

/// Returns the exception for a service whose daemon was not stopped.
pub(crate) fn stop(py: Python<'_>, error: &StopError) -> PyErr {
    made(stop_of(py, error))
}

fn stop_of(py: Python<'_>, error: &StopError) -> PyResult<PyErr> {
    use StopError as E;
    let (class, kind) = match error {
        E::Find(error) => return find_of(py, error),
        E::NotProven(error) => return proof(py, error, &[]),
        E::Process(_) => ("ServiceError", "process"),
        E::HeldByOrphan { .. } => ("ServiceError", "held by an orphan"),
        E::TimedOut { .. } => ("ServiceTimeoutError", "timed out"),
        _ => ("ServiceError", "other"),
    };
    let exception = Exception::of(py, class, error).with("kind", kind)?;
    match error {
        E::TimedOut { state } => exception.with("state", state)?,
        _ => exception,
    }
    .raise()
}

/// Returns the exception for a service that cannot be described so.
pub(crate) fn definition(error: &(dyn Error + 'static)) -> PyErr {
    PyValueError::new_err(told(error))
}

/// Returns the exception for a process that was not signalled, or still runs.
pub(crate) fn process(py: Python<'_>, error: &BackendHandleError) -> PyErr {
    made(process_of(py, error))
}

fn process_of(py: Python<'_>, error: &BackendHandleError) -> PyResult<PyErr> {
    let (class, pid) = match error {
        BackendHandleError::Probe(error) => return proof(py, error, &[]),
        BackendHandleError::Process { pid, .. } => ("ProcessError", *pid),
        BackendHandleError::ShutdownTimeout { pid, .. } => ("ShutdownTimeoutError", *pid),
        _ => ("ProcessError", 0),
    };
    Exception::of(py, class, error).with("pid", pid)?.raise()
}

/// Returns the seconds until `moment`.
pub(crate) fn left(moment: SystemTime) -> f64 {
    moment.duration_since(SystemTime::now()).unwrap_or_default().as_secs_f64()
}
