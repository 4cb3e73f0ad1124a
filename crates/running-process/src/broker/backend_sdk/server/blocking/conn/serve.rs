//! Serving requests, on the thread that reads or on the pool, and the legacy wire.

use super::{Action, Call, Conn, Locked, Session, State};
use crate::broker::backend_sdk::server::blocking::adaptive::Lane;
use crate::broker::backend_sdk::server::blocking::handler::{LegacyConnection, ServerRequest};
use crate::broker::backend_sdk::server::callback;
use crate::broker::backend_sdk::server::sync;
use crate::broker::backend_sdk::{Answer, HandlerError, ServeError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for which quick requests are served in a row, before the answers of the first ones are written.
const LONGEST_BATCH: Duration = Duration::from_micros(100);
/// Number of quick requests that are taken at once. The allocator has the memory of so few at hand for the next ones.
const TAKEN_AT_ONCE: usize = 4;

impl Conn {
    /// Runs `process`, and places the requests that it dispatches: quick ones in the queue of a thread with a `lane`, all
    /// others on the pool.
    pub(super) fn dispatch(
        self: &Arc<Self>,
        state: &mut State,
        lane: Option<&Lane>,
        process: impl FnOnce(&mut Session, &mut dyn FnMut(Call) -> bool),
    ) {
        let State { session, queue, .. } = state;
        let mut others = Vec::new();
        if lane.is_none() {
            others.extend(queue.drain(..));
        }
        process(session, &mut |call| {
            if lane.is_some() && call.handler().latency.is_quick() {
                queue.push_back(call);
            } else {
                others.push(call);
            }
            queue.len() < TAKEN_AT_ONCE
        });
        for call in others {
            let (conn, id) = (Arc::clone(self), call.call());
            let job = Box::new(move || {
                conn.wait_for_room(id);
                let (state, now) = conn.serve(call, Instant::now());
                let state = conn.run(state, now, None);
                conn.unlock(state);
            });
            if let Err(error) = self.context.pool.submit(job) {
                let refusal = HandlerError::Refused(self.context.policy.no_thread(error));
                session.finish(id, Answer::Failed(refusal), Instant::now());
            }
        }
    }

    /// Serves `call` and the quick requests behind it, whose answers are written at once. Returns when the last one ended.
    pub(super) fn serve_queue(self: &Arc<Self>, call: Call, lane: &Lane) -> (Locked<'_>, Instant) {
        // One piece of work for the watchdog: it is only overdue if a handler is slow.
        let watched = lane.begin(self.id);
        self.context.watch();
        let (mut call, mut at) = (call, Instant::now());
        let until = at + LONGEST_BATCH;
        loop {
            // A thread that took over meanwhile may have found the lock taken, and the handler may be slow.
            if self.has_events() {
                self.drive(None);
            }
            let (mut state, ended) = self.serve(call, at);
            let is_early = sync::either(ended < until);
            let goes_on = watched && is_early && !lane.is_lost() && !state.session.is_full();
            if goes_on && state.queue.is_empty() && state.session.is_unprocessed() {
                self.dispatch(&mut state, Some(lane), |session, dispatch| session.process_while(dispatch));
            }
            match if goes_on { state.queue.pop_front() } else { None } {
                Some(next) => (call, at) = (next, ended),
                None => return (state, ended),
            }
        }
    }

    /// Runs the handler of `call` on this thread from `began` on, and finishes the request; returns when the handler ended.
    fn serve(self: &Arc<Self>, call: Call, began: Instant) -> (Locked<'_>, Instant) {
        let (id, received) = (call.call(), call.request().frame().payload.len());
        let (answer, handler) = call.serve_by(
            |handler, request| (handler.serve)(ServerRequest::new(request, Arc::<Self>::clone(self), id)),
            |bytes| Ok(self.with(|state| state.session.reserve(id, bytes))?),
        );
        let ended = Instant::now();
        let sent = if let Answer::Payload(payload) = &answer { payload.len() } else { 0 };
        handler.latency.record(ended.saturating_duration_since(began), received + sent);
        let mut state = self.state();
        state.session.finish(id, answer, ended);
        (state, ended)
    }

    /// Hands the connection to the legacy handler, which starts with `buffered`.
    pub(super) fn serve_legacy(self: &Arc<Self>, state: &mut State, buffered: Vec<u8>) {
        state.wants = Action::Close;
        self.set_watched(state, None);
        let conn = Arc::clone(self);
        let job = Box::new(move || {
            let (context, peer) = (&conn.context, conn.state().session.peer());
            let error = match &context.legacy {
                None => Some(ServeError::LegacyNotServed),
                Some(handler) => {
                    let connection = LegacyConnection::new(buffered, Arc::<Self>::clone(&conn));
                    callback::run(|| handler(connection)).is_none().then_some(ServeError::HandlerPanicked)
                }
            };
            if let Some(error) = error {
                context.policy.telemetry.error_of(peer, &error);
            }
            conn.with(|state| conn.close(state));
        });
        if let Err(error) = self.context.pool.submit(job) {
            self.context.policy.report(&ServeError::NoThread(error));
            self.close(state);
        }
    }
}
