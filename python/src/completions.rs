//! Results for the futures of one event loop of asyncio.
//!
//! The thread that drives the sockets puts a result into a queue, and wakes the event loop by a descriptor if the queue was empty. The event loop then
//! takes all that are there. So that thread never waits for the interpreter's lock, and a burst of results is one wake-up.

use crate::process_bound::ProcessBound;
use crate::runtime::sockets;
use crate::wait::{Stay, wait};
use pyo3::prelude::*;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Makes the result of a future.
type Outcome = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// The results for one event loop, and the futures that wait for them.
#[pyclass(frozen)]
pub(crate) struct Completions {
    queue: ProcessBound<Arc<Queue>>,
    futures: Mutex<HashMap<u64, Py<PyAny>>>,
    next: AtomicU64,
}

/// The results that wait for the event loop.
struct Queue {
    results: Mutex<Results>,
    arrived: Notify,
    wake: Wake,
}

#[derive(Default)]
struct Results {
    waiting: Vec<(u64, Outcome)>,
    is_closed: bool,
}

#[pymethods]
impl Completions {
    #[new]
    fn new() -> PyResult<Self> {
        let (results, arrived) = (Mutex::default(), Notify::new());
        let queue = Arc::new(Queue { results, arrived, wake: Wake::new()? });
        Ok(Self { queue: ProcessBound::new(queue), futures: Mutex::default(), next: AtomicU64::default() })
    }

    /// The descriptor that is readable while results wait; `None` if this system has none.
    fn fileno(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        Ok(self.queue.get(py)?.wake.descriptor())
    }

    /// Gives the results that wait to their futures.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let _stay = Stay::begin(py)?;
        let queue = self.queue.get(py)?;
        queue.wake.clear();
        let waiting = std::mem::take(&mut lock(&queue.results).waiting);
        for (number, outcome) in waiting {
            let Some(future) = lock(&self.futures).remove(&number) else { continue };
            let future = future.bind(py);
            if future.call_method0("done")?.extract()? {
                continue;
            }
            match outcome(py) {
                Ok(result) => future.call_method1("set_result", (result,))?,
                Err(error) => future.call_method1("set_exception", (error,))?,
            };
        }
        Ok(())
    }

    /// Waits until results are there; `False` once this is closed.
    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        let queue = self.queue.get(py)?;
        let arrived = async {
            loop {
                let arrived = queue.arrived.notified();
                if let Some(arrived) = queue.has_arrived() {
                    return arrived;
                }
                arrived.await;
            }
        };
        let (has_arrived, _stay) = wait(py, sockets(py)?, arrived)?;
        Ok(has_arrived)
    }

    /// Ends `wait`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.queue.get(py)?;
        lock(&queue.results).is_closed = true;
        queue.arrived.notify_waiters();
        Ok(())
    }
}

impl Completions {
    /// Runs `work` on the runtime, and gives its output to `future` as `convert` makes it.
    pub(crate) fn start<T: Send + 'static>(
        this: &Bound<'_, Self>,
        future: Py<PyAny>,
        work: impl Future<Output = T> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Call> {
        let (py, own) = (this.py(), this.get());
        let queue = Arc::clone(own.queue.get(py)?);
        let sockets = sockets(py)?;
        sockets.drive()?;
        let number = own.next.fetch_add(1, Ordering::Relaxed);
        lock(&own.futures).insert(number, future);
        let task = sockets.runtime.spawn(async move {
            let output = work.await;
            queue.push(number, Box::new(move |py| convert(py, output)));
        });
        let task = ProcessBound::new(task.abort_handle());
        Ok(Call { completions: this.clone().unbind(), number, task })
    }
}

impl Queue {
    /// Returns whether results wait, or `None` if there may be some later.
    fn has_arrived(&self) -> Option<bool> {
        let results = lock(&self.results);
        let is_decided = results.is_closed || !results.waiting.is_empty();
        is_decided.then_some(!results.is_closed)
    }

    fn push(&self, number: u64, outcome: Outcome) {
        let mut results = lock(&self.results);
        let is_first = results.waiting.is_empty();
        results.waiting.push((number, outcome));
        drop(results);
        if is_first {
            self.arrived.notify_waiters();
            self.wake.wake();
        }
    }
}

/// Work on the runtime, for a future.
#[pyclass(frozen)]
pub(crate) struct Call {
    completions: Py<Completions>,
    number: u64,
    task: ProcessBound<AbortHandle>,
}

#[pymethods]
impl Call {
    /// Drops the work, which cancels a request on the wire, and forgets the future.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        self.task.get(py)?.abort();
        lock(&self.completions.get().futures).remove(&self.number);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
use unix::Wake;

#[cfg(unix)]
mod unix {
    use super::io;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// A descriptor that is readable after a wake-up.
    pub(super) struct Wake {
        reader: UnixStream,
        writer: UnixStream,
    }

    impl Wake {
        pub(super) fn new() -> io::Result<Self> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok(Self { reader, writer })
        }

        #[expect(clippy::unnecessary_wraps, reason = "not every system has one")]
        pub(super) fn descriptor(&self) -> Option<i32> {
            Some(self.reader.as_raw_fd())
        }

        pub(super) fn wake(&self) {
            // It cannot fail but for a full buffer, and then the descriptor is readable.
            let _full = (&self.writer).write(&[0]);
        }

        pub(super) fn clear(&self) {
            let mut bytes = [0; 64];
            while matches!((&self.reader).read(&mut bytes), Ok(read) if read == bytes.len()) {}
        }
    }
}

/// No descriptor: a thread waits for the results.
#[cfg(not(unix))]
struct Wake;

#[cfg(not(unix))]
impl Wake {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    fn descriptor(&self) -> Option<i32> {
        None
    }

    fn wake(&self) {}

    fn clear(&self) {}
}
