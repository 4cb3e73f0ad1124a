//! Reading: by the thread that drives the connection when something has arrived, or blocking by one of its own.

use super::{Conn, RECHECK, State, Wants};
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::server::blocking::adaptive::Lane;
use crate::broker::backend_sdk::server::blocking::events::{HUNG_UP, QUIET, READABLE, WAKE, WRITABLE};
use crate::broker::backend_sdk::server::scratch;
use crate::broker::backend_sdk::server::sync::MutexGuard;
use std::io;
use std::sync::Arc;
use std::time::Instant;

impl Conn {
    /// Reads once what has arrived.
    pub(super) fn read_arrived(self: &Arc<Self>, state: &mut State, lane: Option<&Lane>) {
        if let Some(mut buffer) = state.session.take_recv_buffer() {
            let room = buffer.capacity() - buffer.len();
            let read = self.stream.read_arrived_onto(&mut buffer);
            state.session.restore_recv_buffer(buffer, *read.as_ref().unwrap_or(&0), Instant::now());
            self.was_read(state, lane, read, room);
        } else {
            let (read, room) = scratch::with(|scratch| {
                let read = self.stream.read_arrived(scratch);
                if let Ok(length @ 1..) = read {
                    state.session.receive(&scratch[..length], Instant::now());
                }
                (read, scratch.len())
            });
            self.was_read(state, lane, read, room);
        }
    }

    /// Takes the result of a read into `room` bytes.
    pub(super) fn was_read(
        self: &Arc<Self>,
        state: &mut State,
        lane: Option<&Lane>,
        read: io::Result<usize>,
        room: usize,
    ) {
        match read {
            Ok(0) => {
                state.readable = false;
                let is_gone = || self.stream.wait_hang_up(Some(Instant::now())).unwrap_or(true);
                self.dispatch(state, lane, |session, dispatch| session.end_of_input(is_gone, dispatch));
            }
            // A read that does not fill the room has emptied the socket: the next byte is an event.
            Ok(length) => state.readable = length == room || state.read_closed,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => state.readable = false,
            Err(error) => state.session.fail(error),
        }
    }

    /// Takes the connection out of the poller, so that this thread reads it, if it waits only for the peer. Returns whether it
    /// was taken out.
    pub(in super::super) fn adopt(self: &Arc<Self>) -> bool {
        let Some(mut state) = self.try_state() else { return false };
        let poller = self.context.poller.as_ref().filter(|_| state.may_be_adopted());
        if let Some(poller) = poller {
            poller.remove(&self.stream);
            (state.adopted, state.watches_writing) = (true, false);
        }
        drop(state);
        if self.has_events() {
            self.drive(0, None);
        }
        poller.is_some()
    }

    /// Gives the connection back to the poller.
    pub(in super::super) fn give_back(self: &Arc<Self>) {
        self.with(|state| self.release(state));
    }

    pub(super) fn release(self: &Arc<Self>, state: &mut State) {
        let Some(poller) = &self.context.poller else { return };
        if state.wants == Wants::Nothing || !std::mem::take(&mut state.adopted) {
            return;
        }
        state.watches_writing = state.blocked;
        if let Err(error) = poller.add(&self.stream, self.id, state.blocked) {
            state.session.fail(error);
            self.context.requeue(self);
        }
        self.watch(state);
    }

    /// Reads the connection until it is over, or falls quiet and goes back to the poller.
    pub(in super::super) fn read_blocking(self: &Arc<Self>, lane: &Lane) {
        loop {
            self.drive(0, Some(lane));
            // A thread that only waits for bytes is not late.
            if !lane.end() {
                // The thread that took over gives it back to the poller, or reads it.
                return;
            }
            let mut state = self.state();
            if !state.adopted || state.wants == Wants::Nothing {
                drop(state);
                return self.with(|_| ());
            }
            let poller = self.context.poller.as_ref();
            let quiet = if poller.is_some() { QUIET } else { RECHECK };
            let until = earliest(state.session.deadline(), Instant::now().checked_add(quiet));
            let waited = match (state.wants, poller) {
                (Wants::Read, Some(poller)) if state.blocked => {
                    drop(state);
                    self.unless_events(|| poller.wait_ready(&self.stream, until))
                        .map(|()| self.leave(READABLE | WRITABLE))
                }
                (_, Some(_)) if !state.may_be_adopted() => {
                    drop(state);
                    return self.give_back();
                }
                (Wants::Read, _) => self.read_one(state, lane, until),
                (Wants::HangUp, _) => {
                    drop(state);
                    let gone = self.unless_events(|| self.stream.wait_hang_up(until));
                    gone.map(|gone| self.leave(if gone { HUNG_UP } else { WAKE }))
                }
                (Wants::Progress | Wants::Nothing, _) => {
                    let seen = self.begin_wait(&mut state);
                    drop(state);
                    if self.has_events() {
                        self.with(|state| state.waiting -= 1);
                    } else {
                        self.wait_progress(seen, Some(quiet));
                    }
                    Ok(())
                }
            };
            match waited {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let deadline = self.with(|state| state.session.deadline());
                    let expired = deadline.is_some_and(|deadline| deadline <= Instant::now());
                    if poller.is_some() && !expired {
                        return self.give_back();
                    }
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    self.with(|state| state.session.fail(error));
                }
                _ => {}
            }
        }
    }

    /// Calls `wait`, which blocks, after an unlock, unless another thread has left events: then the error is `WouldBlock`.
    fn unless_events<T>(&self, wait: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.has_events() { Err(io::ErrorKind::WouldBlock.into()) } else { wait() }
    }

    /// Reads once, blocking, outside of the lock.
    fn read_one(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        lane: &Lane,
        until: Option<Instant>,
    ) -> io::Result<()> {
        if let Some(mut buffer) = state.session.take_recv_buffer() {
            drop(state);
            let room = buffer.capacity() - buffer.len();
            let read = self.unless_events(|| self.stream.read_onto(&mut buffer, until));
            let mut state = self.state();
            state.session.restore_recv_buffer(buffer, *read.as_ref().unwrap_or(&0), Instant::now());
            self.was_read(&mut state, Some(lane), Ok(read?), room);
        } else {
            drop(state);
            let (mut state, length, room) = scratch::with(|scratch| {
                let length = self.unless_events(|| self.stream.read_deadline(scratch, until))?;
                let mut state = self.state();
                if length > 0 {
                    state.session.receive(&scratch[..length], Instant::now());
                }
                Ok::<_, io::Error>((state, length, scratch.len()))
            })?;
            self.was_read(&mut state, Some(lane), Ok(length), room);
        }
        Ok(())
    }
}
