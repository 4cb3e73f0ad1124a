//! A daemon between its predecessor and its successor.

use super::control;
use super::shared::{Phase, Shared, State};
use super::successor::Endpoint;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_sdk::{HandoverHooks, ServerStop};
use crate::broker::service::held::held;
use crate::broker::service::paths::ServicePaths;
use crate::transport::{HeldLock, InstanceLock, LocalListener};
use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

/// Longest wait for a hook at the end of the daemon.
const HOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// The daemon's part in handovers: it may get its endpoint by one, and may give it away by another.
pub(in crate::broker::service) struct Succession(Arc<Shared>);

impl Succession {
    /// Returns the part of a daemon that has taken its endpoint by itself. The `lock` is there until the daemon gives it up. A
    /// successor may take `start_timeout` to publish itself.
    pub(in crate::broker::service) fn first(
        paths: &ServicePaths,
        listener: &LocalListener,
        lock: &Arc<Mutex<Option<HeldLock>>>,
        start_timeout: Duration,
        replacing: Option<InstanceLock>,
    ) -> Self {
        Self::new(paths, listener, lock, start_timeout, Phase::Holding, replacing)
    }

    /// Returns the part of a daemon that has got its endpoint from another one.
    pub(in crate::broker::service) fn of_successor(
        paths: &ServicePaths,
        taken: Endpoint,
        lock: &Arc<Mutex<Option<HeldLock>>>,
        start_timeout: Duration,
    ) -> (Self, LocalListener) {
        let Endpoint { listener, predecessor, replacing, .. } = taken;
        let phase = Phase::Taking(Box::new(predecessor));
        (Self::new(paths, &listener, lock, start_timeout, phase, Some(replacing)), listener)
    }

    fn new(
        paths: &ServicePaths,
        listener: &LocalListener,
        lock: &Arc<Mutex<Option<HeldLock>>>,
        start_timeout: Duration,
        phase: Phase,
        replacing: Option<InstanceLock>,
    ) -> Self {
        let state = State {
            phase,
            ends: false,
            identity: None,
            control: None,
            hook_runs: false,
            answers: false,
            replacing,
        };
        Self(Arc::new(Shared {
            paths: paths.clone(),
            socket: listener.shared_socket(),
            lock: Arc::clone(lock),
            start_timeout,
            stop: OnceLock::new(),
            hooks: Mutex::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }))
    }

    /// Sets what ends the server once the endpoint was handed over.
    pub(in crate::broker::service) fn stops(&self, stop: ServerStop) {
        let _set_once = self.0.stop.set(stop);
    }

    pub(in crate::broker::service) fn set_hooks(&self, hooks: HandoverHooks) {
        *held(&self.0.hooks) = hooks;
    }

    /// Prepares the rename of the identity file by which this process takes over: from now on the system names it to clients that
    /// connect.
    ///
    /// # Errors
    ///
    /// The predecessor goes on, or the daemon's files are not in place.
    pub(in crate::broker::service) fn publishes(&self) -> io::Result<()> {
        let mut state = self.0.state();
        if state.ends {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let Phase::Taking(predecessor) = &mut state.phase {
            let is_alone = predecessor.has_ended()?;
            self.0.listen_again()?;
            if !self.0.is_in_place() {
                let message = "the lock or the socket of the service was removed during the handover";
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            }
            if !is_alone {
                return Ok(());
            }
            self.0.own();
            state.phase = Phase::Holding;
        }
        // A client that reads the identity file finds the control socket.
        let _best_effort = self.0.open_control(&mut state);
        Ok(())
    }

    /// Lets the predecessor go, now that the identity file names this process, and listens for successors. Returns `false` if the
    /// predecessor goes on, or a file was removed meanwhile: then this server is stopped.
    pub(in crate::broker::service) fn ready(&self, identity: &DaemonProcess) -> bool {
        let mut state = self.0.state();
        if state.ends {
            return true;
        }
        state.identity = Some(identity.clone());
        if let Phase::Taking(predecessor) = &mut state.phase {
            if !predecessor.leaves() {
                self.0.give_up(&mut state);
                drop(state);
                self.0.stop.get().inspect(|stop| stop.stop());
                return false;
            }
            self.0.own();
            state.phase = Phase::Holding;
            if !self.0.is_complete() {
                // The removal came before this process watched for it as the owner. The next client starts a daemon.
                drop(state);
                self.0.stop.get().inspect(|stop| stop.stop());
                return false;
            }
        }
        // Without it the daemon is stopped before its successor is started.
        let _best_effort = self.0.open_control(&mut state);
        (state.replacing, state.answers) = (None, true);
        if let Some(control) = &state.control {
            control::listen_at(&self.0, control);
        }
        true
    }

    /// Ends a handover that would get files which are about to be made again, and makes the control socket again if it is gone.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`]: the directory is gone again.
    pub(in crate::broker::service) fn prepare(&self) -> io::Result<()> {
        let is_complete = self.0.is_complete();
        let mut state = self.0.state();
        if !is_complete {
            state = self.0.abort(state);
        }
        let is_open = state.control.as_ref().is_some_and(|control| control.is_in_place());
        if is_open || state.ends || !state.answers || !matches!(state.phase, Phase::Holding) {
            return Ok(());
        }
        state.control.take().inspect(|control| control.end());
        match self.0.open_control(&mut state) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            Err(_) => Ok(()),
            Ok(()) => {
                state.control.as_ref().inspect(|control| control::listen_at(&self.0, control));
                Ok(())
            }
        }
    }

    /// Calls `write`, which writes the identity file that was removed, unless the endpoint is another process's. Returns whether
    /// it was written. The former daemon's would send clients to a process that accepts nothing more.
    ///
    /// # Errors
    ///
    /// That of `write`; [`io::ErrorKind::NotFound`] while a handover is under way, which [`prepare`](Self::prepare) ends.
    pub(in crate::broker::service) fn write_again(
        &self,
        write: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<bool> {
        let state = self.0.state();
        match state.phase {
            Phase::Holding => write().map(|()| true),
            Phase::Passed { .. } => Err(io::ErrorKind::NotFound.into()),
            Phase::Taking(_) | Phase::Left => Ok(false),
        }
    }

    /// Ends the part of a daemon that ends: its successor, if that is not published yet, is ended as well. A successor that is not
    /// published leaves the endpoint to its predecessor.
    pub(in crate::broker::service) fn ends(&self) {
        let mut state = self.0.state();
        state.ends = true;
        state = self.0.abort(state);
        match state.phase {
            Phase::Taking(_) => self.0.give_up(&mut state),
            Phase::Holding => drop(state.control.take().inspect(|control| control.end())),
            Phase::Passed { .. } | Phase::Left => {}
        }
    }

    /// Waits for a hook that runs while the daemon ends, for a while: until then the lock and the process are needed.
    pub(in crate::broker::service) fn wait_hook(&self) {
        self.0.wait_hook(HOOK_TIMEOUT);
    }
}
