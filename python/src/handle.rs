//! A proven daemon.

use crate::client::Client;
use crate::completions::{Call, Completions};
use crate::process_bound::ProcessBound;
use crate::runtime::sockets;
use crate::wait::{blocking, wait_blocking};
use crate::{data, error, policy};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use running_process::broker::backend_handle::{BackendHandle, BackendHandleError};
use running_process::broker::backend_lifecycle::probe::{DEFAULT_PROBE_TIMEOUT, ProbeError};
use running_process::broker::backend_lifecycle::verify::{Policy, Unverified, verify_claim};
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use running_process::{DaemonProcess, Endpoint};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A proven daemon.
///
/// It has the proven connection until `client` takes it. A later call that needs the daemon proves it again.
#[pyclass(frozen, module = "running_process_client")]
pub(crate) struct Handle {
    identity: DaemonProcess,
    policy: Policy,
    proof: Py<PyAny>,
    /// Only threads that hold the interpreter's lock take this one.
    held: ProcessBound<Mutex<Option<BackendHandle>>>,
}

impl Handle {
    pub(crate) fn new(py: Python<'_>, handle: BackendHandle, policy: Policy) -> PyResult<Self> {
        let identity = handle.daemon_process.clone();
        let proof = data::proof(py, &identity, handle.proof())?.unbind();
        Ok(Self { identity, policy, proof, held: ProcessBound::new(Mutex::new(Some(handle))) })
    }

