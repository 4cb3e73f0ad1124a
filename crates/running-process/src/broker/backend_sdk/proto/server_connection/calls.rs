//! The admitted calls of one connection.

use super::call_id::{CallId, CancelReason, Cancelled, SendEventError};
use crate::broker::backend_sdk::proto::connection::{
    answering, append_payload, append_refusal, unanswerable,
};
use crate::broker::backend_sdk::proto::id_map::ById;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::send_buffer::SendBuffer;
#[cfg(feature = "host")]
use crate::broker::protocol::Encodings;
use crate::broker::protocol::{DescriptorFields, EncodingPolicy, FrameKind, FrameRef, FramingError, Refusal};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Calls<T> {
    /// The calls by their request ids, which are all different.
    admitted: ById<u64, Admitted<T>>,
    /// The deadlines of the calls that are not cancelled.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Cancelled calls that the driver is still to be notified of.
    to_notify: VecDeque<(CallId, CancelReason)>,
    /// Cancelled calls whose refusals are still to be written.
    to_refuse: Vec<(CallId, Refusal)>,
    next_sequence: u64,
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Self {
            admitted: ById::default(),
            deadlines: BTreeSet::new(),
            to_notify: VecDeque::new(),
            to_refuse: Vec::new(),
            next_sequence: 0,
        }
    }
}

/// A call that has ended, without its answer.
#[derive(Debug)]
pub(crate) struct Ended<T> {
    request_id: u64,
    admitted: Admitted<T>,
}

impl<T> Ended<T> {
    /// Returns the driver's data.
    #[cfg(feature = "host")]
    pub(crate) fn data(&self) -> &T {
        &self.admitted.data
    }

    /// Returns whether the call was cancelled: then its answer is dropped.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.admitted.cancelled
    }

    #[cfg(feature = "host")]
    pub(crate) fn accepted_encodings(&self) -> Encodings {
        Encodings::from_bits(self.admitted.accepted_encodings)
    }

    /// Returns the most descriptors that the peer takes with the answer.
    #[cfg(feature = "host")]
    pub(crate) fn peer_descriptors(&self) -> u8 {
        self.admitted.accepted_descriptors
    }

    /// Appends the response, unless the call was cancelled.
    pub(super) fn respond(
        &self,
        payload: Payload,
        encodings: &EncodingPolicy,
        accepted_descriptors: u8,
        output: &mut SendBuffer,
    ) -> Result<(), FramingError> {
        if self.is_cancelled() {
            return Ok(());
        }
        let request = self.admitted.request(self.request_id);
        let response = answering(&request, FrameRef::response_to(&request, &[]), accepted_descriptors);
        append_payload(&request, response, payload, encodings, output).inspect_err(|error| {
            append_refusal(&request, &unanswerable(error), output);
        })
    }

    /// Appends the refusal, unless the call was cancelled.
    pub(super) fn refuse(&self, refusal: &Refusal, output: &mut SendBuffer) {
        if !self.is_cancelled() {
            append_refusal(&self.admitted.request(self.request_id), refusal, output);
        }
    }
}

/// The parts of a request that its answer needs, and the driver's data.
#[derive(Debug)]
struct Admitted<T> {
    data: T,
    sequence: u64,
    payload_protocol: u32,
    accepted_encodings: u32,
    accepted_descriptors: u8,
    /// In a box, since few have one.
    trace: Option<Box<TraceContext>>,
    deadline: Option<Instant>,
    cancelled: bool,
}

#[derive(Debug)]
struct TraceContext {
    traceparent: Box<str>,
    tracestate: Box<str>,
}

impl TraceContext {
    /// Returns the trace context of `request`, if it has one.
    #[inline]
    fn of(request: &FrameRef<'_>) -> Option<Box<Self>> {
        let FrameRef { traceparent, tracestate, .. } = *request;
        let has_one = !traceparent.is_empty() || !tracestate.is_empty();
        has_one.then(|| Box::new(Self { traceparent: traceparent.into(), tracestate: tracestate.into() }))
    }
}

impl<T> Admitted<T> {
    /// Returns the request without its payload.
    fn request(&self, request_id: u64) -> FrameRef<'_> {
        let trace = self.trace.as_ref();
        FrameRef {
            accepted_encodings: self.accepted_encodings,
            descriptors: DescriptorFields::NONE.accepting(self.accepted_descriptors),
            traceparent: trace.map_or("", |trace| &trace.traceparent),
            tracestate: trace.map_or("", |trace| &trace.tracestate),
            ..FrameRef::request(self.payload_protocol, request_id, &[])
        }
    }
}

impl<T> Calls<T> {
    pub(super) fn len(&self) -> usize {
        self.admitted.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.admitted.is_empty()
    }

    pub(super) fn contains(&self, request_id: u64) -> bool {
        self.admitted.contains_key(&request_id)
    }

    /// Returns the memory of the table of calls, in bytes. Other memory of a call is small.
    pub(super) fn memory(&self) -> usize {
        self.admitted.capacity() * size_of::<(u64, Admitted<T>)>()
    }

    /// Releases the memory if there is no call.
    pub(super) fn release(&mut self) {
        if self.is_empty() && self.to_notify.is_empty() {
            *self = Self { next_sequence: self.next_sequence, ..Self::default() };
        }
    }

