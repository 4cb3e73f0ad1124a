//! One connection, as the task that owns its socket and the tasks that serve its requests share it.

use super::waker::AtomicWaker;
use crate::broker::backend_sdk::server::phase::AtomicPhase;
use crate::broker::backend_sdk::{CallId, PeerCredentials, Phase, ServerPolicy, ServerSession, Slot};
use crate::broker::runtime_clock::now;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A connection. Code that holds the lock of its session moves bytes in memory and to and from the socket, and never waits.
pub(super) struct Conn<H: ?Sized> {
    /// Wakes the task that owns the socket, or that polls the legacy handler.
    pub(super) driver: AtomicWaker,
    /// Wakes the task that reads the legacy wire.
    pub(super) legacy_reader: AtomicWaker,
    /// Notified when output was written, requests were cancelled, or the connection entered a phase.
    pub(super) progress: Notify,
    phase: AtomicPhase,
    session: Mutex<ServerSession<H>>,
}

impl<H: ?Sized> Conn<H> {
    pub(super) fn new(policy: &Arc<ServerPolicy<H>>, peer: PeerCredentials, slot: Slot) -> Self {
        Self {
            driver: AtomicWaker::default(),
            legacy_reader: AtomicWaker::default(),
            progress: Notify::new(),
            phase: AtomicPhase::default(),
            session: Mutex::new(ServerSession::new(Arc::clone(policy), peer, slot, now())),
        }
    }

    pub(super) fn session(&self) -> MutexGuard<'_, ServerSession<H>> {
        // Handlers that run under the lock are caught there if they panic.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the phase that the connection is to enter; `None` if it is to end at once.
    pub(super) fn phase(&self) -> Option<Phase> {
        self.phase.get()
    }

    /// Makes the connection enter `phase`, or end at once.
    pub(super) fn enter(&self, phase: Option<Phase>) {
        self.phase.enter(phase);
        self.wake();
        self.progress.notify_waiters();
    }

    /// Makes the tasks of the connection look at what they wait for.
    pub(super) fn wake(&self) {
        self.driver.wake();
        self.legacy_reader.wake();
    }

    /// Returns once the server is stopped or handed over.
    pub(super) async fn once_stopping(&self) {
        loop {
            let progress = self.progress.notified();
            if self.phase() != Some(Phase::Serving) {
                return;
            }
            progress.await;
        }
    }

    /// Calls `act` once the peer leaves little enough output unread, or does not wait for the answer to `call` any more.
    pub(super) async fn once_writable<T>(&self, call: CallId, act: impl Fn(&mut ServerSession<H>) -> T) -> T {
        loop {
            let progress = self.progress.notified();
            let done = {
                let mut session = self.session();
                (!session.holds_back(call)).then(|| act(&mut session))
            };
            match done {
                Some(done) => return done,
                None => progress.await,
            }
        }
    }
}

impl<H: ?Sized> fmt::Debug for Conn<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Conn").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
