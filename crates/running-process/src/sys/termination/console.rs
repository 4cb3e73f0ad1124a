//! The console's requests to end this process.

#![allow(unsafe_code)]

use std::io;
use std::sync::{Condvar, PoisonError};
use std::time::Duration;

use super::actions;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

/// Longest time for which a handler keeps the system from ending this process. The system has limits of its own: five
/// seconds when a console closes (`HandlerRoutine`).
const LONGEST_END: Duration = Duration::from_secs(20);

/// Notified when the last action is removed.
static NO_ACTIONS: Condvar = Condvar::new();

/// Sets the handler for the `first` action.
pub(super) fn enable(first: bool) -> io::Result<()> {
    // SAFETY: `handle` has the type that is asked for and may be called at any time, from any thread.
    if first && unsafe { SetConsoleCtrlHandler(Some(handle), 1) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Removes the handler. The caller holds the lock of the actions, of which there are none left.
pub(super) fn disable() {
    // SAFETY: it takes back what `enable` did. It fails only for a handler that is not set.
    unsafe { SetConsoleCtrlHandler(Some(handle), 0) };
    NO_ACTIONS.notify_all();
}

/// Runs the actions. At the end of the console, the session or the system, also waits until they are removed: the system ends
/// this process once this returns.
unsafe extern "system" fn handle(event: u32) -> BOOL {
    let ends = matches!(event, CTRL_CLOSE_EVENT | CTRL_LOGOFF_EVENT | CTRL_SHUTDOWN_EVENT);
    if !ends && !matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT) {
        return 0;
    }
    actions::run_all();
    if ends {
        let waited =
            NO_ACTIONS.wait_timeout_while(actions::lock(), LONGEST_END, |actions| !actions.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
    1
}