    pub(super) fn admit(&mut self, request: &FrameRef<'_>, deadline: Option<Instant>, data: T) -> CallId {
        let (request_id, sequence) = (request.request_id, self.next_sequence);
        self.next_sequence += 1;
        self.deadlines.extend(deadline.map(|deadline| (deadline, request_id)));
        let admitted = Admitted {
            data,
            sequence,
            payload_protocol: request.payload_protocol,
            accepted_encodings: request.accepted_encodings,
            accepted_descriptors: request.descriptors.accepted(),
            trace: TraceContext::of(request),
            deadline,
            cancelled: false,
        };
        let before = self.admitted.insert(request_id, admitted);
        debug_assert!(before.is_none(), "a request whose id is in flight is blocked");
        CallId { request_id, sequence }
    }

    pub(super) fn data(&self, call: CallId) -> Option<&T> {
        self.named(call).map(|admitted| &admitted.data)
    }

    #[cfg(feature = "host")]
    pub(super) fn data_mut(&mut self, call: CallId) -> Option<&mut T> {
        let admitted = self.admitted.get_mut(&call.request_id);
        admitted.filter(|admitted| admitted.sequence == call.sequence).map(|admitted| &mut admitted.data)
    }

    pub(super) fn is_cancelled(&self, call: CallId) -> bool {
        self.named(call).is_some_and(|admitted| admitted.cancelled)
    }

    /// Returns the most descriptors that the peer takes with the answer to `call` or an event of it.
    pub(super) fn peer_descriptors(&self, call: CallId) -> u8 {
        self.named(call).map_or(0, |admitted| admitted.accepted_descriptors)
    }

    /// Calls `append` with the request of `call` and an event of that.
    pub(super) fn send_event(
        &mut self,
        call: CallId,
        accepted_descriptors: u8,
        append: impl FnOnce(&FrameRef<'_>, FrameRef<'_>) -> Result<(), FramingError>,
    ) -> Result<(), SendEventError> {
        let admitted = self.named(call).filter(|admitted| !admitted.cancelled);
        let request = admitted.ok_or(SendEventError::Cancelled)?.request(call.request_id);
        let event = FrameRef { kind: FrameKind::Event.into(), ..FrameRef::response_to(&request, &[]) };
        let event = answering(&request, event, accepted_descriptors);
        Ok(append(&request, event)?)
    }

    /// Ends `call`; `None` if it has ended before.
    pub(super) fn end(&mut self, call: CallId, output: &mut SendBuffer) -> Option<Ended<T>> {
        self.write_refusals(output);
        let Entry::Occupied(entry) = self.admitted.entry(call.request_id) else { return None };
        if entry.get().sequence != call.sequence {
            return None;
        }
        let (request_id, admitted) = entry.remove_entry();
        if let Some(deadline) = admitted.deadline {
            self.deadlines.remove(&(deadline, request_id));
        }
        Some(Ended { request_id, admitted })
    }

    /// Returns the call of this name. An answer that comes too late must not be taken for that of the next call with the same
    /// request id.
    fn named(&self, call: CallId) -> Option<&Admitted<T>> {
        self.admitted.get(&call.request_id).filter(|admitted| admitted.sequence == call.sequence)
    }

    /// Cancels the call of `request_id`, if there is one that was not cancelled before; its refusal is still to be written.
    pub(super) fn cancel(&mut self, request_id: u64, reason: CancelReason) -> Option<Cancelled<'_, T>> {
        let admitted = self.admitted.get_mut(&request_id).filter(|admitted| !admitted.cancelled)?;
        admitted.cancelled = true;
        if let Some(deadline) = admitted.deadline {
            self.deadlines.remove(&(deadline, request_id));
        }
        let call = CallId { request_id, sequence: admitted.sequence };
        self.to_refuse.extend(reason.refusal().map(|refusal| (call, refusal)));
        Some(Cancelled { call, reason, data: &admitted.data })
    }

    /// Cancels the call as [`cancel`](Self::cancel) does, and notifies the driver.
    pub(super) fn cancel_and_notify(&mut self, request_id: u64, reason: CancelReason) {
        let cancelled = self.cancel(request_id, reason).map(|Cancelled { call, .. }| call);
        self.to_notify.extend(cancelled.map(|call| (call, reason)));
    }

    pub(super) fn cancel_all(&mut self, reason: CancelReason) {
        let mut all: Vec<_> = self.admitted.keys().copied().collect();
        all.sort_unstable();
        for request_id in all {
            self.cancel_and_notify(request_id, reason);
        }
    }

    /// Cancels every call whose deadline is not after `now`.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, request_id)) = self.deadlines.first()
            && deadline <= now
        {
            self.cancel_and_notify(request_id, CancelReason::DeadlinePassed);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Returns whether the driver is to be notified of a cancelled call. Calls that have ended since are forgotten.
    pub(super) fn has_cancelled(&mut self) -> bool {
        while let Some((call, _)) = self.to_notify.front() {
            if self.is_cancelled(*call) {
                return true;
            }
            self.to_notify.pop_front();
        }
        false
    }

    /// Returns the next cancelled call that the driver is to be notified of.
    pub(super) fn next_cancelled(&mut self) -> Option<Cancelled<'_, T>> {
        let (call, reason) = self.to_notify.pop_front()?;
        self.data(call).map(|data| Cancelled { call, reason, data })
    }

    /// Writes the refusals of the calls that were cancelled.
    #[inline]
    pub(super) fn write_refusals(&mut self, output: &mut SendBuffer) {
        if !self.to_refuse.is_empty() {
            self.write_unwritten_refusals(output);
        }
    }

    #[cold]
    fn write_unwritten_refusals(&mut self, output: &mut SendBuffer) {
        for (call, refusal) in std::mem::take(&mut self.to_refuse) {
            if let Some(admitted) = self.named(call) {
                append_refusal(&admitted.request(call.request_id), &refusal, output);
            }
        }
    }
}
