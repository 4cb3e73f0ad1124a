//! One connection with its calls, whoever moves its bytes: threads or a task.

use super::callback::{self, Callback};
use super::charges::{UNCHARGED, answer_memory};
use super::config::ServerTrouble;
use super::handler::{Handler, InlineHandler};
use super::hooks::Detector;
use super::over_capacity::Place;
use super::peer::PeerCredentials;
use super::policy::{Admission, Caller, Peer, Service};
use super::request::IncomingRequest;
use super::telemetry::{Batch, Fact, Outcome, RequestSpan};
use crate::broker::backend_sdk::mux::MuxError;
use crate::broker::backend_sdk::proto::connection::ConnectionError;
use crate::broker::backend_sdk::proto::id_map::ById;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::recv_buffer::give_back;
use crate::broker::backend_sdk::proto::server_connection::{
    Call, CallId, CancelReason, SendEventError, ServerConnection, ServerEvent,
};
use crate::broker::protocol::{Encodings, Refusal, RefusalReason};
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
    /// The memory of that, in bytes, until the handler has read it.
    handed_over: usize,
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
            handed_over: 0,
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
        // Received bytes are charged before anything is made of them.
        self.settle(service);
        loop {
            let was_gone = self.gone;
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
            if self.connection.memory() + self.requests == 0 {
                // The buffers gave theirs back.
                self.calls.shrink_to_fit();
            }
            if self.settle(service) && self.gone == was_gone {
                return;
            }
        }
    }

    /// Returns the server's memory that the connection uses, in bytes.
    fn memory(&self) -> usize {
        let calls = self.calls.capacity() * size_of::<(CallId, Work<C>)>();
        self.connection.memory() + self.requests + calls + self.handed_over
    }

    /// Charges what the connection uses now. `false` if there is no memory for it: then nothing can be read or written any
    /// more, and the next [pump](Self::pump) tells the calls.
    pub(in super::super) fn settle<H>(&mut self, service: &Service<H>) -> bool {
        let memory = self.memory();
        match service.settle(&mut self.peer, memory) {
            Err(trouble) if !self.gone => {
                self.exhaust(service, &trouble);
                false
            }
            _ => true,
        }
    }

    /// There is no memory for what is to be kept for the peer to read.
    fn exhaust<H>(&mut self, service: &Service<H>, trouble: &ServerTrouble) {
        service.observation.trouble_of(self.peer.credentials, trouble);
        self.hang_up();
    }

    /// The legacy handler has read what was received before it began.
    pub(in super::super) fn release_legacy<H>(&mut self, service: &Service<H>) {
        self.handed_over = 0;
        self.settle(service);
    }

    fn take_events<H: ?Sized>(
        &mut self,
        service: &Service<Handler<H>>,
        asked: &mut impl FnMut(Concurrent<H, C>),
    ) {
        let mut exhausted = None;
        let Self { connection, peer, calls, requests, legacy, handed_over, cancelled, .. } = self;
        let observation = &service.observation;
        let mut batch = Batch::new(observation);
        // The payload of an inline request that came encoded.
        let mut decoded = Vec::new();
        while exhausted.is_none() {
            connection.set_max_in_flight(service.max_in_flight_each());
            if connection.begins_too_large() && service.authorize(peer).is_ok() {
                connection.trust();
            }
            let event = connection.next_event_unless(false, |request, goes_on| {
                goes_on && !service.affords(peer, request) && service.authorize(peer).is_ok()
            });
            match event {
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
                        let answered = answer(service, handler, call, &mut decoded, peer, &mut batch);
                        exhausted = answered.err();
                    }
                    Ok(Admission { handler: Handler::Concurrent(handler), deadline }) => {
                        batch.asked();
                        if let Err(refusal) = service.begin(peer.credentials) {
                            refuse(call, &refusal, &mut batch);
                            continue;
                        }
                        let taken = call.now();
                        let (frame, memory) = match service.owned(&call, peer) {
                            Ok(owned) => owned,
                            Err(refusal) => {
                                observation.note(Fact::Ended);
                                refuse(call, &refusal, &mut batch);
                                continue;
                            }
                        };
                        let payload_protocol = frame.payload_protocol;
                        let span = RequestSpan::new(&frame.borrowed(), peer.credentials);
                        let request = IncomingRequest::new(frame, deadline, peer.credentials);
                        let call = call.admit(deadline);
                        let cancel = C::default();
                        *requests += memory;
                        let work = Work { cancel: cancel.clone(), payload_protocol, memory, taken };
                        calls.insert(call, work);
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
                Ok(Some(ServerEvent::Legacy(mut buffered))) => {
                    if service.authorize(peer).is_ok() {
                        buffered.shrink_to_fit();
                        *handed_over = buffered.capacity();
                        *legacy = Some(buffered);
                    }
                }
                Ok(Some(ServerEvent::ProbeAnswered)) => observation.note(Fact::ProbeAnswered),
                Ok(Some(ServerEvent::Refused(_))) => unreachable!("what is decoded here is refused here"),
                // The rule is asked about each peer that sends the daemon anything.
                Ok(Some(ServerEvent::Unasked(_))) => drop(service.authorize(peer)),
                Ok(Some(ServerEvent::Closed)) => {}
            }
        }
        give_back(decoded);
        if peer.is_refused() {
            // It was told so for each request that has come.
            connection.close();
        }
        if let Some(trouble) = exhausted {
            self.exhaust(service, &trouble);
        }
    }

    /// `call` has ended with `answer` at `ended`. If there is no memory to keep the answer, nothing can be read or written
    /// any more, and the next [pump](Self::pump) tells the other calls.
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
            Ok(payload) => match self.keep(service, call, &payload) {
                Ok(()) => match self.connection.respond(call, payload) {
                    Ok(()) => Outcome::Answered,
                    Err(error) => {
                        service.unanswerable(payload_protocol, error, self.peer.credentials);
                        Outcome::Refused(RefusalReason::AnswerTooLarge)
                    }
                },
                Err(trouble) => {
                    self.exhaust(service, &trouble);
                    self.connection.refuse(call, &Refusal::default());
                    Outcome::Cancelled
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
        self.settle(service);
    }

    /// Returns the credentials of the peer.
    pub(in super::super) fn peer(&self) -> PeerCredentials {
        self.peer.credentials
    }

    /// Returns the peer of `call`, and whether it waits for the answer.
    pub(in super::super) fn caller(&self, call: CallId) -> Caller {
        let cancelled = self.calls.get(&call).is_none_or(|work| work.cancel.is_cancelled());
        Caller { peer: self.peer.credentials, waits: !cancelled && !self.gone }
    }

    /// Charges an answer that is to be kept, unless the peer no longer waits for it.
    fn keep<H>(
        &mut self,
        service: &Service<H>,
        call: CallId,
        payload: &Payload,
    ) -> Result<(), ServerTrouble> {
        if self.gone || payload.capacity().max(payload.len()) < UNCHARGED {
            return Ok(());
        }
        let accepted = self.connection.accepted_encodings(call);
        let memory = answer_memory(payload, &service.config.connection.encodings, accepted);
        let memory = self.memory() + memory;
        service.charge(&mut self.peer, memory)
    }

    /// Sends an event ahead of the answer to `call`. If there is no memory to keep it, nothing can be read or written any
    /// more, and the next [pump](Self::pump) tells the calls.
    pub(in super::super) fn send_event<H>(
        &mut self,
        service: &Service<H>,
        call: CallId,
        payload: &[u8],
    ) -> Result<(), SendEventError> {
        if payload.len() >= UNCHARGED && !self.gone {
            let memory = self.memory() + payload.len();
            if let Err(trouble) = service.charge(&mut self.peer, memory) {
                self.exhaust(service, &trouble);
                return Err(SendEventError::Cancelled);
            }
        }
        let sent = self.connection.send_event(call, payload);
        self.settle(service);
        sent?;
        service.observation.note(Fact::EventSent);
        Ok(())
    }

    /// Returns whether an event of `call` waits, or its handler with its beginning: the peer leaves `enough` bytes
    /// unread, and waits for the call.
    pub(in super::super) fn holds_back(&self, call: CallId, enough: usize) -> bool {
        if self.gone || self.connection.unwritten() < enough.max(1) {
            return false;
        }
        self.calls.get(&call).is_some_and(|work| !work.cancel.is_cancelled())
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

/// Answers `call` inline; an error if there is no memory to keep the answer.
fn answer<H: ?Sized>(
    service: &Service<Handler<H>>,
    handler: &InlineHandler,
    call: Call<'_>,
    decoded: &mut Vec<u8>,
    peer: &mut Peer,
    batch: &mut Batch<'_>,
) -> Result<(), ServerTrouble> {
    let (payload_protocol, taken) = (call.frame.payload_protocol, call.now());
    let answer = service.decoded(&call, decoded, peer).and_then(|frame| {
        let span = RequestSpan::new(&frame, peer.credentials);
        let caller = || Caller { peer: peer.credentials, waits: true };
        span.in_scope(|| service.judge(payload_protocol, || handler(&frame), caller))
    });
    match answer {
        Err(refusal) => refuse(call, &refusal, batch),
        Ok(payload) => {
            let accepted = Encodings::from_bits(call.frame.accepted_encodings);
            let memory = answer_memory(&payload, &service.config.connection.encodings, accepted);
            if memory >= UNCHARGED {
                service.charge_more(peer, memory)?;
            }
            match call.respond(payload) {
                Ok(()) => batch.answered(payload_protocol, taken),
                Err(error) => {
                    service.unanswerable(payload_protocol, error, peer.credentials);
                    batch.refused(payload_protocol, RefusalReason::AnswerTooLarge);
                }
            }
        }
    }
    Ok(())
}

fn refuse(call: Call<'_>, refusal: &Refusal, batch: &mut Batch<'_>) {
    batch.refused(call.frame.payload_protocol, refusal.reason());
    call.refuse(refusal);
}
