//! The memory of requests and answers, charged to the server's budget before it is taken.

use super::config::ServeError;
use super::dispatch::Work;
use super::policy::{Peer, ServerPolicy};
use super::telemetry::Event;
use crate::broker::backend_sdk::proto::payload::{DESCRIPTOR_MEMORY, Payload};
use crate::broker::backend_sdk::proto::recv_buffer::{MAX_RETAINED, Place};
use crate::broker::backend_sdk::proto::server_connection::Call;
#[cfg(doc)]
use crate::broker::backend_sdk::proto::server_connection::ServerConnection;
use crate::broker::protocol::{
    DecodePayloadError, DecodeStopped, EncodingPolicy, Encodings, Frame, FrameRef, PayloadEncoding, Refusal,
    RefusalReason,
};

/// Memory of a request in flight beside its payload and trace context, in bytes: its entries in the tables of its connection,
/// and its thread or task.
const REQUEST_BYTES: usize = 1024;

/// Memory that a connection may need beside its requests in flight, in bytes, before one more is taken: for bytes that are
/// read ahead, and for small answers.
const OVERHEAD: usize = 256 * 1024;

/// Answers and events with fewer bytes are charged after they were queued.
pub(super) const UNCHARGED: usize = 16 * 1024;

impl<H: ?Sized> ServerPolicy<H> {
    /// Charges the connection of `peer` with `memory` bytes in all: before it takes more, or since it uses less.
    ///
    /// # Errors
    ///
    /// The server has no more memory for it.
    pub(super) fn charge(&self, peer: &mut Peer, memory: usize) -> Result<(), ServeError> {
        let served = peer.is_served();
        if self.budget.charge(&mut peer.reservation, memory, served)
            || !served
                && self.authorize(peer).is_ok()
                && self.budget.charge(&mut peer.reservation, memory, true)
        {
            peer.charged = memory;
            return Ok(());
        }
        Err(ServeError::OutOfMemory { wanted: memory, budget: self.config.memory_limit })
    }

    /// [Charges](Self::charge) the connection of `peer` with the `memory` that it uses now, and counts that.
    pub(super) fn charge_and_note(&self, peer: &mut Peer, memory: usize) -> Result<(), ServeError> {
        self.charge(peer, memory)?;
        let before = std::mem::replace(&mut peer.counted, memory);
        if before != memory {
            self.telemetry.note(Event::Memory { before, now: memory });
        }
        Ok(())
    }

    /// Releases all memory of the connection of `peer`.
    pub(super) fn release(&self, peer: &mut Peer) {
        let released = self.charge_and_note(peer, 0);
        debug_assert!(released.is_ok(), "zero bytes are always there");
    }

    /// Returns whether there is memory for `request`, decoded and in the hands of a handler, if its peer is served, and
    /// for what the connection may receive and answer beside it.
    pub(super) fn affords(&self, peer: &Peer, request: &FrameRef<'_>) -> bool {
        let payload = self.config.connection.encodings.most_decoded(request);
        let memory = peer.charged.saturating_add(request_memory(request, payload) + OVERHEAD);
        self.budget.affords(&peer.reservation, memory, true)
    }

    /// Returns the frame of `call` with its payload as its sender had it: decoded into `buffer` if it came encoded, as far as
    /// there is memory for that.
    #[inline]
    pub(super) fn decoded<'a>(
        &self,
        call: &Call<'a, Work>,
        buffer: &'a mut Vec<u8>,
        peer: &mut Peer,
    ) -> Result<FrameRef<'a>, Refusal> {
        if call.frame.payload_encoding == i32::from(PayloadEncoding::None) {
            return Ok(call.frame);
        }
        self.decoded_payload(call, buffer, peer)
    }

    /// Returns the frame as [`decoded`](Self::decoded) does, whose payload came encoded.
    #[inline(never)]
    fn decoded_payload<'a>(
        &self,
        call: &Call<'a, Work>,
        buffer: &'a mut Vec<u8>,
        peer: &mut Peer,
    ) -> Result<FrameRef<'a>, Refusal> {
        let (charged, mut error) = (peer.charged, None);
        let mut grant = |memory| {
            error = self.charge(peer, charged + memory).err();
            error.is_none()
        };
        match call.decoded(buffer, &mut grant) {
            Ok(frame) => Ok(frame),
            // The daemon may know it.
            Err(DecodeStopped::Failed(DecodePayloadError::NotAccepted { .. }))
                if !self.config.connection.strict =>
            {
                Ok(call.frame)
            }
            Err(DecodeStopped::Failed(error)) => {
                Err(Refusal::new(RefusalReason::BadEncoding, error.to_string()))
            }
            Err(DecodeStopped::NotGranted) => Err(self.no_memory(error, peer)),
        }
    }

    /// Returns the frame of `call` for a handler to keep, and the memory that the request takes with it. If its payload is to be
    /// [taken](ServerConnection::take_payload), which costs less than to copy a large one, the frame is without it, and its place is
    /// returned as well.
    #[inline]
    pub(super) fn owned(
        &self,
        call: &Call<'_, Work>,
        peer: &mut Peer,
    ) -> Result<(Frame, Option<Place>, usize), Refusal> {
        let charged = peer.charged;
        let mut payload = Vec::new();
        let payload_encoding = self.decoded(call, &mut payload, peer)?.payload_encoding;
        let is_decoded = payload_encoding != call.frame.payload_encoding;
        if payload.capacity() > payload.len() + UNCHARGED {
            // It had more room to be decoded than it needed.
            payload.shrink_to_fit();
        }
        let length = if is_decoded { payload.capacity() } else { call.frame.payload.len() };
        let memory = request_memory(&call.frame, length);
        if let Err(error) = self.charge(peer, charged + memory) {
            return Err(self.no_memory(Some(error), peer));
        }
        let frame = FrameRef { payload_encoding, ..call.frame };
        if is_decoded {
            return Ok((frame.to_frame_with(payload), None, memory));
        }
        if length >= MAX_RETAINED {
            return Ok((frame.to_frame_with(Vec::new()), Some(Place::of(call.frame.payload)), memory));
        }
        Ok((frame.to_frame(), None, memory))
    }

    /// Returns the refusal of a request for which there is no memory, on a connection without earlier ones that will free any.
    fn no_memory(&self, error: Option<ServeError>, peer: &Peer) -> Refusal {
        if let Some(error) = error {
            self.telemetry.error_of(peer.credentials, &error);
        }
        let message = format!("{} bytes of memory are used up", self.config.memory_limit);
        Refusal::new(RefusalReason::Overloaded, message).retry_after(self.config.retry_after)
    }
}

/// Returns the memory of `request` in flight, with a payload of so many bytes. Its trace context is held for the handler and
/// for the answer. Its descriptors stay charged until it ends, although its handler may close them.
fn request_memory(request: &FrameRef<'_>, payload: usize) -> usize {
    let FrameRef { traceparent, tracestate, .. } = request.with_bounded_trace();
    let descriptors = usize::from(request.descriptors.count()) * DESCRIPTOR_MEMORY;
    payload + 2 * (traceparent.len() + tracestate.len()) + REQUEST_BYTES + descriptors
}

/// Returns the memory that it takes to keep `payload` for a `peer` to read, in bytes. While it is encoded, it is held twice.
pub(super) fn answer_memory(payload: &Payload, encodings: &EncodingPolicy, peer: Encodings) -> usize {
    payload.capacity() + if encodings.encodes(payload.len(), peer) { payload.len() } else { 0 }
}
