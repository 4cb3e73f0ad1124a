//! One connection with its calls, whoever moves its bytes: threads or a task.

use super::super::client_connection::ById;
use super::super::connection::ConnectionError;
use super::super::mux::MuxError;
use super::super::payload::Payload;
use super::super::server_connection::{
    Call, CallId, CancelReason, SendEventError, ServerConnection, ServerEvent,
};
use super::callback::{self, Callback};
use super::observe::{Batch, Fact, Outcome, RequestSpan};
use super::over_capacity::Place;
use super::service::{Admission, Caller, Peer, Service};
use super::setup::Detector;
use super::{Handler, IncomingRequest, InlineHandler, PeerCredentials};
use crate::broker::protocol::{Refusal, RefusalReason};
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
    calls: ById<CallId, Work<C>>,
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
    payload_protocol: u32,
    memory: usize,
    /// When the server took the request.
    taken: Instant,
}

/// A call for a concurrent handler.
pub(in super::super) struct Concurrent<H: ?Sized, C> {
    pub(in super::super) call: CallId,
    pub(in super::super) handler: Arc<H>,
    pub(in super::super) request: IncomingRequest,
    pub(in super::super) cancel: C,
    pub(in super::super) span: RequestSpan,
}

impl<H: ?Sized, C> Concurrent<H, C> {
    pub(in super::super) fn payload_protocol(&self) -> u32 {
        self.request.frame().payload_protocol
    }
}

impl<C: Cancel> Session<C> {
    /// A connection that `peer` made and that was accepted at `now`, in this `place`.
    pub(in super::super) fn new<H: ?Sized>(
        service: &Service<Handler<H>>,
        peer: PeerCredentials,
        place: Place,
        now: Instant,
    ) -> Self {
        Self {
            connection: service.connection(place, now),
            peer: service.peer(peer, place),
            calls: ById::default(),
            requests: 0,
            legacy: None,
            gone: false,
            cancelled: false,
        }
    }

    /// Refuses whatever the peer asks for from now on.
    pub(in super::super) fn refuse_peer(&mut self, refusal: Refusal) {
        self.peer.refuse(refusal);
    }

    /// Goes through everything that the connection has to tell; `asked` gets the calls for concurrent handlers. If there is no
    /// memory for it, nothing can be read or written any more.
    pub(in super::super) fn pump<H: ?Sized>(
        &mut self,
        service: &Service<Handler<H>>,
        mut asked: impl FnMut(Concurrent<H, C>),
    ) {
        loop {
            let taken = callback::run(|| self.take_events(service, &mut asked));
            if taken.is_none() && !self.gone {
                // The handlers and the rule, which are run there as well, are caught where they are called.
                service.panicked_in(Callback::Detector, self.peer.credentials);
                self.hang_up();
                // Calls are told.
                continue;
            }
            if service.budget.is_tight() {
                // Nothing is kept for the next message.
                self.connection.release();
            }
            let memory = self.connection.memory() + self.requests;
            if memory == 0 {
                // The buffers gave theirs back.
                self.calls.shrink_to_fit();
            }
            match service.settle(&mut self.peer, memory, self.connection.has_spoken()) {
                Err(trouble) if !self.gone => {
                    service.observation.trouble_of(self.peer.credentials, &trouble);
                    self.hang_up();
                }
                _ => return,
            }
        }
    }

    fn take_events<H: ?Sized>(
        &mut self,
        service: &Service<Handler<H>>,
        asked: &mut impl FnMut(Concurrent<H, C>),
    ) {
        let Self { connection, peer, calls, requests, legacy, cancelled, .. } = self;
        let observation = &service.observation;
        let mut batch = Batch::new(observation);
        loop {
            connection.set_max_in_flight(service.max_in_flight_each());
            if connection.begins_too_large() && service.authorize(peer).is_ok() {
                connection.trust();
            }
            match connection.next_event() {
                Ok(None) => break,
                Err(error) => {
                    if let ConnectionError::Mux(MuxError::UnservedPayloadProtocol { payload_protocol }) =
                        error
                    {
                        batch.asked();
                        batch.refused(payload_protocol, RefusalReason::UnservedProtocol);
                    }
                    observation.trouble_of(peer.credentials, &error.into());
                }
                Ok(Some(ServerEvent::Request(call))) => match service.admit(&call.frame, call.now(), peer) {
                    Ok(Admission { handler: Handler::Status, .. }) => service.tell_status(call),
                    Ok(Admission { handler: Handler::Inline(handler), .. }) => {
                        batch.asked();
                        answer(service, handler, call, peer.credentials, &mut batch);
                    }
                    Ok(Admission { handler: Handler::Concurrent(handler), deadline }) => {
                        batch.asked();
                        if let Err(refusal) = service.begin(peer.credentials) {
                            refuse(call, &refusal, &mut batch);
                            continue;
                        }
                        let (taken, frame) = (call.now(), call.frame.to_frame());
                        let (payload_protocol, memory) = (frame.payload_protocol, frame.payload.len());
                        let span = RequestSpan::new(&call.frame, peer.credentials);
                        let request = IncomingRequest::new(frame, deadline, peer.credentials);
                        let call = call.admit(deadline);
                        let cancel = C::default();
                        *requests += memory;
                        calls.insert(call, Work { cancel: cancel.clone(), payload_protocol, memory, taken });
                        let handler = Arc::clone(handler);
                        asked(Concurrent { call, handler, request, cancel, span });
                    }
                    Err(refusal) => {
                        batch.asked();
                        refuse(call, &refusal, &mut batch);
                    }
                },
                Ok(Some(ServerEvent::Cancelled(call, reason))) => {
                    if let Some(work) = calls.get(&call) {
                        work.cancel.cancel(reason);
                        observation.outcome(work.payload_protocol, Outcome::Cancelled);
                    }
                    *cancelled = true;
                }
                Ok(Some(ServerEvent::Legacy(buffered))) => {
                    if service.authorize(peer).is_ok() {
                        *legacy = Some(buffered);
                    }
                }
                Ok(Some(ServerEvent::ProbeAnswered)) => observation.note(Fact::ProbeAnswered),
                Ok(Some(ServerEvent::Refused(_))) => {
                    batch.asked();
                    // Which protocol it has is not told.
                    batch.refused(0, RefusalReason::BadEncoding);
                }
                Ok(Some(ServerEvent::Unasked(_) | ServerEvent::Closed)) => {}
            }
        }
        if peer.is_over_capacity() {
            // It was told so for each request that has come.
            connection.close();
        }
    }

