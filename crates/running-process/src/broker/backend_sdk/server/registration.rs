//! How a server becomes known while it serves already: it identifies its process, writes the record, answers the probes
//! that wait for that, and tells the daemon.

use super::callback::{self, Callback};
use super::config::ServerTrouble;
use super::error::ServerError;
use super::hooks::{Detector, Identify, ReadyHook};
use super::stop::ServerStop;
use super::telemetry::Observation;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::identity_file::{remove_own_identity_file, write_daemon_identity_file};
use crate::broker::backend_sdk::mux::{BackendEndpointMux, Identification};
use crate::broker::protocol::Endpoint;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is to be done for clients to find a server. It reads the whole executable, so it has a thread of its own.
pub(in super::super) struct Introduction {
    pub(super) endpoint: Endpoint,
    pub(super) inherited: bool,
    pub(super) identify: Identify,
    pub(super) record: Option<PathBuf>,
    pub(super) ready: ReadyHook,
    pub(super) mux: Arc<BackendEndpointMux<Detector>>,
    pub(super) visible: Arc<Mutex<Visible>>,
}

impl Introduction {
    /// What ends with the server.
    pub(in super::super) fn presence(&self) -> Presence {
        Presence(Arc::clone(&self.visible))
    }

    /// Does it, unless the [`Presence`] ends before. `wake` has every connection see that the identification has ended. If
    /// the server cannot become known, it is stopped.
    pub(in super::super) fn run(
        self,
        stop: &ServerStop,
        observation: &Observation,
        wake: impl Fn(),
    ) -> Result<(), ServerError> {
        let mux = Arc::clone(&self.mux);
        let introduced = catch_unwind(AssertUnwindSafe(|| self.introduce(observation, &wake)));
        if mux.identification() == Identification::Underway {
            mux.identify(None);
            wake();
        }
        if !matches!(introduced, Ok(Ok(()))) {
            stop.stop();
        }
        introduced.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn introduce(self, observation: &Observation, wake: impl Fn()) -> Result<(), ServerError> {
        let Self { endpoint, inherited, identify, record, ready, mux, visible } = self;
        let identified = identify(endpoint, &mut || !lock(&visible).ended);
        let mut visible = lock(&visible);
        if visible.ended {
            return Ok(());
        }
        let mut daemon = identified?;
        if inherited {
            daemon = daemon.with_inherited_listener();
        }
        if let Some(path) = record {
            visible.record = Some(Record::write(path, daemon.clone())?);
        }
        drop(visible);
        // Whose probe is answered finds the record, too.
        mux.identify(Some(daemon));
        wake();
        if callback::run(|| ready(mux.daemon())).is_none() {
            observation.trouble(&ServerTrouble::CallbackPanicked { callback: Callback::OnReady });
        }
        Ok(())
    }
}

/// What there is of a server to be found, besides its socket.
#[derive(Default)]
pub(super) struct Visible {
    record: Option<Record>,
    /// There will be no more.
    ended: bool,
}

fn lock(visible: &Mutex<Visible>) -> MutexGuard<'_, Visible> {
    // Nothing is ever half done in it.
    visible.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That a server can be found. Once it is dropped there is no record, and none will come.
///
/// It is dropped before the listener: only while the socket is still owned, or the service manager starts no second
/// daemon, can the record at the path be no other daemon's but an older one's.
pub(in super::super) struct Presence(Arc<Mutex<Visible>>);

impl Drop for Presence {
    fn drop(&mut self) {
        let mut visible = lock(&self.0);
        visible.ended = true;
        visible.record = None;
    }
}

/// The identity file, removed when dropped if it is still this daemon's.
pub(super) struct Record {
    path: PathBuf,
    daemon: DaemonProcess,
}

impl Record {
    fn write(path: PathBuf, daemon: DaemonProcess) -> Result<Self, ServerError> {
        match write_daemon_identity_file(&path, &daemon) {
            Ok(()) => Ok(Self { path, daemon }),
            Err(source) => Err(ServerError::Record { path, source }),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // A file that stays behind names a dead process, which every client notices.
        let _best_effort = remove_own_identity_file(&self.path, &self.daemon);
    }
}

#[cfg(test)]
mod tests;
