//! Reading: by the thread that drives the connection when something has arrived, or blocking by one of its own.

use super::{Action, Conn, Locked, QUIET, RECHECK, Reading, State};
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::server::blocking::adaptive::Lane;
use crate::broker::backend_sdk::server::blocking::events::{HUNG_UP, READ_CLOSED, READABLE, TIMER, WAKE};
use crate::broker::backend_sdk::server::scratch;
use crate::broker::backend_sdk::server::sync::thread;
use crate::transport::Incoming;
use std::io;
use std::sync::Arc;
use std::time::Instant;

impl Conn {
    /// Reads once, into the receive buffer if much of a message is still to come. Returns the time of that.
    pub(super) fn read<'a>(
        self: &'a Arc<Self>,
        mut state: Locked<'a>,
        lane: Option<&Lane>,
        reading: Reading,
    ) -> (Locked<'a>, Instant, io::Result<()>) {
        let stream = &self.stream;
        let buffer = state.session.take_recv_buffer();
        let passes = state.session.takes_descriptors();
        // It is unlocked here if the read blocks.
        let locked = matches!(reading, Reading::Arrived).then_some(state);
        let relock = || locked.unwrap_or_else(|| self.state());
        let (mut state, now, read, room) = if let Some(mut buffer) = buffer {
            let room = buffer.capacity() - buffer.len();
            let read = match reading {
                Reading::Arrived => stream.read_arrived_onto(&mut buffer),
                Reading::Until(until) => self.unless_events(|| stream.read_onto(&mut buffer, until)),
            };
            let (mut state, now) = (relock(), Instant::now());
            state.session.restore_recv_buffer(buffer, *read.as_ref().unwrap_or(&0), now);
            (state, now, read, room)
        } else {
            scratch::with(|scratch| {
                let mut incoming = Incoming::default();
                let read = match reading {
                    Reading::Arrived if passes => stream.read_arrived_with(scratch, &mut incoming),
                    Reading::Arrived => stream.read_arrived(scratch),
                    Reading::Until(until) => self.unless_events(|| {
                        if passes {
                            stream.read_with(scratch, until, &mut incoming)
                        } else {
                            stream.read_deadline(scratch, until)
                        }
                    }),
                };
                let (mut state, now) = (relock(), Instant::now());
                // A read ends at the bytes with descriptors, however much is there.
                let room = if incoming.is_any() { 0 } else { scratch.len() };
                if let Ok(length @ 1..) = read {
                    state.session.receive_incoming(&scratch[..length], incoming, now);
                }
                (state, now, read, room)
            })
        };
        let read = read.map(|length| {
            if length == 0 {
                state.ready &= !READABLE;
                let is_gone = || stream.wait_hang_up(Some(now)).unwrap_or(true);
                self.dispatch(&mut state, lane, |session, dispatch| {
                    session.end_of_input(is_gone, |call| _ = dispatch(call));
                });
            } else if length < room && state.ready & READ_CLOSED == 0 {
                // A read that does not fill the room has emptied the socket: the next byte is an event.
                state.ready &= !READABLE;
            } else {
                state.ready |= READABLE;
            }
        });
        (state, now, read)
    }

    /// Takes the connection out of the poller, so that this thread reads it, if it waits only for the peer. Returns whether it
    /// was taken out.
    pub(in super::super) fn adopt(self: &Arc<Self>) -> bool {
        let Some(mut state) = self.try_state() else { return false };
        let adopts = state.watched.is_some() && state.may_be_adopted();
        if adopts {
            self.set_watched(&mut state, None);
        }
        self.unlock(state);
        adopts
    }

    /// Gives the connection back to the poller, if that does not watch it.
    pub(in super::super) fn release(self: &Arc<Self>, state: &mut State) {
        if self.context.poller.is_some() && state.wants != Action::Close && state.watched.is_none() {
            let writing = state.is_blocked();
            self.set_watched(state, Some(writing));
            self.watch(state);
        }
    }

    /// Reads the connection until it is over. If there is a poller, only until the connection falls quiet or waits for more than
    /// its peer; then it goes back to the poller.
    pub(in super::super) fn read_blocking(self: &Arc<Self>, lane: &Lane) {
        let has_poller = self.context.poller.is_some();
        let (mut state, mut now, mut is_quiet) = (self.state(), Instant::now(), false);
        loop {
            state = self.run(state, now, Some(lane));
            if lane.is_lost() || state.watched.is_some() || state.wants == Action::Close {
                // Another thread gives it back to the poller, or reads it.
                return self.unlock(state);
            }
            if has_poller && (is_quiet || !state.may_be_adopted()) {
                self.release(&mut state);
                return self.unlock(state);
            }
            let pause = if has_poller { QUIET } else { RECHECK };
            let until = earliest(state.session.deadline(), now.checked_add(pause));
            let waited;
            if state.wants == Action::Read {
                (state, now, waited) = self.read(state, Some(lane), Reading::Until(until));
            } else {
                let awaits_hang_up = state.wants == Action::AwaitHangUp;
                state.wait();
                drop(state);
                let gone = self.unless_events(|| {
                    if awaits_hang_up {
                        return self.stream.wait_hang_up(until);
                    }
                    thread::park_timeout(RECHECK);
                    Ok(false)
                });
                waited = gone.map(|gone| self.leave(if gone { HUNG_UP } else { WAKE }));
                (state, now) = (self.state(), Instant::now());
            }
            if state.session.deadline().is_some_and(|deadline| deadline <= now) {
                self.leave(TIMER);
            }
            if let Err(error) = waited {
                match error.kind() {
                    io::ErrorKind::TimedOut => is_quiet = !self.has_events(),
                    io::ErrorKind::WouldBlock => {}
                    _ => state.session.fail(error),
                }
            }
        }
    }

    /// Calls `wait`, which blocks, after an unlock, unless another thread has left events: then the error is `WouldBlock`.
    fn unless_events<T>(&self, wait: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.has_events() { Err(io::ErrorKind::WouldBlock.into()) } else { wait() }
    }
}
