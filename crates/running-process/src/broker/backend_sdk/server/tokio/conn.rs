//! One connection, as the task that owns its socket and the tasks that serve its requests share it.

use super::waker::AtomicWaker;
use crate::broker::backend_sdk::server::connection_table::Slot;
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::backend_sdk::server::policy::ServerPolicy;
use crate::broker::backend_sdk::server::session::{Answer, Phase, ServerSession};
use crate::broker::backend_sdk::{CallId, SendEventError};
use crate::broker::runtime_clock::now;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A connection. Code that holds the lock of its session moves bytes in memory and to and from the socket, and never waits.
pub(super) struct Conn<H: ?Sized> {
    /// Wakes the task that owns the socket, or that polls the legacy handler.
    pub(super) driver: AtomicWaker,
    /// Wakes the task that reads the legacy wire.
    pub(super) legacy_reader: AtomicWaker,
    /// Notified when output was written or requests were cancelled.
    pub(super) progress: Notify,
    phase: AtomicPhase,
    closed: AtomicBool,
    session: Mutex<ServerSession<H>>,
}

impl<H: ?Sized> Conn<H> {
    pub(super) fn new(policy: &Arc<ServerPolicy<H>>, peer: PeerCredentials, slot: Slot) -> Self {
        Self {
            driver: AtomicWaker::default(),
            legacy_reader: AtomicWaker::default(),
            progress: Notify::new(),
            phase: AtomicPhase::default(),
            closed: AtomicBool::new(false),
            session: Mutex::new(ServerSession::new(Arc::clone(policy), peer, slot, now())),
        }
    }

    pub(super) fn session(&self) -> MutexGuard<'_, ServerSession<H>> {
        // Handlers that run under the lock are caught there if they panic.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Makes the connection enter `phase`.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.enter(phase);
        self.wake();
    }

    /// Returns whether the connection is to end at once.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends the connection at once.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    /// Makes the tasks of the connection look at what they wait for.
    pub(super) fn wake(&self) {
        self.driver.wake();
        self.legacy_reader.wake();
    }

    /// Ends `call` with `answer`.
    pub(super) fn finish(&self, call: CallId, answer: Answer) {
        self.session().finish(call, answer, now());
    }

    /// Waits while the peer leaves too much output unread, before the handler of `call` begins.
    pub(super) async fn ready_for(&self, call: CallId) {
        loop {
            let progress = self.progress.notified();
            if !self.session().holds_back(call) {
                return;
            }
            progress.await;
        }
    }

    /// Sends an event of `call`. Waits while the peer leaves too much output unread.
    pub(super) async fn send_event(&self, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        loop {
            let progress = self.progress.notified();
            if let Some(sent) = self.try_send_event(call, payload) {
                self.driver.wake();
                return sent;
            }
            progress.await;
        }
    }

    fn try_send_event(&self, call: CallId, payload: &[u8]) -> Option<Result<(), SendEventError>> {
        let mut session = self.session();
        (!session.holds_back(call)).then(|| session.send_event(call, payload))
    }
}

impl<H: ?Sized> fmt::Debug for Conn<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Conn").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

/// A [`Phase`] that never goes back.
#[derive(Debug, Default)]
pub(super) struct AtomicPhase(AtomicU8);

impl AtomicPhase {
    pub(super) fn get(&self) -> Phase {
        [Phase::Serving, Phase::Draining, Phase::Cancelling][usize::from(self.0.load(Ordering::Acquire))]
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }
}
