//! A thread beside the server, such as for work that writes files.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Runs `work` on a thread of its own, which passes the result, or the panic, to `tell`.
///
/// # Errors
///
/// No thread can be made.
pub(super) fn spawn<T>(
    work: impl FnOnce() -> T + Send + 'static,
    tell: impl FnOnce(thread::Result<T>) + Send + 'static,
) -> io::Result<()> {
    let run = move || tell(catch_unwind(AssertUnwindSafe(work)));
    thread::Builder::new().name("running-process".to_owned()).spawn(run).map(drop)
}
