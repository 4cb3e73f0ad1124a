//! The admitted calls of one connection.

use super::call::{CallId, CancelReason, SendEventError};
use crate::broker::backend_sdk::proto::connection::{append_answer, append_refusal};
use crate::broker::backend_sdk::proto::id_map::ById;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::send_buffer::Output;
#[cfg(feature = "host")]
use crate::broker::protocol::Encodings;
use crate::broker::protocol::{EncodingPolicy, FrameKind, FrameRef, FramingError, Refusal, RefusalReason};
use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Calls {
    /// By request id, which no two of them share.
    admitted: ById<u64, Admitted>,
    /// Every deadline of a call that has not been cancelled.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Cancelled, and the driver not yet told.
    untold: VecDeque<(CallId, CancelReason)>,
    /// Cancelled, and the refusal not yet in the output.
    unrefused: Vec<(CallId, Refusal)>,
    next_sequence: u64,
}

/// What an answer needs of its request.
#[derive(Debug)]
struct Admitted {
    sequence: u64,
    payload_protocol: u32,
    accepted_encodings: u32,
    traceparent: Box<str>,
    tracestate: Box<str>,
    deadline: Option<Instant>,
    cancelled: bool,
}

impl Admitted {
    /// The request again, without its payload.
    fn request(&self, request_id: u64) -> FrameRef<'_> {
        FrameRef {
            accepted_encodings: self.accepted_encodings,
            traceparent: &self.traceparent,
            tracestate: &self.tracestate,
            ..FrameRef::request(self.payload_protocol, request_id, &[])
        }
    }
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.admitted.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.admitted.is_empty()
    }

    pub(super) fn contains(&self, request_id: u64) -> bool {
        self.admitted.contains_key(&request_id)
    }

    /// The memory of the table of calls, in bytes; what each has beside is small.
    pub(super) fn memory(&self) -> usize {
        self.admitted.capacity() * size_of::<(u64, Admitted)>()
    }

    /// Gives its memory back if there is no call.
    pub(super) fn release(&mut self) {
        if self.is_empty() && self.untold.is_empty() {
            *self = Self { next_sequence: self.next_sequence, ..Self::default() };
        }
    }

    pub(super) fn admit(&mut self, request: &FrameRef<'_>, deadline: Option<Instant>) -> CallId {
        let (request_id, sequence) = (request.request_id, self.next_sequence);
        self.next_sequence += 1;
        self.deadlines.extend(deadline.map(|deadline| (deadline, request_id)));
        let admitted = Admitted {
            sequence,
            payload_protocol: request.payload_protocol,
            accepted_encodings: request.accepted_encodings,
            traceparent: request.traceparent.into(),
            tracestate: request.tracestate.into(),
            deadline,
            cancelled: false,
        };
        let before = self.admitted.insert(request_id, admitted);
        debug_assert!(before.is_none(), "a request whose id is in flight is postponed");
        CallId { request_id, sequence }
    }

    #[cfg(feature = "host")]
    pub(super) fn accepted_encodings(&self, call: CallId) -> Encodings {
        self.named(call).map_or(Encodings::NONE, |admitted| Encodings::from_bits(admitted.accepted_encodings))
    }

    /// Answers `call`, unless it is cancelled, and ends it.
    pub(super) fn respond(
        &mut self,
        call: CallId,
        payload: Payload,
        encodings: &EncodingPolicy,
        output: &mut Output,
    ) -> Result<(), FramingError> {
        let Some(admitted) = self.end(call, output) else { return Ok(()) };
        let request = admitted.request(call.request_id);
        let response = FrameRef::response_to(&request, &[]);
        append_answer(&request, response, payload, encodings, output).inspect_err(|error| {
            append_refusal(&request, &Refusal::new(RefusalReason::AnswerTooLarge, error.to_string()), output);
        })
    }

    /// Refuses `call`, unless it is cancelled, and ends it.
    pub(super) fn refuse(&mut self, call: CallId, refusal: &Refusal, output: &mut Output) {
        if let Some(admitted) = self.end(call, output) {
            append_refusal(&admitted.request(call.request_id), refusal, output);
        }
    }

    pub(super) fn send_event(
        &mut self,
        call: CallId,
        payload: &[u8],
        encodings: &EncodingPolicy,
        output: &mut Output,
    ) -> Result<(), SendEventError> {
        let admitted = self.named(call).filter(|admitted| !admitted.cancelled);
        let request = admitted.ok_or(SendEventError::Cancelled)?.request(call.request_id);
        let event = FrameRef { kind: FrameKind::Event.into(), ..FrameRef::response_to(&request, &[]) };
        Ok(append_answer(&request, event, Cow::Borrowed(payload), encodings, output)?)
    }

    /// Ends `call`; gives what an answer needs, unless it is cancelled.
    fn end(&mut self, call: CallId, output: &mut Output) -> Option<Admitted> {
        self.write_refusals(output);
        let Entry::Occupied(entry) = self.admitted.entry(call.request_id) else { return None };
        if entry.get().sequence != call.sequence {
            return None;
        }
        let admitted = entry.remove();
        if let Some(deadline) = admitted.deadline {
            self.deadlines.remove(&(deadline, call.request_id));
        }
        Some(admitted).filter(|admitted| !admitted.cancelled)
    }

    /// An answer that comes too late must not be taken for that of the next call with the same request id.
    fn named(&self, call: CallId) -> Option<&Admitted> {
        self.admitted.get(&call.request_id).filter(|admitted| admitted.sequence == call.sequence)
    }

    /// Cancels the call of `request_id`, if there is one that was not cancelled before; its refusal is still to be written.
    pub(super) fn cancel(&mut self, request_id: u64, reason: CancelReason) -> Option<CallId> {
        let admitted = self.admitted.get_mut(&request_id).filter(|admitted| !admitted.cancelled)?;
        admitted.cancelled = true;
        if let Some(deadline) = admitted.deadline {
            self.deadlines.remove(&(deadline, request_id));
        }
        let call = CallId { request_id, sequence: admitted.sequence };
        self.unrefused.extend(reason.refusal().map(|refusal| (call, refusal)));
        Some(call)
    }

    fn cancel_untold(&mut self, request_id: u64, reason: CancelReason) {
        let cancelled = self.cancel(request_id, reason);
        self.untold.extend(cancelled.map(|call| (call, reason)));
    }

    pub(super) fn cancel_all(&mut self, reason: CancelReason) {
        let mut all: Vec<_> = self.admitted.keys().copied().collect();
        all.sort_unstable();
        for request_id in all {
            self.cancel_untold(request_id, reason);
        }
    }

    /// Cancels every call whose deadline is not after `now`.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(deadline, request_id)) = self.deadlines.first()
            && deadline <= now
        {
            self.cancel_untold(request_id, CancelReason::DeadlinePassed);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A call whose driver is to be told that it is cancelled.
    pub(super) fn next_cancelled(&mut self) -> Option<(CallId, CancelReason)> {
        self.untold.pop_front()
    }

    /// Tells the peer of every call that was cancelled since.
    #[inline]
    pub(super) fn write_refusals(&mut self, output: &mut Output) {
        if !self.unrefused.is_empty() {
            self.write_unwritten_refusals(output);
        }
    }

    #[cold]
    fn write_unwritten_refusals(&mut self, output: &mut Output) {
        for (call, refusal) in std::mem::take(&mut self.unrefused) {
            if let Some(admitted) = self.named(call) {
                append_refusal(&admitted.request(call.request_id), &refusal, output);
            }
        }
    }
}
