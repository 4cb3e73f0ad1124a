//! The processing of received messages.

use super::ServerSession;
use crate::broker::backend_sdk::mux::MuxError;
use crate::broker::backend_sdk::proto::connection::{ConnectionError, unanswerable};
use crate::broker::backend_sdk::proto::recv_buffer::recycle;
use crate::broker::backend_sdk::proto::server_connection::{Call, ServerEvent};
use crate::broker::backend_sdk::server::answer_file::sendable;
use crate::broker::backend_sdk::server::callback::{self, Callback};
use crate::broker::backend_sdk::server::cancellation::Cancellation;
use crate::broker::backend_sdk::server::charges::{UNCHARGED, answer_memory};
use crate::broker::backend_sdk::server::config::ServeError;
use crate::broker::backend_sdk::server::dispatch::{Answer, Dispatched, Work};
use crate::broker::backend_sdk::server::handler::{Handler, InlineHandler};
use crate::broker::backend_sdk::server::phase::Phase;
use crate::broker::backend_sdk::server::policy::{Peer, ServerPolicy};
use crate::broker::backend_sdk::server::request::{InlineRequest, RequestParts};
use crate::broker::backend_sdk::server::telemetry::{Batch, Event, Outcome, RequestSpan, Telemetry};
use crate::broker::protocol::{DescriptorFields, Encodings, Refusal, RefusalReason};
use crate::descriptor::Descriptor;
use std::collections::VecDeque;
use std::sync::Arc;

impl<H: ?Sized> ServerSession<H> {
    /// Processes the bytes that were received: answers probes, runs inline handlers, refuses requests that are not served, and
    /// passes each request of a concurrent handler to `dispatch`.
    pub fn process(&mut self, mut dispatch: impl FnMut(Dispatched<H>)) {
        self.process_while(|dispatched| {
            dispatch(dispatched);
            true
        });
    }

    /// [Processes](Self::process) the bytes that were received until `dispatch` returns `false`; the next call goes on.
    pub(in super::super) fn process_while(&mut self, mut dispatch: impl FnMut(Dispatched<H>) -> bool) {
        if std::mem::take(&mut self.changes.over_capacity) {
            // Before the peer is told: a client that knows of its refusal finds it counted.
            self.policy.telemetry.error(&self.policy.too_many_connections());
        }
        (self.changes.resumes, self.changes.unprocessed) = (false, false);
        if std::mem::take(&mut self.changes.unsettled) {
            // Before a peer asks for the counters.
            self.batch.note(&self.policy.telemetry);
        }
        // Received bytes are charged before anything is made of them.
        self.charge();
        loop {
            let was_reset = self.reset;
            let processed = callback::run(|| self.process_events(&mut dispatch));
            self.batch.note(&self.policy.telemetry);
            if processed.is_none() && !self.reset {
                // Handlers and the rule run there as well, and are caught where they are called.
                self.policy.panicked_in(Callback::Detector, self.peer.credentials);
                self.reset_connection();
                // The next turn of this loop cancels the requests in flight.
                continue;
            }
            if self.phase == Phase::HandedOver {
                self.connection.tell_moved();
            }
            if self.policy.budget.is_tight() {
                self.connection.release();
            }
            if self.charge() && self.reset == was_reset {
                return;
            }
        }
    }