    fn take(&self, py: Python<'_>) -> PyResult<Option<BackendHandle>> {
        Ok(self.held.get(py)?.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    fn put(&self, py: Python<'_>, handle: BackendHandle) -> PyResult<()> {
        *self.held.get(py)?.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(())
    }

    /// Returns the handle that this has, or a new one.
    fn proven(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Result<BackendHandle, Unverified>> {
        let deadline = deadline(timeout)?;
        if let Some(handle) = self.take(py)? {
            return Ok(Ok(handle));
        }
        let (identity, policy) = (self.identity.clone(), self.policy.clone());
        let prove = move || BackendHandle::verify_with_steps(&identity, policy, deadline);
        let (proven, _stay) = wait_blocking(py, sockets(py)?, prove)?;
        Ok(proven)
    }

    /// Signals the process by `end`, and keeps the handle.
    fn end(
        &self,
        py: Python<'_>,
        end: impl FnOnce(&BackendHandle) -> Result<(), BackendHandleError> + Send + 'static,
    ) -> PyResult<()> {
        let handle = match self.proven(py, None)? {
            Ok(handle) => handle,
            Err(Unverified { error: ProbeError::Gone { .. }, .. }) => return Ok(()),
            Err(unverified) => return Err(error::unverified(py, &unverified)),
        };
        let ended = move || {
            let ended = end(&handle);
            (handle, ended)
        };
        let ((handle, ended), _stay) = wait_blocking(py, sockets(py)?, ended)?;
        self.put(py, handle)?;
        ended.map_err(|error| error::process(py, &error))
    }
}

#[pymethods]
impl Handle {
    /// The proof, step by step.
    #[getter]
    fn proof(&self, py: Python<'_>) -> Py<PyAny> {
        self.proof.clone_ref(py)
    }

    /// The process id of the daemon.
    #[getter]
    fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Returns a client on the proven connection; each further one has a connection of its own, which is proven as well.
    ///
    /// `timeout`, in seconds, bounds that further proof; it is 5 if there is none.
    #[pyo3(signature = (*, timeout=None))]
    fn client(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Client> {
        match self.proven(py, timeout)? {
            Ok(handle) => Client::new(py, handle.into_stream(), self.identity.pid),
            Err(unverified) => Err(error::unverified(py, &unverified)),
        }
    }

    /// Returns whether the process of the daemon runs, and still runs the image that was proven.
    fn is_alive(&self, py: Python<'_>) -> PyResult<bool> {
        match self.proven(py, None)? {
            Ok(handle) => {
                let is_alive = handle.is_alive();
                self.put(py, handle)?;
                Ok(is_alive)
            }
            Err(Unverified { error: ProbeError::Gone { .. } | ProbeError::ReusedPid { .. }, .. }) => {
                Ok(false)
            }
            Err(unverified) => Err(error::unverified(py, &unverified)),
        }
    }

    /// Asks the process of the daemon to end, and waits until it has ended, for at most `timeout` seconds.
    #[pyo3(signature = (timeout))]
    fn shutdown(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let timeout = error::seconds("timeout", Some(timeout))?.unwrap_or(Duration::MAX);
        self.end(py, move |handle| handle.shutdown(timeout))
    }

    /// Kills the process of the daemon, and waits until it has ended.
    fn force_kill(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, BackendHandle::force_kill)
    }

    /// Closes the proven connection, if no client has taken it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.take(py).map(drop)
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        let DaemonProcess { pid, ipc_endpoint, .. } = &self.identity;
        format!("<running_process_client.Handle of process {pid} at {:?}>", ipc_endpoint.path)
    }
}

/// The reason why there is no handle.
pub(crate) enum NotProven {
    NoIdentityFile(PathBuf),
    IdentityFile(PathBuf, io::Error),
    OtherEndpoint { asked: String, claimed: String },
    Unverified(Unverified),
}

impl NotProven {
    fn raise(&self, py: Python<'_>) -> PyErr {
        match self {
            Self::NoIdentityFile(path) => error::no_daemon(py, path),
            Self::IdentityFile(path, io) => error::identity_file(py, path, io),
            Self::OtherEndpoint { asked, claimed } => error::other_endpoint(py, asked, claimed),
            Self::Unverified(unverified) => error::unverified(py, unverified),
        }
    }
}

type Proven = Result<(BackendHandle, Policy), NotProven>;

/// Proves the daemon of an identity file.
fn prove(path: PathBuf, policy: Policy, deadline: Instant) -> Proven {
    let identity = match try_read_daemon_identity_file(&path) {
        Ok(Some(identity)) => identity,
        Ok(None) => return Err(NotProven::NoIdentityFile(path)),
        Err(error) => return Err(NotProven::IdentityFile(path, error)),
    };
    let handle = BackendHandle::verify_with_steps(&identity, policy.clone(), deadline);
    handle.map(|handle| (handle, policy)).map_err(NotProven::Unverified)
}

/// Proves that the process at a socket is what it claims to be.
fn prove_claim(socket: String, policy: Policy, deadline: Instant) -> Proven {
    let endpoint = Endpoint { namespace_id: String::new(), path: socket };
    let claim = verify_claim(&endpoint, &policy, deadline);
    claim.proof.map_err(NotProven::Unverified)?;
    let identity = match claim.identity {
        Some(identity) if is_same_endpoint(&endpoint.path, &identity.ipc_endpoint.path) => identity,
        other => {
            let claimed = other.map(|identity| identity.ipc_endpoint.path).unwrap_or_default();
            return Err(NotProven::OtherEndpoint { asked: endpoint.path, claimed });
        }
    };
    let handle = BackendHandle::verify_with_steps(&identity, policy.clone(), deadline);
    handle.map(|handle| (handle, policy)).map_err(NotProven::Unverified)
}

/// Returns whether both paths lead to one socket.
fn is_same_endpoint(one: &str, other: &str) -> bool {
    let resolved = |path: &str| Path::new(path).canonicalize().ok();
    one == other || (resolved(one).is_some() && resolved(one) == resolved(other))
}

fn handle(py: Python<'_>, proven: Proven) -> PyResult<Handle> {
    match proven {
        Ok((handle, policy)) => Handle::new(py, handle, policy),
        Err(error) => Err(error.raise(py)),
    }
}

fn handle_object(py: Python<'_>, proven: Proven) -> PyResult<Py<PyAny>> {
    Ok(Py::new(py, handle(py, proven)?)?.into_any())
}

fn deadline(timeout: Option<f64>) -> PyResult<Instant> {
    let timeout = error::seconds("timeout", timeout)?.unwrap_or(DEFAULT_PROBE_TIMEOUT);
    let now = Instant::now();
    Ok(now.checked_add(timeout).unwrap_or(now + DEFAULT_PROBE_TIMEOUT))
}

/// Proves the daemon of an identity file: that the process at the other end of the connection is the one in the file.
///
/// `policy` says how much must be proven, `timeout` how long that may take in seconds; it is 5 if there is none. `NoDaemonError` means
/// that there is no such file, and `ProofError` names the step that failed.
#[pyfunction]
#[pyo3(signature = (identity_file, *, policy="default", timeout=None))]
pub(crate) fn probe(
    py: Python<'_>,
    identity_file: PathBuf,
    policy: &str,
    timeout: Option<f64>,
) -> PyResult<Handle> {
    let (policy, deadline) = (policy::policy(policy)?, deadline(timeout)?);
    let (proven, _stay) = wait_blocking(py, sockets(py)?, move || prove(identity_file, policy, deadline))?;
    handle(py, proven)
}

/// Proves that the process that listens at a socket is what it claims to be.
///
/// It does not say that this is the daemon that the caller looks for: there is no identity file to compare it with.
#[pyfunction]
#[pyo3(signature = (socket, *, policy="default", timeout=None))]
pub(crate) fn probe_claim(
    py: Python<'_>,
    socket: String,
    policy: &str,
    timeout: Option<f64>,
) -> PyResult<Handle> {
    let (policy, deadline) = (policy::policy(policy)?, deadline(timeout)?);
    let (proven, _stay) = wait_blocking(py, sockets(py)?, move || prove_claim(socket, policy, deadline))?;
    handle(py, proven)
}

/// Proves the daemon of an identity file, and gives its handle to `future`.
#[pyfunction]
pub(crate) fn start_probe(
    completions: &Bound<'_, Completions>,
    future: Py<PyAny>,
    identity_file: PathBuf,
    policy: &str,
    timeout: Option<f64>,
) -> PyResult<Call> {
    let (policy, deadline) = (policy::policy(policy)?, deadline(timeout)?);
    let work = blocking(sockets(completions.py())?, move || prove(identity_file, policy, deadline));
    Completions::start(completions, future, work, handle_object)
}

/// Returns the identity in a file, without a proof; `None` if there is no such file.
#[pyfunction]
pub(crate) fn read_identity(py: Python<'_>, identity_file: PathBuf) -> PyResult<Option<Bound<'_, PyAny>>> {
    match try_read_daemon_identity_file(&identity_file) {
        Ok(identity) => identity.map(|identity| data::identity(py, &identity)).transpose(),
        Err(io) => Err(error::identity_file(py, &identity_file, &io)),
    }
}
