//! One connection, as the task that owns its socket and those that serve its requests share it.

use super::context::Shared;
use super::handler::AsyncHandler;
use super::waker::Bell;
use crate::broker::backend_sdk::server::over_capacity::Place;
use crate::broker::backend_sdk::server::peer::PeerCredentials;
use crate::broker::backend_sdk::server::session::{self, Cancel, Session};
use crate::broker::backend_sdk::{CallId, CancelReason, Payload, SendEventError};
use crate::broker::protocol::Refusal;
use crate::broker::runtime_clock::now;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;
use tokio::sync::Notify;

/// Whoever holds the lock only moves bytes in memory and to and from the socket, and never waits.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    /// Rings for the task that owns the socket.
    pub(super) bell: Bell,
    /// Notified when output was written, or calls were cancelled.
    pub(super) advanced: Notify,
    pub(super) place: Place,
    /// Nothing more is to be read than has arrived.
    pub(super) ending: AtomicBool,
    session: Mutex<Session<Abandon>>,
}

/// A call for a handler in a task.
pub(super) type Concurrent = session::Concurrent<AsyncHandler, Abandon>;

impl Link {
    pub(super) fn new(shared: Arc<Shared>, peer: PeerCredentials, place: Place, now: Instant) -> Self {
        let session = Mutex::new(Session::new(&shared.service, peer, place, now));
        Self {
            shared,
            bell: Bell::default(),
            advanced: Notify::new(),
            place,
            ending: AtomicBool::new(false),
            session,
        }
    }

    /// Ends the connection once what has arrived is answered.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.bell.ring();
    }

    pub(super) fn session(&self) -> MutexGuard<'_, Session<Abandon>> {
        // Handlers that run under the lock are caught there if they panic.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `call` has ended with `answer`.
    pub(super) fn finish(&self, call: CallId, answer: Result<Payload, Refusal>) {
        self.session().finish(&self.shared.service, call, answer, now());
    }

    /// Returns whether the peer leaves so much unread that no handler begins for it.
    pub(super) fn is_full(&self) -> bool {
        self.session().connection.unwritten() >= self.shared.service.config.send_high_water.max(1)
    }

    /// Waits while the peer leaves enough output unread, before the handler of `call` begins.
    pub(super) async fn room(&self, call: CallId) {
        let enough = self.shared.service.config.send_high_water;
        while self.session().holds_back(call, enough) {
            let mut advanced = pin!(self.advanced.notified());
            advanced.as_mut().enable();
            // It may have advanced before that.
            if self.session().holds_back(call, enough) {
                advanced.await;
            }
        }
    }

    /// The legacy handler has read what was received before it began.
    pub(super) fn release_legacy(&self) {
        self.session().release_legacy(&self.shared.service);
    }

    /// Waits while the peer leaves enough output unread.
    pub(super) async fn send_event(&self, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        let enough = self.shared.service.config.send_high_water;
        let mut advanced = pin!(self.advanced.notified());
        loop {
            advanced.as_mut().enable();
            if let Some(sent) = self.send_unless_held_back(call, payload, enough) {
                self.bell.ring();
                return sent;
            }
            advanced.as_mut().await;
            advanced.set(self.advanced.notified());
        }
    }

    fn send_unless_held_back(
        &self,
        call: CallId,
        payload: &[u8],
        enough: usize,
    ) -> Option<Result<(), SendEventError>> {
        let mut session = self.session();
        (!session.holds_back(call, enough)).then(|| session.send_event(&self.shared.service, call, payload))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner);
        session.settle_all(&self.shared.service);
    }
}

/// Has the future of a handler dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Abandon(Arc<Abandoned>);

#[derive(Debug, Default)]
struct Abandoned {
    given: AtomicBool,
    bell: Bell,
}

impl Abandon {
    /// Whether the future is to be dropped; if not, `waker` is woken once it is.
    pub(super) fn is_given(&self, waker: &Waker) -> bool {
        self.0.bell.listen(waker);
        self.is_cancelled()
    }
}

impl Cancel for Abandon {
    fn cancel(&self, _: CancelReason) {
        self.0.given.store(true, Ordering::Release);
        self.0.bell.ring();
    }

    fn is_cancelled(&self) -> bool {
        self.0.given.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").finish_non_exhaustive()
    }
}
