//! A thread beside the tasks.

use crate::broker::backend_sdk::server::background;
use std::io;
use std::thread;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The result of the work of a thread, or its panic.
pub(super) type Background<T> = oneshot::Receiver<thread::Result<T>>;

/// Runs `work` on a thread of its own, which belongs to the runtime. It is no job for `spawn_blocking`: a runtime that ends waits
/// for its jobs, and it panics if it cannot make a thread.
///
/// # Errors
///
/// No thread can be made.
pub(super) fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Background<T>> {
    let ((give, result), runtime) = (oneshot::channel(), Handle::current());
    let work = move || {
        let _runtime = runtime.enter();
        work()
    };
    // The receiver may be gone already.
    background::spawn(work, move |result| drop(give.send(result)))?;
    Ok(result)
}
