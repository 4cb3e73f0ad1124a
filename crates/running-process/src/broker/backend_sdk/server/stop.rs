use super::sync::{Mutex, MutexGuard};
use std::fmt;
use std::sync::{Arc, PoisonError};

/// Stops a server from anywhere; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ServerStop(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stopped: bool,
    /// What the running server does about it.
    effect: Option<Box<dyn FnOnce() + Send>>,
}

impl ServerStop {
    /// Stops the server: no more connections, and every open one ends once what it has received is answered. Returns
    /// at once; may be called any number of times, also before the server runs.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        let effect = state.effect.take();
        drop(state);
        if let Some(effect) = effect {
            effect();
        }
    }

    /// Whether the server was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Calls `effect` when the server is stopped, at once if it was. It replaces any effect that was set before, and runs
    /// on the thread that stops the server: a driver wakes its event loop.
    pub fn when_stopped(&self, effect: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        if state.stopped {
            drop(state);
            effect();
        } else {
            state.effect = Some(Box::new(effect));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing else runs while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the server when it is dropped.
pub(super) struct StopGuard(ServerStop);

impl StopGuard {
    pub(super) fn new(stop: ServerStop) -> Self {
        Self(stop)
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").field("stopped", &self.stopped).finish_non_exhaustive()
    }
}
