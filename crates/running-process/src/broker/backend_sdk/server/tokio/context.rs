use super::conn::Link;
use super::handler::{AsyncHandler, LegacyHandler};
use super::waker::Bell;
use crate::broker::backend_sdk::server::handler::Handler;
use crate::broker::backend_sdk::server::policy::Service;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::{Handle, RuntimeFlavor};

/// How far the end of the server has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    #[default]
    Serving,
    /// What was received is answered, and nothing more is received.
    Stopping,
    /// What is still at work is cancelled.
    Cancelling,
}

/// What every task of one server sees.
pub(super) struct Shared {
    pub(super) service: ServerPolicy<Handler<AsyncHandler>>,
    pub(super) legacy: Option<LegacyHandler>,
    /// All tasks take turns in one thread, so it makes no difference to the others in which of them a handler takes its time.
    pub(super) one_thread: bool,
    phase: AtomicU8,
    /// Rings for who accepts.
    pub(super) acceptor: Bell,
    /// Every open connection.
    open: Mutex<HashMap<u64, Arc<Link>>>,
}

impl Shared {
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(super) fn new(service: ServerPolicy<Handler<AsyncHandler>>, legacy: Option<LegacyHandler>) -> Self {
        let phase = AtomicU8::new(Phase::Serving as u8);
        let one_thread = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        Self { service, legacy, one_thread, phase, acceptor: Bell::default(), open: Mutex::default() }
    }

    pub(super) fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        // Nothing that holds the lock can leave the map half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Stopping,
            _ => Phase::Cancelling,
        }
    }

    pub(super) fn stop(&self) {
        self.enter(Phase::Stopping);
    }

    /// Has every connection, and every later one, look at `phase`.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.acceptor.ring();
        self.ring_all();
    }

    /// Has every connection look at what it waits for.
    pub(super) fn ring_all(&self) {
        self.open().values().for_each(|link| link.bell.ring());
    }
}
