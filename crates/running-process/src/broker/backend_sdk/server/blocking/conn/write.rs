//! Writing, and waiting for the peer to read.

use super::{Conn, State, WAKE};
use crate::broker::backend_sdk::proto::send_buffer::{MAX_IOVECS, SendBuffer};
use crate::broker::backend_sdk::proto::server_connection::{CallId, SendEventError};
use crate::broker::backend_sdk::server::sync::MutexGuard;
use crate::broker::backend_sdk::server::sync::atomic::{Ordering, fence};
use std::io::{self, IoSlice};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

impl Conn {
    /// Writes what the socket takes.
    pub(super) fn write(&self, state: &mut State) {
        let State { session, blocked, .. } = state;
        while self.context.poller.is_some() && !*blocked && session.has_output() {
            let mut pieces = [IoSlice::new(&[]); MAX_IOVECS];
            let count = session.output_slices(&mut pieces);
            match self.stream.write_now(&pieces[..count]) {
                Ok(Some(written)) => session.output_written(written, Instant::now()),
                Ok(None) => {
                    *blocked = true;
                    session.write_blocked(Instant::now());
                }
                Err(error) => session.fail(error),
            }
        }
    }

    /// Writes all output, blocking, outside of the lock, unless another thread does: where there is no poller.
    pub(super) fn write_blocking(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.writing || !state.session.has_output() {
                return;
            }
            state.writing = true;
            let mut output = state.session.take_output();
            drop(state);
            let length = output.len();
            let written = self.write_all(&mut output);
            let mut state = self.state();
            state.writing = false;
            state.session.restore_output(output, length, Instant::now());
            if let Err(error) = written {
                state.session.fail(error);
            }
            self.notify_progress(&mut state);
            self.leave(WAKE);
        }
    }

    pub(super) fn write_all(&self, output: &mut SendBuffer) -> io::Result<()> {
        let timeout = self.context.policy.write_timeout(self.context.phase());
        while !output.is_empty() {
            let until = Instant::now().checked_add(timeout);
            let mut pieces = [IoSlice::new(&[]); MAX_IOVECS];
            let count = output.fill(&mut pieces);
            let written = self.stream.write_vectored(&pieces[..count], || until)?;
            output.consume(written);
        }
        Ok(())
    }

    /// Blocks until the peer has read enough, or does not wait for `call` any more.
    pub(super) fn wait_for_room(self: &Arc<Self>, call: CallId) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while state.session.holds_back(call) {
            if state.adopted && self.context.poller.is_some() {
                // The thread that reads it may be this one, and the poller tells when there is room.
                self.release(&mut state);
            }
            state = self.wait_for_progress(state, None);
        }
        state
    }

    /// Blocks until output is written or a request cancelled, but no longer than until `deadline`, with the state unlocked.
    pub(super) fn wait_for_progress<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        let seen = *self.progress();
        state.waiting += 1;
        drop(state);
        // A thread that found the lock taken has left its events before that, for this one, which is about to sleep.
        fence(Ordering::SeqCst);
        if self.events.load(Ordering::SeqCst) != 0 {
            self.drive(0, None);
        }
        let mut progress = self.progress();
        while *progress == seen {
            progress = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                None => self.progressed.wait(progress).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => break,
                Some(left) => {
                    self.progressed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        drop(progress);
        let mut state = self.state();
        state.waiting -= 1;
        state
    }

    fn progress(&self) -> MutexGuard<'_, u64> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks while the peer leaves too much unread, then queues and writes an event.
    pub(in super::super) fn send_event(
        self: &Arc<Self>,
        call: CallId,
        payload: &[u8],
    ) -> Result<(), SendEventError> {
        let sent = self.wait_for_room(call).session.send_event(call, payload);
        self.drive(0, None);
        sent
    }

    pub(super) fn notify_progress(&self, state: &mut State) {
        if state.session.take_progress() && state.waiting > 0 {
            *self.progress() += 1;
            self.progressed.notify_all();
        }
    }
}
