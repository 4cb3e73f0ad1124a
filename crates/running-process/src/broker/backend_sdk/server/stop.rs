use super::phase::Phase;
use super::sync::{Mutex, MutexGuard};
use std::fmt;
use std::sync::{Arc, PoisonError};

/// Stops a server from anywhere, or hands it over to its successor; cheap to clone.
///
/// ```
/// # #[cfg(unix)] {
/// use running_process::{Endpoint, FrameClient, Server};
///
/// let directory = tempfile::tempdir()?;
/// let socket = directory.path().join("socket").into_os_string().into_string().unwrap();
/// let server = Server::bind(Endpoint::unix_socket("echo", &socket)?)?
///     .serve(0xF00D, |request| Ok(request.payload().to_vec()));
/// let stop = server.stop_handle();
/// let running = std::thread::spawn(|| server.run());
///
/// let mut client = FrameClient::connect(&Endpoint::unix_socket("echo", &socket)?)?;
/// assert_eq!(client.request(0xF00D, b"ping")?.payload, b"ping");
/// stop.stop(); // ends each connection once what it has received is answered
/// running.join().unwrap()?;
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ServerStop(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    stopped: bool,
    handed_over: bool,
    /// The effect of the end on the running server.
    effect: Option<Arc<dyn Fn() + Send + Sync>>,
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

    /// Ends the server because another process serves its endpoint now: no more connections. Files and names that belong to the
    /// other process by now, as after the handover of a service's daemon, are not removed; those that are still this server's are.
    /// The open connections are served on, and clients that can follow are told once to
    /// [move](super::ServerSession::enter). The server ends with its last connection, and drains shortly before
    /// [`drain_timeout`](super::ServerConfig::drain_timeout) is over. A later [`stop`](Self::stop) makes it drain at once.
    pub fn hand_over(&self) {
        let mut state = self.state();
        state.handed_over = true;
        let effect = state.effect.clone();
        drop(state);
        if let Some(effect) = effect {
            effect();
        }
    }

    /// Returns whether the server was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Returns whether the server was handed over, also if it was stopped afterwards.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.state().handed_over
    }

    /// Returns the phase that the server has come to: [`Phase::Serving`], [`Phase::HandedOver`], or [`Phase::Draining`] once it
    /// was stopped.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match *self.state() {
            State { stopped: true, .. } => Phase::Draining,
            State { handed_over: true, .. } => Phase::HandedOver,
            State { .. } => Phase::Serving,
        }
    }

    /// Calls `effect` when the server is stopped, and when it is handed over before that; at once if one of both has happened.
    /// It replaces any effect that was set before, and runs on the thread that ends the server: a driver wakes its event
    /// loop, which looks at the [phase](Self::phase).
    pub fn when_stopped(&self, effect: impl Fn() + Send + Sync + 'static) {
        let mut state = self.state();
        let ends = state.stopped || state.handed_over;
        let effect: Arc<dyn Fn() + Send + Sync> = Arc::new(effect);
        if !state.stopped {
            state.effect = Some(Arc::clone(&effect));
        }
        drop(state);
        if ends {
            effect();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing else runs while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the server when it is dropped.
pub(super) struct StopGuard(Option<ServerStop>);

impl StopGuard {
    pub(super) fn new(stop: ServerStop) -> Self {
        Self(Some(stop))
    }

    /// Lets the server go on.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.stop();
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("State")
            .field("stopped", &self.stopped)
            .field("handed_over", &self.handed_over)
            .finish_non_exhaustive()
    }
}
