//! The events of one request, and then its response.

use crate::client::response;
use crate::completions::{Call, Completions};
use crate::error;
use crate::process_bound::ProcessBound;
use crate::runtime::Sockets;
use crate::wait::wait;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use running_process::broker::backend_sdk::{AsyncResponseStream, FrameClientError};
use running_process::broker::protocol::Frame;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The payloads of the events of one request, and then its response.
///
/// The request is cancelled when the iterator is closed or freed before its response was taken.
#[pyclass(frozen, module = "running_process_client")]
pub(crate) struct EventStream {
    /// `None` once it is closed or its response was taken.
    stream: ProcessBound<Arc<Mutex<Option<AsyncResponseStream>>>>,
    sockets: &'static Sockets,
}

impl EventStream {
    pub(crate) fn new(stream: AsyncResponseStream, sockets: &'static Sockets) -> Self {
        Self { stream: ProcessBound::new(Arc::new(Mutex::new(Some(stream)))), sockets }
    }
}

#[pymethods]
impl EventStream {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let stream = Arc::clone(self.stream.get(py)?);
        let (event, _stay) = wait(py, self.sockets, next(stream))?;
        match event {
            Ok(event) => Ok(event.map(|frame| PyBytes::new(py, &frame.payload))),
            Err(error) => {
                // A request that timed out is cancelled.
                self.sockets.settle();
                Err(error::request(py, &error))
            }
        }
    }

    /// Returns the payload of the response, and drops the events that were not taken.
    fn response(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let stream = Arc::clone(self.stream.get(py)?);
        let (ended, _stay) = wait(py, self.sockets, end(stream))?;
        if ended.is_err() {
            self.sockets.settle();
        }
        response(py, ended)
    }

    /// Gives the next event to `future`, or `None` after the last.
    fn start_next(
        &self,
        py: Python<'_>,
        completions: &Bound<'_, Completions>,
        future: Py<PyAny>,
    ) -> PyResult<Call> {
        let stream = Arc::clone(self.stream.get(py)?);
        Completions::start(completions, future, next(stream), |py, event| match event {
            Ok(Some(frame)) => Ok(PyBytes::new(py, &frame.payload).into_any().unbind()),
            Ok(None) => Ok(py.None()),
            Err(error) => Err(error::request(py, &error)),
        })
    }

    /// Gives the response to `future`.
    fn start_response(
        &self,
        py: Python<'_>,
        completions: &Bound<'_, Completions>,
        future: Py<PyAny>,
    ) -> PyResult<Call> {
        let stream = Arc::clone(self.stream.get(py)?);
        Completions::start(completions, future, end(stream), response)
    }

    /// Cancels the request, unless its response was taken.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let stream = Arc::clone(self.stream.get(py)?);
        // A call that was given up may still hold it for a moment.
        self.sockets.runtime.spawn(async move { drop(stream.lock().await.take()) });
        self.sockets.settle();
        Ok(())
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            drop(stream);
            self.sockets.settle();
        }
    }
}

async fn next(stream: Arc<Mutex<Option<AsyncResponseStream>>>) -> Result<Option<Frame>, FrameClientError> {
    match &mut *stream.lock().await {
        Some(stream) => stream.next_event().await,
        None => Ok(None),
    }
}

async fn end(stream: Arc<Mutex<Option<AsyncResponseStream>>>) -> Result<Frame, FrameClientError> {
    match stream.lock().await.take() {
        Some(stream) => stream.response().await,
        None => Err(FrameClientError::NotInFlight),
    }
}
