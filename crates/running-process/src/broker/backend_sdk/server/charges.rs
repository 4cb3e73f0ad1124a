//! The server's memory that requests and answers take, charged before it is taken.

use super::config::ServerTrouble;
use super::policy::{Peer, Service};
use super::telemetry::Fact;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::server_connection::Call;
use crate::broker::protocol::{
    DecodePayloadError, DecodeStopped, EncodingPolicy, Encodings, Frame, FrameRef, Refusal, RefusalReason,
};

/// Memory that a request in the hands of a handler takes beside its payload and trace context, in bytes, roundly: its
/// places in the tables of its connection, and its thread or task.
const REQUEST_BYTES: usize = 1024;

/// Memory that a connection with requests at work may need beside them, in bytes, before one more is taken: it is read
/// ahead of what waits, and told small answers.
const BESIDE: usize = 256 * 1024;

/// So few bytes are charged once they are there.
pub(super) const UNCHARGED: usize = 16 * 1024;

impl<H> Service<H> {
    /// Charges the connection of `peer` with `memory` bytes in all: before it takes more, or since it uses less. An error if
    /// the server has no more for it.
    pub(super) fn charge(&self, peer: &mut Peer, memory: usize) -> Result<(), ServerTrouble> {
        let served = peer.is_served();
        if self.budget.settle(&mut peer.account, memory, served)
            || !served && self.authorize(peer).is_ok() && self.budget.settle(&mut peer.account, memory, true)
        {
            peer.charged = memory;
            return Ok(());
        }
        Err(ServerTrouble::OutOfMemory { wanted: memory, budget: self.config.memory })
    }

    /// [Charges](Self::charge) the connection of `peer` with `more` bytes than before.
    pub(super) fn charge_more(&self, peer: &mut Peer, more: usize) -> Result<(), ServerTrouble> {
        self.charge(peer, peer.charged.saturating_add(more))
    }

    /// [Charges](Self::charge) the connection of `peer` with the `memory` that it uses now, and notes that.
    pub(super) fn settle(&self, peer: &mut Peer, memory: usize) -> Result<(), ServerTrouble> {
        self.charge(peer, memory)?;
        let before = std::mem::replace(&mut peer.noted, memory);
        if before != memory {
            self.observation.note(Fact::Memory { before, now: memory });
        }
        Ok(())
    }

    /// The connection of `peer` is gone.
    pub(super) fn settle_all(&self, peer: &mut Peer) {
        let settled = self.settle(peer, 0);
        debug_assert!(settled.is_ok(), "nothing is always there");
    }

    /// Returns whether there is memory for `request`, decoded and in the hands of a handler, if its peer is served, and
    /// for what the connection may receive and answer beside it.
    pub(super) fn affords(&self, peer: &Peer, request: &FrameRef<'_>) -> bool {
        let payload = self.config.connection.encodings.most_decoded(request);
        let memory = peer.charged.saturating_add(request_memory(request, payload) + BESIDE);
        self.budget.affords(&peer.account, memory, true)
    }

    /// The frame of `call` with its payload as its sender had it: decoded into `buffer` if it came encoded, as far as there
    /// is memory for that.
    pub(super) fn decoded<'a>(
        &self,
        call: &Call<'a>,
        buffer: &'a mut Vec<u8>,
        peer: &mut Peer,
    ) -> Result<FrameRef<'a>, Refusal> {
        let (charged, mut trouble) = (peer.charged, None);
        let mut grant = |memory| {
            trouble = self.charge(peer, charged + memory).err();
            trouble.is_none()
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
            Err(DecodeStopped::NotGranted) => Err(self.no_memory(trouble, peer)),
        }
    }

    /// The frame of `call` for a handler to keep, and how much memory the request takes with it.
    pub(super) fn owned(&self, call: &Call<'_>, peer: &mut Peer) -> Result<(Frame, usize), Refusal> {
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
        if let Err(trouble) = self.charge(peer, charged + memory) {
            return Err(self.no_memory(Some(trouble), peer));
        }
        let frame = FrameRef { payload_encoding, ..call.frame };
        Ok((if is_decoded { frame.to_frame_with(payload) } else { frame.to_frame() }, memory))
    }

    /// Returns the refusal of a request for which there is no memory, on a connection without earlier ones that will free any.
    fn no_memory(&self, trouble: Option<ServerTrouble>, peer: &Peer) -> Refusal {
        if let Some(trouble) = trouble {
            self.observation.trouble_of(peer.credentials, &trouble);
        }
        let message = format!("{} bytes of memory are used up", self.config.memory);
        Refusal::new(RefusalReason::Overloaded, message).retry_after(self.config.retry_after)
    }
}

/// The memory of `request` in the hands of a handler, with a payload of so many bytes. Its trace context is there for the
/// handler and for the answer.
fn request_memory(request: &FrameRef<'_>, payload: usize) -> usize {
    let FrameRef { traceparent, tracestate, .. } = request.with_bounded_trace();
    payload + 2 * (traceparent.len() + tracestate.len()) + REQUEST_BYTES
}

/// The memory that it takes to keep `payload` for a `peer` to read, in bytes; while it is encoded it is there twice.
pub(super) fn answer_memory(payload: &Payload, encodings: &EncodingPolicy, peer: Encodings) -> usize {
    payload.capacity() + if encodings.encodes(payload.len(), peer) { payload.len() } else { 0 }
}
