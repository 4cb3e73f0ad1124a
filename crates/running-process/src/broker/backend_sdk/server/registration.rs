//! The registration of a server that serves already: it identifies its process, writes the identity file, lets the probes
//! be answered that wait for the identity, and calls the daemon's `on_ready`.

use super::callback::{self, Callback};
use super::config::ServeError;
use super::error::ServerError;
use super::hooks::{Detector, Identify, ReadyHook};
use super::policy::ServerPolicy;
use super::stop::ServerStop;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::identity_file::{remove_own_identity_file, write_daemon_identity_file};
use crate::broker::backend_sdk::mux::{BackendEndpointMux, Identification};
use crate::broker::protocol::Endpoint;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The work that makes a server known to clients. It reads the whole executable, so it has a thread of its own.
pub struct Registration {
    pub(super) endpoint: Endpoint,
    pub(super) inherited: bool,
    pub(super) identify: Identify,
    pub(super) identity_file: Option<PathBuf>,
    pub(super) ready: ReadyHook,
    pub(super) mux: Arc<BackendEndpointMux<Detector>>,
    pub(super) state: Arc<Mutex<RegistrationState>>,
}

impl Registration {
    /// Returns the guard that ends the registration.
    #[must_use]
    pub fn guard(&self) -> RegistrationGuard {
        RegistrationGuard(Arc::clone(&self.state))
    }

    /// Registers the server, unless its [`guard`](Self::guard) is dropped before. Then calls `wake`, which wakes every session
    /// that waits for the identity. Stops a server that cannot be registered.
    ///
    /// # Errors
    ///
    /// The process cannot be identified, or the identity file cannot be written.
    pub fn run<H: ?Sized>(
        self,
        stop: &ServerStop,
        policy: &ServerPolicy<H>,
        wake: impl Fn(),
    ) -> Result<(), ServerError> {
        let mux = Arc::clone(&self.mux);
        let registered = catch_unwind(AssertUnwindSafe(|| self.register(policy, &wake)));
        if mux.identification() == Identification::Underway {
            mux.identify(None);
            wake();
        }
        if !matches!(registered, Ok(Ok(()))) {
            stop.stop();
        }
        registered.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn register<H: ?Sized>(self, policy: &ServerPolicy<H>, wake: impl Fn()) -> Result<(), ServerError> {
        let Self { endpoint, inherited, identify, identity_file, ready, mux, state } = self;
        let identified = identify(endpoint, &mut || !lock(&state).ended);
        let mut state = lock(&state);
        if state.ended {
            return Ok(());
        }
        let mut daemon = identified?;
        if inherited {
            daemon = daemon.with_inherited_listener();
        }
        if let Some(path) = identity_file {
            state.identity_file = Some(IdentityFile::write(path, daemon.clone())?);
        }
        drop(state);
        // A client whose probe is answered finds the identity file, too.
        mux.identify(Some(daemon));
        wake();
        if callback::run(|| ready(mux.daemon())).is_none() {
            policy.report(&ServeError::CallbackPanicked { callback: Callback::OnReady });
        }
        Ok(())
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Registration").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The identity file of a server, until the registration has ended.
#[derive(Debug, Default)]
pub(super) struct RegistrationState {
    identity_file: Option<IdentityFile>,
    ended: bool,
}

fn lock(state: &Mutex<RegistrationState>) -> MutexGuard<'_, RegistrationState> {
    // No code that can panic runs between two changes of it.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the registration of a server when it is dropped: the identity file is removed, and none is written any more.
///
/// It is dropped before the listener. While the socket is still owned, no younger daemon can have written the file at the path.
#[derive(Debug)]
pub struct RegistrationGuard(Arc<Mutex<RegistrationState>>);

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.ended = true;
        state.identity_file = None;
    }
}

/// An identity file, removed when this is dropped if it is still this daemon's.
#[derive(Debug)]
struct IdentityFile {
    path: PathBuf,
    daemon: DaemonProcess,
}

impl IdentityFile {
    fn write(path: PathBuf, daemon: DaemonProcess) -> Result<Self, ServerError> {
        match write_daemon_identity_file(&path, &daemon) {
            Ok(()) => Ok(Self { path, daemon }),
            Err(source) => Err(ServerError::IdentityFile { path, source }),
        }
    }
}

impl Drop for IdentityFile {
    fn drop(&mut self) {
        // A file that stays behind names a process that has ended, which every client notices.
        let _best_effort = remove_own_identity_file(&self.path, &self.daemon);
    }
}
