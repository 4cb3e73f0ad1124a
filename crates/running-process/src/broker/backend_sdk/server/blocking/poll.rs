//! The threads of a server: the one that polls, those that read one connection, and the one that ends them.

use super::adaptive::{Lane, Role};
use super::conn::{Conn, Context, QUIET};
use super::events::{TIMER, WAKE};
use super::run_queue::Next;
use crate::broker::backend_sdk::server::sync;
use crate::broker::backend_sdk::{Phase, Shutdown, ShutdownStep};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Number of reports in a row of one connection alone, less than [`QUIET`] apart, after which a thread reads it
/// blocking.
const ADOPT_AFTER: u32 = 16;

impl Context {
    /// Makes every connection, and every later one, enter `phase`.
    pub(super) fn enter(&self, phase: Phase) {
        let table = self.table();
        self.phase.enter(Some(phase));
        drop(table);
        self.ended.notify_all();
        self.closed.notify_all();
        self.wake_all();
    }

    /// Wakes the connections that wait for the identity of the server, which is registered.
    pub(super) fn registered(&self) {
        self.table().registered(Instant::now());
        self.ended.notify_all();
        self.wake_all();
    }

    /// Wakes every connection.
    pub(super) fn wake_all(&self) {
        self.all().iter().for_each(|conn| self.wake(conn));
    }

    /// Makes a thread drive `conn`.
    pub(super) fn wake(&self, conn: &Arc<Conn>) {
        conn.leave(WAKE);
        if self.poller.is_some() {
            return self.requeue(conn);
        }
        let driving = Arc::clone(conn);
        // If there is no thread for it, the reader of the connection looks within its interval.
        let _ = self.pool.submit(Box::new(move || driving.drive(None)));
    }

    /// Returns the next connection to drive, and whether it is the only one that was ready; `None` if the server has ended or
    /// another thread polls.
    fn next_ready(&self, lane: &Lane) -> Option<(Arc<Conn>, bool)> {
        let poller = self.poller.as_ref()?;
        while !lane.is_lost() {
            let next = self.run_queue().next(Instant::now);
            let timeout = match next {
                Next::End => break,
                Next::Drive(conn) => return Some((conn, false)),
                Next::Fire(id) => match self.conn(id) {
                    Some(conn) => {
                        conn.leave(TIMER);
                        return Some((conn, false));
                    }
                    None => continue,
                },
                Next::Poll(timeout) => timeout,
            };
            let mut reported = VecDeque::new();
            let result = poller.poll(timeout, |id, events| {
                if let Some(conn) = self.conn(id) {
                    conn.leave(events);
                    reported.push_back(conn);
                }
            });
            if let Err(error) = result {
                // Nothing more can be read.
                self.policy.report(&error.into());
                self.stop.stop();
            }
            if let Some(lone) = self.run_queue().polled(reported) {
                return Some((lone, true));
            }
        }
        None
    }

    /// Polls the connections and serves them, until another thread does or the server has ended.
    fn poll_connections(self: &Arc<Self>) {
        let lane = self.watchdog.add(Role::Poller);
        let (mut last, mut reports, mut at) = (u64::MAX, 0, Instant::now());
        while let Some((conn, is_lone)) = self.next_ready(&lane) {
            lane.begin(conn.id);
            self.watch();
            conn.drive(Some(&lane));
            if !lane.end() {
                return;
            }
            let before = std::mem::replace(&mut at, Instant::now());
            let follows = is_lone && conn.id == last && at.saturating_duration_since(before) < QUIET;
            (last, reports) = (conn.id, if follows { reports + 1 } else { 0 });
            if sync::either(reports >= ADOPT_AFTER) && conn.adopt() {
                if self.start_poller().is_ok() {
                    self.watchdog.remove(&lane);
                    return self.read(&conn);
                }
                conn.with(|state| conn.release(state));
            }
        }
        self.watchdog.remove(&lane);
    }

    /// Starts a thread that polls the connections.
    pub(super) fn start_poller(self: &Arc<Self>) -> io::Result<()> {
        let context = Arc::clone(self);
        self.pool.submit(Box::new(move || context.poll_connections()))
    }

    /// Reads `conn` on this thread, until it is over or falls quiet.
    pub(super) fn read(&self, conn: &Arc<Conn>) {
        let lane = self.watchdog.add(Role::Reader);
        conn.read_blocking(&lane);
        self.watchdog.remove(&lane);
    }

    /// Passes the work of a lane that is overdue at `step` to another thread. If there is no thread for it, the next look tries
    /// again.
    pub(super) fn relieve(self: &Arc<Self>, lane: Arc<Lane>, step: u64) {
        let context = Arc::clone(self);
        let relieve = move || {
            // The request goes on; its thread does no more than finish it.
            let Some(connection) = lane.lose(step) else { return };
            match (lane.role, context.conn(connection)) {
                (Role::Poller, conn) => {
                    // No connection is held while this polls: it closes with its last owner.
                    if let Some(conn) = conn {
                        context.requeue(&conn);
                    }
                    context.poll_connections();
                }
                (Role::Reader, Some(conn)) if context.poller.is_some() => {
                    conn.with(|state| conn.release(state));
                    context.requeue(&conn);
                }
                (Role::Reader, Some(conn)) => context.read(&conn),
                (Role::Reader, None) => {}
            }
        };
        // The error is that of the next look.
        let _ = self.pool.submit(Box::new(relieve));
    }

    /// Drains the connections, cancels the requests that are late, and ends the threads. Returns how many connections were late.
    /// Never waits for code of the daemon.
    pub(super) fn shut_down(&self, mut shutdown: Shutdown) -> usize {
        loop {
            let (open, phase) = (self.table().len(), self.phase());
            match shutdown.step(open, Instant::now()) {
                ShutdownStep::Wait(until) => {
                    self.wait_closed(until, |now_open| now_open < open || self.phase() != phase);
                }
                ShutdownStep::Enter(phase) => self.enter(phase),
                ShutdownStep::End { late } => {
                    self.end();
                    return late;
                }
            }
        }
    }

    /// Closes the connections that are still open, and ends the threads.
    pub(super) fn end(&self) {
        // A connection that still waits for its slot gets none.
        let table = self.table();
        self.phase.enter(None);
        drop(table);
        self.all().iter().for_each(|conn| conn.stream.disconnect());
        // The connections that are ready own this context.
        let (_ready, wakes) = self.run_queue().end();
        if wakes {
            self.wake_poller();
        }
        self.pool.close();
    }
}
