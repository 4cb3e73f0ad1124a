//! Writing, and waiting for the peer to read.

use super::{Conn, State};
use crate::broker::backend_sdk::proto::send_buffer::{MAX_IOVECS, SendBuffer};
use crate::broker::backend_sdk::proto::server_connection::{CallId, SendEventError};
use crate::broker::backend_sdk::server::blocking::events::WAKE;
use crate::broker::backend_sdk::server::session::blocked::BlockedWrite;
use crate::transport::timed_out;
use std::io::{self, IoSlice};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

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
            if state.session.take_progress() {
                self.notify(&state);
            }
            self.leave(WAKE);
        }
    }

    /// Writes all of `output`, which the peer has as long to read as where writes do not block.
    fn write_all(&self, output: &mut SendBuffer) -> io::Result<()> {
        let phase = self.context.phase();
        let timeout = self.context.policy.write_timeout(phase);
        let mut blocked = BlockedWrite::new(output.len(), Instant::now(), timeout);
        while !output.is_empty() {
            let mut pieces = [IoSlice::new(&[]); MAX_IOVECS];
            let count = output.fill(&mut pieces);
            let written = self.stream.write_vectored(&pieces[..count], || blocked.deadline())?;
            output.consume(written);
            let now = Instant::now();
            let Some(mut left) = blocked.wrote(written, now, phase) else { break };
            if left.has_expired(now, output.len(), timeout) {
                return Err(timed_out());
            }
            blocked = left;
        }
        Ok(())
    }

    /// Blocks until the peer has read enough, or does not wait for `call` any more.
    pub(super) fn wait_for_room(self: &Arc<Self>, call: CallId) {
        while let Some(seen) = self.with(|state| {
            if !state.session.holds_back(call) {
                return None;
            }
            // The thread that reads it may be this one, and the poller reports when there is room.
            self.release(state);
            Some(self.begin_wait(state))
        }) {
            self.wait_progress(seen, None);
        }
    }

    /// Counts this thread as one that waits for progress; returns the progress so far.
    pub(super) fn begin_wait(&self, state: &mut State) -> u64 {
        state.waiting += 1;
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until there is more progress than was `seen`, but no longer than `timeout`. Holds no lock of the connection.
    pub(super) fn wait_progress(self: &Arc<Self>, seen: u64, timeout: Option<Duration>) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let unchanged = |progress: &mut u64| *progress == seen;
        match timeout {
            None => drop(self.progressed.wait_while(progress, unchanged)),
            Some(timeout) => drop(self.progressed.wait_timeout_while(progress, timeout, unchanged)),
        }
        self.with(|state| state.waiting -= 1);
    }

    /// Blocks while the peer leaves too much unread, then queues and writes an event.
    pub(in super::super) fn send_event(
        self: &Arc<Self>,
        call: CallId,
        payload: &[u8],
    ) -> Result<(), SendEventError> {
        self.wait_for_room(call);
        let sent = self.with(|state| state.session.send_event(call, payload));
        self.drive(0, None);
        sent
    }

    /// Wakes the threads that wait for progress.
    pub(super) fn notify(&self, state: &State) {
        if state.waiting > 0 {
            *self.progress.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            self.progressed.notify_all();
        }
    }
}
