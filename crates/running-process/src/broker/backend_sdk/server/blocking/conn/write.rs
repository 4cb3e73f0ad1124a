//! Writing, and waiting for the peer to read.

use super::{Conn, Locked, State};
use crate::broker::backend_sdk::CallId;
use crate::broker::backend_sdk::proto::send_buffer::{MAX_IOVECS, SendBuffer};
use crate::broker::backend_sdk::server::blocking::events::WRITABLE;
use crate::broker::backend_sdk::server::session::blocked::BlockedWrite;
use crate::broker::backend_sdk::server::sync::thread;
use crate::transport::timed_out;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

impl Conn {
    /// Writes what the socket takes.
    pub(super) fn write(&self, state: &mut State, now: Instant) {
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
        while self.with(|state| {
            let waits = state.session.holds_back(call);
            if waits {
                // The thread that reads it may be this one, and the poller reports when there is room.
                self.release(state);
                state.wait();
            }
            waits
        }) {
            thread::park();
        }
    }
}
