//! One connection with its calls, whoever moves its bytes: threads or a task.

use super::super::server_connection::{Call, CallId, CancelReason, ServerConnection, ServerEvent};
use super::service::{InFlight, Peer, Service};
use super::setup::Detector;
use super::{Handler, IncomingRequest, InlineHandler, PeerCredentials};
use crate::broker::protocol::Refusal;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// How the handler of a call is told that nobody waits for it any more. Clones are one.
pub(in super::super) trait Cancel: Clone + Default {
    fn cancel(&self, reason: CancelReason);

    fn is_cancelled(&self) -> bool;
}

pub(in super::super) struct Session<C> {
    pub(in super::super) connection: ServerConnection<Detector>,
    peer: Peer,
    /// The calls that handlers work on.
    calls: HashMap<CallId, Work<C>>,
    /// The memory of their requests, in bytes.
    requests: usize,
    /// What the legacy handler starts with, until whoever reads takes it.
    pub(in super::super) legacy: Option<Vec<u8>>,
    /// Nothing can be read or written any more.
    pub(in super::super) gone: bool,
    /// Calls were cancelled, and who waits with them is still to be told.
    pub(in super::super) cancelled: bool,
}

/// What is kept of a call while its handler works.
struct Work<C> {
    cancel: C,
    memory: usize,
}

/// A call for a concurrent handler.
pub(in super::super) struct Concurrent<H: ?Sized, C> {
    pub(in super::super) call: CallId,
    pub(in super::super) handler: Arc<H>,
    pub(in super::super) request: IncomingRequest,
    pub(in super::super) cancel: C,
    pub(in super::super) place: InFlight,
}

impl<C: Cancel> Session<C> {
    /// A connection that `peer` made and that was accepted at `now`.
    pub(in super::super) fn new<H: ?Sized>(
        service: &Service<Handler<H>>,
        peer: PeerCredentials,
        now: Instant,
    ) -> Self {
        Self {
            connection: service.connection(now),
            peer: Peer::new(peer),
            calls: HashMap::new(),
            requests: 0,
            legacy: None,
            gone: false,
            cancelled: false,
        }
    }

    /// Goes through everything that the connection has to tell; the calls are for others. If there is no memory for it,
    /// nothing can be read or written any more.
    pub(in super::super) fn pump<H: ?Sized>(
        &mut self,
        service: &Service<Handler<H>>,
    ) -> Vec<Concurrent<H, C>> {
        let mut asked = Vec::new();
        loop {
            self.take_events(service, &mut asked);
            let memory = self.connection.memory() + self.requests;
            match service.settle(&mut self.peer, memory, self.connection.has_spoken()) {
                Err(trouble) if !self.gone => {
                    (service.observer)(&trouble);
                    self.hang_up();
                }
                _ => return asked,
            }
        }
    }

    fn take_events<H: ?Sized>(&mut self, service: &Service<Handler<H>>, asked: &mut Vec<Concurrent<H, C>>) {
        let Self { connection, peer, calls, requests, legacy, cancelled, .. } = self;
        loop {
            connection.set_max_in_flight(service.max_in_flight_each());
            match connection.next_event() {
                Ok(None) => return,
                Err(error) => (service.observer)(&error.into()),
                Ok(Some(ServerEvent::Request(call))) => match service.admit(&call.frame, call.now(), peer) {
                    Err(refusal) => call.refuse(&refusal),
                    Ok(admission) => match admission.handler {
                        Handler::Inline(handler) => answer(service, handler, call),
                        Handler::Concurrent(handler) => match service.enter() {
                            Err(refusal) => call.refuse(&refusal),
                            Ok(place) => {
                                let frame = call.frame.to_frame();
                                let memory = frame.payload.len();
                                let request =
                                    IncomingRequest::new(frame, admission.deadline, peer.credentials);
                                let call = call.admit(admission.deadline);
                                let cancel = C::default();
                                *requests += memory;
                                calls.insert(call, Work { cancel: cancel.clone(), memory });
                                let handler = Arc::clone(handler);
                                asked.push(Concurrent { call, handler, request, cancel, place });
                            }
                        },
                    },
                },
                Ok(Some(ServerEvent::Cancelled(call, reason))) => {
                    if let Some(work) = calls.get(&call) {
                        work.cancel.cancel(reason);
                    }
                    *cancelled = true;
                }
                Ok(Some(ServerEvent::Legacy(buffered))) => {
                    if service.authorize(peer).is_ok() {
                        *legacy = Some(buffered);
                    }
                }
                Ok(Some(
                    ServerEvent::ProbeAnswered
                    | ServerEvent::Unasked(_)
                    | ServerEvent::Refused(_)
                    | ServerEvent::Closed,
                )) => {}
            }
        }
    }

    /// `call` has ended with `answer`.
    pub(in super::super) fn finish<H>(
        &mut self,
        service: &Service<H>,
        call: CallId,
        payload_protocol: u32,
        answer: Result<Vec<u8>, Refusal>,
    ) {
        self.requests -= self.calls.remove(&call).map_or(0, |work| work.memory);
        match answer {
            Ok(payload) => {
                if let Err(error) = self.connection.respond(call, payload) {
                    service.unanswerable(payload_protocol, error);
                }
            }
            Err(refusal) => self.connection.refuse(call, &refusal),
        }
    }

    /// Whether an event of `call` waits: the peer leaves `enough` bytes unread, and somebody waits for the call.
    pub(in super::super) fn holds_back(&self, call: CallId, enough: usize) -> bool {
        let wanted = self.calls.get(&call).is_some_and(|work| !work.cancel.is_cancelled());
        wanted && !self.gone && self.connection.unwritten() >= enough
    }

    /// Nothing can be read or written any more, and every call is cancelled.
    pub(in super::super) fn hang_up(&mut self) {
        self.gone = true;
        self.connection.hang_up();
    }

    /// The connection is gone, and what it used is free for others.
    pub(in super::super) fn settle_all<H>(&mut self, service: &Service<H>) {
        service.settle_all(&mut self.peer);
    }
}

fn answer<H: ?Sized>(service: &Service<Handler<H>>, handler: &InlineHandler, call: Call<'_>) {
    let payload_protocol = call.frame.payload_protocol;
    match catch_unwind(AssertUnwindSafe(|| handler(&call.frame))) {
        Ok(Ok(payload)) => {
            if let Err(error) = call.respond(payload) {
                service.unanswerable(payload_protocol, error);
            }
        }
        Ok(Err(error)) => call.refuse(&service.failed(payload_protocol, error)),
        Err(_panic) => call.refuse(&service.panicked()),
    }
}