    /// `call` has ended with `answer` at `ended`.
    pub(in super::super) fn finish<H>(
        &mut self,
        service: &Service<H>,
        call: CallId,
        answer: Result<Payload, Refusal>,
        ended: Instant,
    ) {
        let Some(work) = self.calls.remove(&call) else { return };
        let Work { payload_protocol, taken, .. } = work;
        let observation = &service.observation;
        self.requests -= work.memory;
        observation.note(Fact::Ended);
        let outcome = match answer {
            Ok(payload) => match self.connection.respond(call, payload) {
                Ok(()) => Outcome::Answered,
                Err(error) => {
                    service.unanswerable(payload_protocol, error, self.peer.credentials);
                    Outcome::Refused(RefusalReason::AnswerTooLarge)
                }
            },
            Err(refusal) => {
                self.connection.refuse(call, &refusal);
                Outcome::Refused(refusal.reason())
            }
        };
        // What was cancelled has an outcome.
        if !work.cancel.is_cancelled() {
            observation.outcome(payload_protocol, outcome);
            if outcome == Outcome::Answered {
                observation.took(taken, ended, 1);
            }
        }
    }

    /// Returns who made the connection.
    pub(in super::super) fn peer(&self) -> PeerCredentials {
        self.peer.credentials
    }

    /// Returns who waits for the answer to `call`, if anybody does.
    pub(in super::super) fn caller(&self, call: CallId) -> Caller {
        let cancelled = self.calls.get(&call).is_none_or(|work| work.cancel.is_cancelled());
        Caller { peer: self.peer.credentials, waits: !cancelled && !self.gone }
    }

    /// Sends an event ahead of the answer to `call`.
    pub(in super::super) fn send_event<H>(
        &mut self,
        service: &Service<H>,
        call: CallId,
        payload: &[u8],
    ) -> Result<(), SendEventError> {
        self.connection.send_event(call, payload)?;
        service.observation.note(Fact::EventSent);
        Ok(())
    }

    /// Whether an event of `call` waits: the peer leaves `enough` bytes unread, and somebody waits for the call.
    pub(in super::super) fn holds_back(&self, call: CallId, enough: usize) -> bool {
        let wanted = self.calls.get(&call).is_some_and(|work| !work.cancel.is_cancelled());
        wanted && !self.gone && self.connection.unwritten() >= enough.max(1)
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

fn answer<H: ?Sized>(
    service: &Service<Handler<H>>,
    handler: &InlineHandler,
    call: Call<'_>,
    peer: PeerCredentials,
    batch: &mut Batch<'_>,
) {
    let (payload_protocol, taken) = (call.frame.payload_protocol, call.now());
    let span = RequestSpan::new(&call.frame, peer);
    let caller = || Caller { peer, waits: true };
    let answer = span.in_scope(|| service.judge(payload_protocol, || handler(&call.frame), caller));
    match answer {
        Err(refusal) => refuse(call, &refusal, batch),
        Ok(payload) => match call.respond(payload) {
            Ok(()) => batch.answered(payload_protocol, taken),
            Err(error) => {
                service.unanswerable(payload_protocol, error, peer);
                batch.refused(payload_protocol, RefusalReason::AnswerTooLarge);
            }
        },
    }
}

fn refuse(call: Call<'_>, refusal: &Refusal, batch: &mut Batch<'_>) {
    batch.refused(call.frame.payload_protocol, refusal.reason());
    call.refuse(refusal);
}