    fn process_events(&mut self, dispatch: &mut impl FnMut(Dispatched<H>) -> bool) {
        let mut out_of_memory = None;
        let Self {
            policy,
            connection,
            peer,
            request_memory,
            descriptors,
            legacy,
            legacy_memory,
            changes,
            batch,
            ..
        } = self;
        let telemetry = &policy.telemetry;
        // The payload of an inline request that came encoded.
        let mut decoded = Vec::new();
        while out_of_memory.is_none() && !changes.unprocessed {
            connection.set_max_in_flight(policy.max_in_flight_each());
            if connection.exceeds_first_message() && policy.authorize(peer).is_ok() {
                connection.trust_peer();
            }
            let event = connection.next_event_unless(false, |request, goes_on| {
                goes_on && !policy.affords(peer, request) && policy.authorize(peer).is_ok()
            });
            match event {
                Ok(None) => break,
                Err(error) => {
                    note_unserved(&error, batch, telemetry);
                    telemetry.error_of(peer.credentials, &error.into());
                }
                Ok(Some(ServerEvent::Request(call))) => {
                    let came = take_descriptors(descriptors, call.frame.descriptors);
                    match policy.admit(&call.frame, call.now(), peer) {
                        Ok((Handler::Status, _)) => policy.respond_status(call),
                        Ok((Handler::Inline(handler), _)) => {
                            batch.asked();
                            out_of_memory =
                                answer_inline(policy, handler, call, &came, &mut decoded, peer, batch).err();
                        }
                        Ok((Handler::Concurrent(handler), deadline)) => {
                            batch.asked();
                            let taken = call.now();
                            let owned = policy.begin(peer.credentials).and_then(|()| {
                                policy.owned(&call, peer).inspect_err(|_| telemetry.note(Event::Ended))
                            });
                            let (mut frame, place, memory) = match owned {
                                Ok(owned) => owned,
                                Err(refusal) => {
                                    refuse(call, &refusal, telemetry);
                                    continue;
                                }
                            };
                            *request_memory += memory;
                            let span = RequestSpan::new(&frame.borrowed(), peer.credentials);
                            let cancellation = Cancellation::default();
                            let work = Work::new(&frame, cancellation.clone(), (memory, taken), span.clone());
                            let came = (came, call.frame.descriptors.accepted());
                            let call = call.admit_with(deadline, work);
                            if let Some(place) = place {
                                frame.payload = connection.take_payload(place);
                            }
                            let request =
                                RequestParts::new(frame, came, deadline, peer.credentials, cancellation);
                            let handler = Arc::clone(handler);
                            changes.unprocessed = !dispatch(Dispatched { call, handler, request, span });
                        }
                        Err(refusal) => {
                            batch.asked();
                            refuse(call, &refusal, telemetry);
                        }
                    }
                }
                Ok(Some(ServerEvent::Cancelled(cancelled))) => {
                    cancelled.data.cancellation.cancel(cancelled.reason);
                    telemetry.outcome(cancelled.data.payload_protocol, Outcome::Cancelled);
                    changes.progress = true;
                }
                Ok(Some(ServerEvent::Legacy(mut buffered))) => {
                    if policy.authorize(peer).is_ok() {
                        buffered.shrink_to_fit();
                        *legacy_memory = buffered.capacity();
                        *legacy = Some(buffered);
                    }
                }
                Ok(Some(ServerEvent::ProbeAnswered)) => telemetry.note(Event::ProbeAnswered),
                Ok(Some(ServerEvent::Refused(_))) => unreachable!("payloads are decoded and refused here"),
                // The rule is asked about each peer that sends the daemon anything.
                Ok(Some(ServerEvent::Unasked(frame))) => {
                    drop(take_descriptors(descriptors, frame.descriptors));
                    drop(policy.authorize(peer));
                }
                Ok(Some(ServerEvent::Closed)) => {}
            }
        }
        recycle(&mut decoded);
        if peer.is_refused() {
            // Each request that came was refused.
            connection.close();
        }
        if let Some(error) = out_of_memory {
            self.run_out_of_memory(&error);
        }
    }
}

/// Answers `call` inline.
///
/// # Errors
///
/// The server has no memory to keep the answer.
fn answer_inline<H: ?Sized>(
    policy: &ServerPolicy<H>,
    handler: &InlineHandler,
    call: Call<'_, Work>,
    descriptors: &[Descriptor],
    decoded: &mut Vec<u8>,
    peer: &mut Peer,
    batch: &mut Batch,
) -> Result<(), ServeError> {
    let (payload_protocol, taken) = (call.frame.payload_protocol, call.now());
    let mut charged = peer.charged;
    let answer = policy.decoded(&call, decoded, peer).and_then(|frame| {
        charged = peer.charged;
        let span = RequestSpan::new(&frame, peer.credentials);
        span.in_scope(|| {
            let request = InlineRequest::new(frame, descriptors, peer.credentials);
            let accepted = request.accepted_descriptors();
            let answer = Answer::of(|| {
                sendable(handler(&request)?, accepted, |bytes| Ok(policy.charge(peer, charged + bytes)?))
            });
            policy.judge(payload_protocol, answer, peer.credentials, true)
        })
    });
    match answer {
        Err(refusal) => refuse(call, &refusal, &policy.telemetry),
        Ok(payload) => {
            let accepted = Encodings::from_bits(call.frame.accepted_encodings);
            let memory = answer_memory(&payload, &policy.config.connection.encodings, accepted);
            if memory >= UNCHARGED {
                policy.charge(peer, charged + memory)?;
            }
            match call.respond(payload) {
                Ok(()) => batch.answered_inline(payload_protocol, taken, &policy.telemetry),
                Err(error) => {
                    let outcome = Outcome::Refused(unanswerable(&error).reason());
                    policy.telemetry.outcome(payload_protocol, outcome);
                    policy.unanswerable(payload_protocol, error, peer.credentials);
                }
            }
        }
    }
    Ok(())
}

/// Notes that a request was refused whose payload protocol is not served, if `error` says so.
fn note_unserved(error: &ConnectionError, batch: &mut Batch, telemetry: &Telemetry) {
    if let ConnectionError::Mux(MuxError::UnservedPayloadProtocol { payload_protocol }) = error {
        batch.asked();
        telemetry.outcome(*payload_protocol, Outcome::Refused(RefusalReason::UnservedProtocol));
    }
}

/// Takes the descriptors of a frame with these `fields`, which are the next ones.
#[inline]
fn take_descriptors(descriptors: &mut VecDeque<Descriptor>, fields: DescriptorFields) -> Vec<Descriptor> {
    match usize::from(fields.count()) {
        0 => Vec::new(),
        count => descriptors.drain(..count.min(descriptors.len())).collect(),
    }
}

fn refuse(call: Call<'_, Work>, refusal: &Refusal, telemetry: &Telemetry) {
    telemetry.outcome(call.frame.payload_protocol, Outcome::Refused(refusal.reason()));
    call.refuse(refusal);
}
