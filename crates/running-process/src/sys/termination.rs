//! Requests to end this process.

mod actions;
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd"))]
#[path = "termination/signals.rs"]
mod imp;
#[cfg(windows)]
#[path = "termination/console.rs"]
mod imp;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "freebsd",
    windows
)))]
#[path = "termination/unsupported.rs"]
mod imp;

use std::io;
use std::sync::Arc;

/// Runs an action for each request to end this process, until it is dropped.
///
/// [`Server::stop_on_signals`](crate::broker::backend_sdk::Server::stop_on_signals) uses it. Programs with an event loop of
/// their own use it directly.
///
/// # Platform-specific behavior
///
/// On Unix the requests are SIGTERM, SIGINT and SIGHUP. A signal that is ignored, as under `nohup`, or that other code of this
/// process handles is left as it is. On Windows the requests are those of the console: Ctrl-C, Ctrl-Break, and the end of the
/// console, of the session and of the system.
#[derive(Debug)]
pub struct OnTermination {
    id: u64,
}

impl OnTermination {
    /// Runs `action` at each request, on a thread of this library, or on Windows of the system.
    ///
    /// # Errors
    ///
    /// The error of making a pipe or a thread, or of setting the handler;
    /// [`Unsupported`](std::io::ErrorKind::Unsupported) on Unix systems other than Linux, macOS and FreeBSD.
    pub fn new(action: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let mut actions = actions::lock();
        imp::enable(actions.is_empty())?;
        Ok(Self { id: actions.add(Arc::new(action)) })
    }
}

/// Gives requests their default effect again when the last action is removed.
impl Drop for OnTermination {
    fn drop(&mut self) {
        let mut actions = actions::lock();
        let action = actions.remove(self.id);
        if actions.is_empty() {
            imp::disable();
        }
        drop(actions);
        // The action may own anything, so it is dropped without the lock.
        drop(action);
    }
}
