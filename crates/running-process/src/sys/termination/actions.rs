//! The actions of this process that run at a request to end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) type Action = Arc<dyn Fn() + Send + Sync>;

static ACTIONS: Mutex<Actions> = Mutex::new(Actions { entries: Vec::new(), next_id: 0 });

pub(super) struct Actions {
    entries: Vec<(u64, Action)>,
    next_id: u64,
}

impl Actions {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds `action`, and returns the id by which it is removed.
    pub(super) fn add(&mut self, action: Action) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.entries.push((id, action));
        id
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Action> {
        let position = self.entries.iter().position(|(known, _)| *known == id)?;
        Some(self.entries.swap_remove(position).1)
    }
}

pub(super) fn lock() -> MutexGuard<'static, Actions> {
    // No code that can panic changes it halfway.
    ACTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs all actions, without the lock.
#[cfg_attr(
    not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "freebsd",
        windows
    )),
    allow(dead_code, reason = "no request is noticed")
)]
pub(super) fn run_all() {
    let actions: Vec<_> = lock().entries.iter().map(|(_, action)| Arc::clone(action)).collect();
    for action in actions {
        action();
    }
}
