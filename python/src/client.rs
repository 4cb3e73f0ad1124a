//! A connection to a daemon: its requests, blocking and for asyncio.

use crate::completions::{Call, Completions};
use crate::error;
use crate::process_bound::ProcessBound;
use crate::runtime::{Sockets, sockets};
use crate::stream::EventStream;
use crate::wait::wait;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use running_process::AsyncFrameClient;
use running_process::broker::backend_sdk::{FrameClientError, LocalStream, RequestOptions};
use running_process::broker::protocol::Frame;
use std::sync::{Mutex, PoisonError};

/// A client of a proven daemon, on one connection.
///
/// Any number of threads share it, with any number of requests in flight. A call waits without the interpreter's lock, and Ctrl-C ends it.
/// The connection ends when the client is closed, which the end of a `with` block does.
#[pyclass(frozen, module = "running_process_client")]
pub(crate) struct Client {
    /// `None` once it is closed. Only threads that hold the interpreter's lock take this one.
    connection: ProcessBound<Mutex<Option<AsyncFrameClient>>>,
    sockets: &'static Sockets,
    pid: u32,
}

impl Client {
    pub(crate) fn new(py: Python<'_>, stream: LocalStream, pid: u32) -> PyResult<Self> {
        let sockets = sockets(py)?;
        let entered = sockets.runtime.enter();
        let client = AsyncFrameClient::from_stream(stream).map_err(|error| error::request(py, &error))?;
        drop(entered);
        Ok(Self { connection: ProcessBound::new(Mutex::new(Some(client))), sockets, pid })
    }

    fn shared(&self, py: Python<'_>) -> PyResult<AsyncFrameClient> {
        let client = self.connection.get(py)?.lock().unwrap_or_else(PoisonError::into_inner);
        client.clone().ok_or_else(|| error::client_closed(py))
    }
}

#[pymethods]
impl Client {
    /// Sends a request and returns the payload of its response.
    ///
    /// The daemon is told the `timeout`, in seconds, and the trace context. After the timeout the request is cancelled, and this raises
    /// `RequestTimeoutError`. `RefusedError` says why the daemon does not serve the request.
    #[pyo3(signature = (protocol, payload, *, timeout=None, traceparent="", tracestate=""))]
    fn request<'py>(
        &self,
        py: Python<'py>,
        protocol: u32,
        payload: &Bound<'py, PyBytes>,
        timeout: Option<f64>,
        traceparent: &str,
        tracestate: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let client = self.shared(py)?;
        let options = options(timeout, traceparent, tracestate)?;
        let payload = payload.as_bytes().to_vec();
        let request = async { client.request_with(protocol, payload, &options).await };
        let (response, _stay) = wait(py, self.sockets, request)?;
        match response {
            Ok(frame) => Ok(PyBytes::new(py, &frame.payload)),
            Err(error) => {
                // A request that timed out is cancelled.
                self.sockets.settle();
                Err(error::request(py, &error))
            }
        }
    }

    /// Sends a request whose events are wanted, and returns the iterator of their payloads.
    ///
    /// After the last event, `response` of the iterator returns the payload of the response.
    #[pyo3(signature = (protocol, payload, *, timeout=None, traceparent="", tracestate=""))]
    fn stream(
        &self,
        py: Python<'_>,
        protocol: u32,
        payload: &Bound<'_, PyBytes>,
        timeout: Option<f64>,
        traceparent: &str,
        tracestate: &str,
    ) -> PyResult<EventStream> {
        let client = self.shared(py)?;
        let options = options(timeout, traceparent, tracestate)?;
        let payload = payload.as_bytes().to_vec();
        let begun = async { client.request_streaming_with(protocol, payload, &options).await };
        let (begun, _stay) = wait(py, self.sockets, begun)?;
        match begun {
            Ok(stream) => Ok(EventStream::new(stream, self.sockets)),
            Err(error) => Err(error::request(py, &error)),
        }
    }

    /// Sends a request, and gives its response to `future`.
    #[expect(clippy::too_many_arguments, reason = "those of a request, and where its response goes")]
    fn start_request(
        &self,
        py: Python<'_>,
        completions: &Bound<'_, Completions>,
        future: Py<PyAny>,
        protocol: u32,
        payload: &Bound<'_, PyBytes>,
        timeout: Option<f64>,
        traceparent: &str,
        tracestate: &str,
    ) -> PyResult<Call> {
        let client = self.shared(py)?;
        let options = options(timeout, traceparent, tracestate)?;
        let payload = payload.as_bytes().to_vec();
        let request = async move { client.request_with(protocol, payload, &options).await };
        Completions::start(completions, future, request, response)
    }

    /// The process id of the daemon.
    #[getter]
    fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells whether requests can still be sent.
    #[getter]
    fn is_usable(&self, py: Python<'_>) -> PyResult<bool> {
        let client = self.connection.get(py)?.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(client.as_ref().is_some_and(AsyncFrameClient::is_usable))
    }

    /// Closes the client. The connection ends with the last request in flight.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let client = self.connection.get(py)?.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(client);
        self.sockets.settle();
        Ok(())
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let state = match self.is_usable(py) {
            Ok(true) => "open",
            Ok(false) => "closed",
            Err(_) => "of another process",
        };
        format!("<running_process_client.Client of process {}, {state}>", self.pid)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(client) = self.connection.take() {
            drop(client);
            self.sockets.settle();
        }
    }
}

/// Returns the payload of a response.
pub(crate) fn response(py: Python<'_>, response: Result<Frame, FrameClientError>) -> PyResult<Py<PyAny>> {
    match response {
        Ok(frame) => Ok(PyBytes::new(py, &frame.payload).into_any().unbind()),
        Err(error) => Err(error::request(py, &error)),
    }
}

/// Returns the options of a request.
///
/// # Errors
///
/// `timeout` is not a number of seconds.
fn options(timeout: Option<f64>, traceparent: &str, tracestate: &str) -> PyResult<RequestOptions> {
    let options = RequestOptions::new().with_trace_context(traceparent, tracestate);
    Ok(match error::seconds("timeout", timeout)? {
        Some(timeout) => options.with_timeout(timeout),
        None => options,
    })
}
