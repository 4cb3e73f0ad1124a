//! Writing, and waiting for the peer to read.

use super::{Conn, Locked, Session, State};
use crate::broker::backend_sdk::proto::send_buffer::{MAX_IOVECS, SendBuffer};
use crate::broker::backend_sdk::server::blocking::events::WRITABLE;
use crate::broker::backend_sdk::server::session::blocked::BlockedWrite;
use crate::broker::backend_sdk::server::sync::{self, thread};
use crate::broker::backend_sdk::{CallId, SendEventError};
use crate::transport::timed_out;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time after a write of events in which the next one waits for more: a handler that sends one after the other.
const BURST: Duration = Duration::from_micros(100);
/// The longest time for which an event waits for more.
const LONGEST_DELAY: Duration = Duration::from_millis(1);
/// Bytes of output for which no event waits for more.
const ENOUGH_EVENTS: usize = 16 * 1024;

impl Conn {
    /// Writes what the socket takes.
    pub(super) fn write(&self, state: &mut State, now: Instant) {
        state.send_at = None;
        let State { session, ready, .. } = state;
        session.write_all_output(
            || now,
            |pieces, descriptors| {
                let is_ready = *ready & WRITABLE != 0;
                let written = if is_ready { self.stream.write_now_with(pieces, descriptors)? } else { None };
                if written != Some(pieces.iter().map(|piece| piece.len()).sum()) {
                    // A write that is not complete has filled the socket: when there is room again is an event.
                    *ready &= !WRITABLE;
                }
                written.ok_or_else(|| io::ErrorKind::WouldBlock.into())
            },
        );
    }

    /// Queues an event of `call` by `append` once the peer has read enough. Writes it at once, unless more may follow: then it is written
    /// with them.
    pub(super) fn emit(
        self: &Arc<Self>,
        call: CallId,
        append: impl FnOnce(&mut Session) -> Result<(), SendEventError>,
    ) -> Result<(), SendEventError> {
        let mut state = self.once_writable(call);
        let emitted = append(&mut state.session);
        let now = Instant::now();
        let follows = state.sent.is_some_and(|sent| now.saturating_duration_since(sent) < BURST);
        // The thread that reads alone would write them only after its handler.
        let waits = follows && state.watched.is_some() && state.session.unwritten() < ENOUGH_EVENTS;
        if sync::either(waits) {
            if state.send_at.is_none() {
                state.send_at = now.checked_add(LONGEST_DELAY);
                self.watch(&mut state);
            }
        } else {
            state = self.run(state, now, None);
            // Once it is written: the system may have let the peer, or other programs, run first, which is no pause of the handler.
            state.sent = Some(Instant::now());
        }
        self.unlock(state);
        emitted
    }

    /// Writes the output, blocking, outside of the lock: where there is no poller. Another thread that adds to it meanwhile leaves
    /// the writing to this one.
    pub(super) fn write_blocking<'a>(self: &'a Arc<Self>, mut state: Locked<'a>) -> Locked<'a> {
        state.writing = true;
        let mut output = state.session.take_output();
        self.unlock(state);
        let length = output.len();
        let written = self.write_all(&mut output);
        let mut state = self.state();
        state.writing = false;
        state.session.restore_output(output, length, Instant::now());
        if let Err(error) = written {
            state.session.fail(error);
        }
        state
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
        let state = self.once_writable(call);
        self.unlock(state);
    }

    /// Returns the lock once the peer has read enough, or does not wait for `call` any more.
    fn once_writable(self: &Arc<Self>, call: CallId) -> Locked<'_> {
        loop {
            let mut state = self.state();
            if !state.session.holds_back(call) {
                return state;
            }
            // The thread that reads it may be this one, and the poller reports when there is room.
            self.release(&mut state);
            state.wait();
            self.unlock(state);
            thread::park();
        }
    }
}
