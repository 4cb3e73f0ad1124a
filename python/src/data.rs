//! The data of the package, made from that of the library. Their classes are in `_data.py`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use running_process::DaemonProcess;
use running_process::broker::backend_lifecycle::verify::{ImageState, Listener, Proof, ProofLevel, Step};
use std::path::Path;

/// Returns `path` as a `pathlib.Path`, whatever bytes it has.
pub(crate) fn path<'py>(py: Python<'py>, path: &Path) -> PyResult<Bound<'py, PyAny>> {
    py.import("pathlib")?.getattr("Path")?.call1((path.as_os_str(),))
}

/// Returns an instance of the class `name` of `_data.py`.
fn instance<'py>(py: Python<'py>, name: &str, fields: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    py.import("running_process_client._data")?.getattr(name)?.call((), Some(fields))
}

/// Returns the steps as a tuple.
pub(crate) fn steps<'py>(py: Python<'py>, steps: &[Step]) -> PyResult<Bound<'py, PyTuple>> {
    let steps: Vec<_> = steps.iter().map(|taken| step(py, taken)).collect::<PyResult<_>>()?;
    PyTuple::new(py, steps)
}

fn step<'py>(py: Python<'py>, step: &Step) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("kind", step.kind.to_string())?;
    fields.set_item("verdict", step.verdict.to_string())?;
    fields.set_item("evidence", &step.evidence)?;
    instance(py, "Step", &fields)
}

/// Returns the identity of a daemon.
pub(crate) fn identity<'py>(py: Python<'py>, daemon: &DaemonProcess) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("pid", daemon.pid)?;
    fields.set_item("executable", path(py, &daemon.exe_path)?)?;
    fields.set_item("sha256", daemon.exe_digests.sha256().map(|digest| hexadecimal(digest)))?;
    fields.set_item("blake3", daemon.exe_digests.blake3().map(|digest| hexadecimal(digest)))?;
    fields.set_item("endpoint", path(py, Path::new(&daemon.ipc_endpoint.path))?)?;
    fields.set_item("namespace", &daemon.ipc_endpoint.namespace_id)?;
    fields.set_item("version", daemon.version())?;
    fields.set_item("build", daemon.build())?;
    fields.set_item("boot_id", &daemon.boot_id)?;
    fields.set_item("started_at_ms", daemon.started_at_unix_ms)?;
    fields.set_item("idle_timeout", daemon.idle_timeout_secs)?;
    fields.set_item("instance", daemon.origin.as_ref().map(|origin| hexadecimal(&origin.instance_id)))?;
    instance(py, "Identity", &fields)
}

/// Returns the proof of `daemon`.
pub(crate) fn proof<'py>(
    py: Python<'py>,
    daemon: &DaemonProcess,
    proof: &Proof,
) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("identity", identity(py, daemon)?)?;
    fields.set_item("level", level(proof.level))?;
    fields.set_item("listener", listener(proof.listener))?;
    fields.set_item("image", image(proof.image))?;
    fields.set_item("with_origin", proof.with_origin)?;
    fields.set_item("steps", steps(py, &proof.steps)?)?;
    instance(py, "Proof", &fields)
}

/// Returns the state of a service.
pub(crate) fn state<'py>(
    py: Python<'py>,
    name: &str,
    pid: Option<u32>,
    retry_after: Option<f64>,
    handle: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("name", name)?;
    fields.set_item("pid", pid)?;
    fields.set_item("retry_after", retry_after)?;
    fields.set_item("handle", handle)?;
    instance(py, "State", &fields)
}

fn level(level: ProofLevel) -> &'static str {
    match level {
        ProofLevel::Held => "held",
        ProofLevel::Named => "named",
        _ => "claimed",
    }
}

fn listener(listener: Listener) -> &'static str {
    match listener {
        Listener::Own => "own",
        Listener::Inherited { .. } => "inherited",
        _ => "unknown",
    }
}

fn image(image: ImageState) -> &'static str {
    match image {
        ImageState::Unchanged => "unchanged",
        ImageState::ReplacedOnDisk => "replaced on disk",
        ImageState::NotComparable => "not comparable",
        _ => "unchecked",
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)).collect()
}
