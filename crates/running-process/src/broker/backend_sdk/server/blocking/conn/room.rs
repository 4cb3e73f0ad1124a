//! Handlers and events that wait until the peer has read enough, and their end if there is no memory to wait.

use super::{Link, State};
use crate::broker::backend_sdk::proto::server_connection::{CallId, SendEventError};
use crate::broker::backend_sdk::server::sync::MutexGuard;
use std::sync::Arc;

impl Link {
    /// Returns whether the peer leaves so much unread that no handler begins for it.
    pub(super) fn is_full(&self, state: &State) -> bool {
        let enough = self.shared.service.config.send_high_water.max(1);
        !state.session.gone && state.session.connection.unwritten() >= enough
    }

    /// Blocks while the peer leaves enough output unread, before the handler of `call` begins.
    pub(crate) fn wait_for_room(self: &Arc<Self>, call: CallId) {
        drop(self.room(call));
    }

    /// Returns the state once the peer has read enough, or no longer waits for `call`.
    fn room(self: &Arc<Self>, call: CallId) -> MutexGuard<'_, State> {
        let enough = self.shared.service.config.send_high_water;
        let mut state = self.state();
        while state.session.holds_back(call, enough) {
            if state.writing {
                state = self.wait(state, None);
            } else {
                // The answers to quick requests wait for this very handler.
                self.write(state, None);
                state = self.state();
            }
        }
        state
    }

    /// Blocks while the peer leaves enough output unread.
    pub(crate) fn send_event(
        self: &Arc<Self>,
        call: CallId,
        payload: &[u8],
    ) -> Result<(), SendEventError> {
        let mut state = self.room(call);
        let sent = state.session.send_event(&self.shared.service, call, payload);
        self.tell_if_gone(&mut state);
        sent?;
        self.write(state, None);
        Ok(())
    }

    /// Tells the calls, if there was no memory for what one of them left.
    pub(super) fn tell_if_gone(&self, state: &mut State) {
        if state.session.gone {
            // No peer waits for new calls.
            drop(self.pump(state, None));
        }
    }

    /// The legacy handler has read what was received before it began.
    pub(crate) fn release_legacy(&self) {
        self.state().session.release_legacy(&self.shared.service);
    }
}
