//! Reading: by the thread that drives the connection when something has arrived, or blocking by one of its own.

use super::{Conn, HUNG_UP, QUIET, READABLE, RECHECK, State, WAKE, WRITABLE, Wants};
use crate::broker::backend_sdk::proto::deadline::earliest;
use crate::broker::backend_sdk::server::blocking::adaptive::Lane;
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

    /// Has this thread read the connection, if it waits for nothing but the peer; returns whether it has.
    pub(in super::super) fn adopt(&self) -> bool {
        let Some(mut state) = self.try_state() else { return false };
        let (Some(poller), true) = (&self.context.poller, state.may_be_adopted()) else { return false };
        poller.remove(&self.stream);
        (state.adopted, state.watches_writing) = (true, false);
        true
    }

    /// Gives the connection back to the poller.
    pub(in super::super) fn give_back(self: &Arc<Self>) {
        self.release(&mut self.state());
        // A thread that found the lock taken has left its events.
        self.drive(0, None);
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
            if lane.is_lost() {
                // The thread that took over could not give it back while an inline handler had it.
                return self.give_back();
            }
            let mut state = self.state();
            if !state.adopted || state.wants == Wants::Nothing {
                return;
            }
            let poller = self.context.poller.as_ref();
            let polls = poller.is_some();
            let quiet = Instant::now() + if polls { QUIET } else { RECHECK };
            let until = earliest(state.session.deadline(), Some(quiet));
            let blocked = poller.filter(|_| state.blocked && state.wants == Wants::Read);
            let waited = if let Some(poller) = blocked {
                drop(state);
                poller.wait_ready(&self.stream, until).map(|()| self.leave(READABLE | WRITABLE))
            } else if polls && !state.may_be_adopted() {
                return self.release(&mut state);
            } else {
                match state.wants {
                    Wants::Read => self.read_one(state, lane, until),
                    Wants::HangUp => {
                        drop(state);
                        let gone = self.stream.wait_hang_up(until);
                        gone.map(|gone| self.leave(if gone { HUNG_UP } else { WAKE }))
                    }
                    Wants::Progress | Wants::Nothing => {
                        drop(self.wait_for_progress(state, Some(quiet)));
                        Ok(())
                    }
                }
            };
            match waited {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let mut state = self.state();
                    let late = state.session.deadline().is_some_and(|deadline| deadline <= Instant::now());
                    if polls && !late {
                        return self.release(&mut state);
                    }
                }
                Err(error) => self.state().session.fail(error),
            }
        }
    }

    /// Reads once, blocking, outside of the lock.
    pub(super) fn read_one(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        lane: &Lane,
        until: Option<Instant>,
    ) -> io::Result<()> {
        if let Some(mut buffer) = state.session.take_recv_buffer() {
            drop(state);
            let room = buffer.capacity() - buffer.len();
            let read = self.stream.read_onto(&mut buffer, until);
            let mut state = self.state();
            state.session.restore_recv_buffer(buffer, *read.as_ref().unwrap_or(&0), Instant::now());
            self.was_read(&mut state, Some(lane), Ok(read?), room);
        } else {
            drop(state);
            let (mut state, length, room) = scratch::with(|scratch| {
                let length = self.stream.read_deadline(scratch, until)?;
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
