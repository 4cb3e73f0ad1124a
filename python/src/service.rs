//! A service: its one daemon, found, started exactly once and stopped.

use crate::completions::{Call, Completions};
use crate::handle::Handle;
use crate::runtime::sockets;
use crate::wait::{blocking, wait_blocking};
use crate::{data, error, policy};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use running_process::BackendHandle;
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::service::{
    Deadline, EnsureError, FindError, PlaceError, ServiceState, Stopped, UpgradePolicy,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A service: a name, and the command that starts its one daemon.
///
/// `command` is a program and its arguments. `key` gives each key a daemon of its own. `version` and `build` are those that the caller
/// wants, and `upgrade` says whether a daemon of another version is replaced. The daemon gets a small environment and the variables in
/// `environment`, or all of the caller's with `inherit_environment`. The files of the service are below `root`, by default in the user's
/// directory. Times are seconds.
#[pyclass(frozen, module = "running_process_client")]
pub(crate) struct Service {
    service: running_process::Service,
    policy: Policy,
}

#[pymethods]
impl Service {
    #[new]
    #[pyo3(signature = (
        name, *, command=None, key=None, version=None, build=None, idle_timeout=None, environment=None,
        inherit_environment=false, working_directory=None, root=None, log_limit=None, start_timeout=None,
        policy="default", upgrade="newer replaces"
    ))]
    #[expect(clippy::too_many_arguments, reason = "they have names")]
    fn new(
        name: &str,
        command: Option<Vec<PathBuf>>,
        key: Option<PathBuf>,
        version: Option<&str>,
        build: Option<&str>,
        idle_timeout: Option<f64>,
        environment: Option<BTreeMap<PathBuf, PathBuf>>,
        inherit_environment: bool,
        working_directory: Option<PathBuf>,
        root: Option<PathBuf>,
        log_limit: Option<u64>,
        start_timeout: Option<f64>,
        policy: &str,
        upgrade: &str,
    ) -> PyResult<Self> {
        let policy = policy::policy(policy)?;
        let mut service = running_process::Service::new(name)
            .map_err(|error| error::definition(&error))?
            .policy(policy.clone())
            .upgrade_policy(upgrade_policy(upgrade)?);
        if let Some(command) = command {
            let Some((program, arguments)) = command.split_first() else {
                return Err(PyValueError::new_err("command is empty, and must begin with a program"));
            };
            service = service.command(program, arguments);
        }
        if let Some(key) = key {
            service = service.keyed_by(key);
        }
        if let Some(version) = version {
            service = service.version(version);
        }
        if let Some(build) = build {
            service = service.build(build);
        }
        if let Some(timeout) = error::seconds("idle_timeout", idle_timeout)? {
            service = service.idle_timeout(timeout);
        }
        for (name, value) in environment.into_iter().flatten() {
            service = service.environment_variable(name, value);
        }
        if inherit_environment {
            service = service.inherit_environment();
        }
        if let Some(directory) = working_directory {
            service = service.working_directory(directory);
        }
        if let Some(root) = root {
            service = service.below(root);
        }
        if let Some(bytes) = log_limit {
            service = service.log_limit(bytes);
        }
        if let Some(timeout) = error::seconds("start_timeout", start_timeout)? {
            service = service.start_timeout(timeout);
        }
        Ok(Self { service, policy })
    }

    /// The name.
    #[getter]
    fn name(&self) -> &str {
        self.service.name()
    }

    /// The directory of the service.
    #[getter]
    fn directory<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        place(py, self.service.directory())
    }

    /// The identity file of the daemon.
    #[getter]
    fn identity_file<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        place(py, self.service.identity_file())
    }

    /// The log of the daemon.
    #[getter]
    fn log_file<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        place(py, self.service.log_file())
    }

    /// Ensures the daemon, and gives its handle to `future`.
    fn start_ensure(
        &self,
        completions: &Bound<'_, Completions>,
        future: Py<PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let (service, deadline) = (self.service.clone(), deadline(timeout)?);
        let work = blocking(sockets(completions.py())?, move || service.ensure(deadline));
        let policy = self.policy.clone();
        Completions::start(completions, future, work, |py, ensured| {
            Ok(Py::new(py, ensured_handle(py, ensured, policy)?)?.into_any())
        })
    }

    /// Finds the state, and gives it to `future`.
    fn start_find(
        &self,
        completions: &Bound<'_, Completions>,
        future: Py<PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<Call> {
        let (service, deadline) = (self.service.clone(), deadline(timeout)?);
        let work = blocking(sockets(completions.py())?, move || service.find(deadline));
        let policy = self.policy.clone();
        Completions::start(
            completions,
            future,
            work,
            move |py, found| Ok(state(py, found, &policy)?.unbind()),
        )
    }

    fn __repr__(&self) -> String {
        format!("<running_process_client.Service {:?}>", self.service.name())
    }
}

