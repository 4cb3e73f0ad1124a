//! The registration of a server that serves already: it identifies its process, writes the identity file, lets the probes
//! be answered that wait for the identity, and calls the daemon's `on_ready`.

use super::callback::{self, Callback};
use super::config::ServeError;
use super::error::ServerError;
use super::hooks::{Detector, Identify, ReadyHook};
use super::lifecycle::Lifecycle;
use super::policy::ServerPolicy;
use super::publication::Publication;
use super::registration_state::{IdentityFile, RegistrationState, lock};
use super::stop::ServerStop;
use crate::broker::backend_sdk::mux::{BackendEndpointMux, Identification};
use crate::broker::protocol::Endpoint;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The work that makes a server known to clients. It reads the whole executable, so it has a thread of its own.
pub struct Registration {
    pub(super) endpoint: Endpoint,
    pub(super) inherited: bool,
    pub(super) version: Option<String>,
    pub(super) build: Option<String>,
    pub(super) identify: Identify,
    pub(super) identity_file: Option<PathBuf>,
    pub(super) lifecycle: Option<Arc<dyn Lifecycle>>,
    pub(super) ready: ReadyHook,
    pub(super) mux: Arc<BackendEndpointMux<Detector>>,
    pub(super) state: Arc<Mutex<RegistrationState>>,
}

impl Registration {
    /// Returns the guard that ends the registration.
    #[must_use]
    pub fn guard(&self) -> RegistrationGuard {
        RegistrationGuard { state: Arc::clone(&self.state), lifecycle: self.lifecycle.clone() }
    }

    /// Returns the files by which clients find the server.
    pub(super) fn publication(&self) -> Publication {
        let (path, state) = (self.endpoint.path.clone(), Arc::clone(&self.state));
        Publication { path, state, lifecycle: self.lifecycle.clone() }
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
        let Self {
            endpoint,
            inherited,
            version,
            build,
            identify,
            identity_file,
            lifecycle,
            ready,
            mux,
            state,
        } = self;
        let identified = identify(endpoint, &|| !lock(&state).ended);
        let mut state = lock(&state);
        if state.ended {
            return Ok(());
        }
        let mut daemon = identified?;
        if inherited {
            daemon = daemon.with_inherited_listener();
        }
        if let Some(version) = version {
            daemon = daemon.with_version(version)?;
        }
        if let Some(build) = build {
            daemon = daemon.with_build(build)?;
        }
        let publishes = || lifecycle.as_ref().map_or(Ok(()), |lifecycle| lifecycle.publishes());
        match identity_file {
            Some(path) => state.identity_file = Some(IdentityFile::write(path, daemon.clone(), publishes)?),
            None => publishes().map_err(ServerError::NotPublished)?,
        }
        drop(state);
        // A client whose probe is answered finds the identity file, too.
        mux.identify(Some(daemon));
        wake();
        if lifecycle.is_some_and(|lifecycle| !lifecycle.ready(mux.daemon())) {
            return Ok(());
        }
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

/// Ends the registration of a server when it is dropped: the identity file is removed, and none is written any more.
///
/// It is dropped before the listener. Of a service it waits until a handover under way is over, which takes up to 6 s if the
/// successor cannot be killed at once. While the socket is still owned, no younger daemon can have written the file at the path.
pub struct RegistrationGuard {
    state: Arc<Mutex<RegistrationState>>,
    lifecycle: Option<Arc<dyn Lifecycle>>,
}

impl fmt::Debug for RegistrationGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RegistrationGuard").finish_non_exhaustive()
    }
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.drains();
        }
        let mut state = lock(&self.state);
        state.ended = true;
        state.identity_file = None;
    }
}
