//! The state of a daemon's endpoint, which the server and the thread of the control socket share.

use super::control_socket::ControlSocket;
use super::predecessor::Predecessor;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_sdk::{HandoverHooks, ServerStop};
use crate::broker::service::held::held;
use crate::broker::service::paths::ServicePaths;
use crate::transport::{HeldLock, InstanceLock, SharedSocket, StopSignal};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub(super) struct Shared {
    pub(super) paths: ServicePaths,
    /// `None` if the listener has no name of its own.
    pub(super) socket: Option<SharedSocket>,
    pub(super) lock: Arc<Mutex<Option<HeldLock>>>,
    /// Longest time for which a successor may take to publish itself.
    pub(super) start_timeout: Duration,
    pub(super) stop: OnceLock<ServerStop>,
    /// Locked while one of them runs, by the thread of the control socket.
    pub(super) hooks: Mutex<HandoverHooks>,
    pub(super) state: Mutex<State>,
    /// The [phase](State::phase) has changed from [`Phase::Passed`], or a [hook](State::hook_runs) has returned.
    pub(super) changed: Condvar,
}

pub(super) struct State {
    pub(super) phase: Phase,
    /// The daemon ends, or has ended.
    pub(super) ends: bool,
    pub(super) identity: Option<DaemonProcess>,
    pub(super) control: Option<Arc<ControlSocket>>,
    /// The thread of the control socket runs a hook, and holds the lock meanwhile.
    pub(super) hook_runs: bool,
    /// Successors are answered from now on.
    pub(super) answers: bool,
    /// The lock of the replacement by which this process was started, until the daemon serves.
    pub(super) replacing: Option<InstanceLock>,
}

pub(super) enum Phase {
    /// This process has the descriptors, and the predecessor can still end it.
    Taking(Box<Predecessor>),
    /// The endpoint is this process's alone.
    Holding,
    /// A successor has the descriptors. The signal makes the thread of the control socket end it.
    Passed { abort: StopSignal },
    /// The endpoint is the successor's.
    Left,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        held(&self.state)
    }

    pub(super) fn listen_again(&self) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), SharedSocket::listen_again)
    }

    /// Notes that the handover is over, which [`Phase::Passed`] was.
    pub(super) fn enter(&self, state: &mut State, phase: Phase) {
        state.phase = phase;
        self.changed.notify_all();
    }

    /// Runs `hook`, unless the daemon ends. Meanwhile this process keeps the lock, so that no other daemon gets what the hook still
    /// has.
    pub(super) fn run_hook<T>(&self, hook: impl FnOnce(&mut HandoverHooks) -> T) -> Option<T> {
        let mut state = self.state();
        if state.ends {
            return None;
        }
        state.hook_runs = true;
        drop(state);
        let lock = held(&self.lock).clone();
        let result = hook(&mut held(&self.hooks));
        let mut state = self.state();
        drop(lock);
        state.hook_runs = false;
        self.changed.notify_all();
        Some(result)
    }

    /// Waits until no hook runs, but no longer than `timeout`. After the [end](State::ends) none begins.
    pub(super) fn wait_hook(&self, timeout: Duration) {
        let waited = self.changed.wait_timeout_while(self.state(), timeout, |state| state.hook_runs);
        drop(waited);
    }

    /// Returns whether the lock and the socket are the ones at their paths.
    pub(super) fn is_in_place(&self) -> bool {
        held(&self.lock).as_ref().is_some_and(HeldLock::is_in_place)
            && self.socket.as_ref().is_none_or(SharedSocket::is_in_place)
    }

    /// Returns whether the identity file is there as well.
    pub(super) fn is_complete(&self) -> bool {
        self.is_in_place() && self.paths.identity_file().symlink_metadata().is_ok()
    }

    /// Makes this process the owner of the endpoint.
    pub(super) fn own(&self) {
        held(&self.lock).as_ref().inspect(|lock| lock.own());
    }

    /// Leaves the endpoint to the predecessor.
    pub(super) fn give_up(&self, state: &mut State) {
        held(&self.lock).as_ref().inspect(|lock| lock.leave());
        (state.phase, state.replacing) = (Phase::Left, None);
    }

    /// Ends a handover under way, and waits until it is over. The thread of the control socket reads what the successor has sent
    /// before that.
    pub(super) fn abort<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        if let Phase::Passed { abort } = &state.phase {
            abort.stop();
        }
        while matches!(state.phase, Phase::Passed { .. }) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Listens at the control socket, if no socket does yet.
    pub(super) fn open_control(&self, state: &mut State) -> io::Result<()> {
        if state.control.is_none() && self.socket.is_some() {
            state.control = Some(Arc::new(ControlSocket::bind(self.paths.control())?));
        }
        Ok(())
    }
}