/// Returns the daemon of a service, proven: the one that runs, or a new one, which is started exactly once whoever else asks.
///
/// `StartFailedError` shows the end of the daemon's log. Without a `timeout`, in seconds, this waits for as long as the start takes.
#[pyfunction]
#[pyo3(signature = (service, *, timeout=None))]
pub(crate) fn ensure(py: Python<'_>, service: &Service, timeout: Option<f64>) -> PyResult<Handle> {
    let (policy, service, deadline) = (service.policy.clone(), service.service.clone(), deadline(timeout)?);
    let (ensured, _stay) = wait_blocking(py, sockets(py)?, move || service.ensure(deadline))?;
    ensured_handle(py, ensured, policy)
}

/// Returns the state of a service, and starts and changes nothing.
#[pyfunction]
#[pyo3(signature = (service, *, timeout=None))]
pub(crate) fn find<'py>(
    py: Python<'py>,
    service: &Service,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let (policy, service, deadline) = (service.policy.clone(), service.service.clone(), deadline(timeout)?);
    let (found, _stay) = wait_blocking(py, sockets(py)?, move || service.find(deadline))?;
    state(py, found, &policy)
}

/// Stops the daemon of a service: asks the proven process to end, and kills it after 15 seconds.
///
/// Returns whether it `"ended"`, was `"killed"` or was `"not running"`.
#[pyfunction]
#[pyo3(signature = (service, *, timeout=None))]
pub(crate) fn stop(py: Python<'_>, service: &Service, timeout: Option<f64>) -> PyResult<&'static str> {
    let (service, deadline) = (service.service.clone(), deadline(timeout)?);
    let (stopped, _stay) = wait_blocking(py, sockets(py)?, move || service.stop(deadline))?;
    match stopped {
        Ok(Stopped::NotRunning) => Ok("not running"),
        Ok(Stopped::Killed { .. }) => Ok("killed"),
        Ok(_) => Ok("ended"),
        Err(error) => Err(error::stop(py, &error)),
    }
}

fn ensured_handle(
    py: Python<'_>,
    ensured: Result<BackendHandle, EnsureError>,
    policy: Policy,
) -> PyResult<Handle> {
    match ensured {
        Ok(handle) => Handle::new(py, handle, policy),
        Err(error) => Err(error::ensure(py, &error)),
    }
}

fn state<'py>(
    py: Python<'py>,
    found: Result<ServiceState, FindError>,
    policy: &Policy,
) -> PyResult<Bound<'py, PyAny>> {
    let found = found.map_err(|error| error::find(py, &error))?;
    let (name, pid) = (found.name(), found.pid());
    let (retry_after, handle) = match found {
        ServiceState::BackingOff { until, .. } => (Some(error::left(until)), None),
        ServiceState::Live(handle) => {
            (None, Some(Py::new(py, Handle::new(py, *handle, policy.clone())?)?.into_any()))
        }
        _ => (None, None),
    };
    data::state(py, name, pid, retry_after, handle)
}

fn place(py: Python<'_>, place: Result<PathBuf, PlaceError>) -> PyResult<Bound<'_, PyAny>> {
    let found = place.map_err(|error| error::find(py, &error.into()))?;
    data::path(py, Path::new(&found))
}

fn deadline(timeout: Option<f64>) -> PyResult<Deadline> {
    Ok(error::seconds("timeout", timeout)?.map_or(Deadline::never(), Deadline::after))
}

fn upgrade_policy(name: &str) -> PyResult<UpgradePolicy> {
    match name {
        "newer replaces" => Ok(UpgradePolicy::newer_replaces()),
        "own version" => Ok(UpgradePolicy::own_version()),
        "never" => Ok(UpgradePolicy::never()),
        _ => {
            let message =
                format!("upgrade is {name:?}, and must be \"newer replaces\", \"own version\" or \"never\"");
            Err(PyValueError::new_err(message))
        }
    }
}
