//! The console's requests to end this process.

#![allow(unsafe_code)]

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

/// Longest time for which a handler keeps the system from ending this process. The system has limits of its own: five
/// seconds when a console closes (`HandlerRoutine`).
const LONGEST_END: Duration = Duration::from_secs(20);

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { actions: Vec::new(), next_id: 0 });
/// Notified when the last action is gone.
static ENDED: Condvar = Condvar::new();

type Action = Arc<dyn Fn() + Send + Sync>;

struct Registry {
    actions: Vec<(u64, Action)>,
    next_id: u64,
}

fn registry() -> MutexGuard<'static, Registry> {
    // Nothing that can panic changes it halfway.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs an action for each request to end this process, until it is dropped.
///
/// [`Server::stop_on_signals`](crate::broker::backend_sdk::Server::stop_on_signals) is made of it; programs with an event
/// loop of their own use it directly.
///
/// # Platform-specific behavior
///
/// On Unix the requests are SIGTERM, SIGINT and SIGHUP. One that is ignored, as under `nohup`, or that this process handles by
/// itself is left as it is. On Windows they are those of the console. On Unix systems other than Linux, macOS and FreeBSD
/// making one is [`Unsupported`](std::io::ErrorKind::Unsupported).
#[derive(Debug)]
pub struct OnTermination {
    id: u64,
}

impl OnTermination {
    /// Runs `action` on a thread of the system's for Ctrl-C and Ctrl-Break, and when the console closes, the user logs off or
    /// the system ends.
    ///
    /// # Errors
    ///
    /// The handler could not be registered.
    pub fn new(action: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let mut registry = registry();
        if registry.actions.is_empty() {
            // SAFETY: `handle` has the type that is asked for and may be called at any time, from any thread.
            if unsafe { SetConsoleCtrlHandler(Some(handle), 1) } == 0 {
                return Err(io::Error::last_os_error());
            }
        }
        let id = registry.next_id;
        registry.next_id += 1;
        registry.actions.push((id, Arc::new(action)));
        Ok(Self { id })
    }
}

/// With the last action the console's requests have their default effect again.
impl Drop for OnTermination {
    fn drop(&mut self) {
        let mut registry = registry();
        let position = registry.actions.iter().position(|(id, _)| *id == self.id);
        let action = position.map(|position| registry.actions.swap_remove(position));
        if registry.actions.is_empty() {
            // SAFETY: it takes back what `new` did. It fails only for a handler that is not set.
            unsafe { SetConsoleCtrlHandler(Some(handle), 0) };
            ENDED.notify_all();
        }
        drop(registry);
        // The action may own anything, so it is dropped without the lock.
        drop(action);
    }
}

unsafe extern "system" fn handle(event: u32) -> BOOL {
    let ends = matches!(event, CTRL_CLOSE_EVENT | CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT);
    if !ends && !matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT) {
        return 0;
    }
    let actions: Vec<_> = registry().actions.iter().map(|(_, action)| Arc::clone(action)).collect();
    for action in actions {
        action();
    }
    if ends {
        // The system ends this process once this returns.
        let waited =
            ENDED.wait_timeout_while(registry(), LONGEST_END, |registry| !registry.actions.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
    1
}
