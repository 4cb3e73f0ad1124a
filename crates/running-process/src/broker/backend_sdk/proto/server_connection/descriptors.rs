//! Descriptors on a server's connection.

#[cfg(feature = "host")]
use super::call_id::NOT_SENT;
use super::{CallId, LegacyClassification, ServerConnection};
#[cfg(feature = "host")]
use crate::broker::backend_sdk::proto::{
    connection::append_refusal,
    send_buffer::{AttachedFrame, SendBuffer},
    server_connection::CancelReason,
};
#[cfg(feature = "host")]
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
#[cfg(feature = "host")]
use crate::broker::protocol::{FrameKind, FrameRef, Refusal, RefusalReason};
#[cfg(feature = "host")]
use crate::descriptor::Descriptor;

impl<F, T> ServerConnection<F, T>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Takes and sends descriptors, as [`Connection::accept_descriptors`](super::Connection::accept_descriptors) says. The descriptors of
    /// a frame that is no request are closed.
    pub fn accept_descriptors(&mut self) {
        self.connection.accept_descriptors();
    }

    /// Returns whether the peer may send descriptors, as [`Connection::takes_descriptors`](super::Connection::takes_descriptors).
    #[must_use]
    pub fn takes_descriptors(&self) -> bool {
        self.connection.takes_descriptors()
    }

    /// Returns whether descriptors that come are counted, as [`Connection::counts_descriptors`](super::Connection::counts_descriptors).
    #[cfg(feature = "host")]
    pub(crate) fn counts_descriptors(&self) -> bool {
        self.connection.counts_descriptors()
    }

    /// Returns the most descriptors that the peer takes with the answer to `call`, or with an event of it; 0 if the call has ended.
    #[must_use]
    pub fn peer_descriptors(&self, call: CallId) -> u8 {
        self.calls.peer_descriptors(call)
    }

    /// Refuses the request whose answer or event the output begins with, which the system does not send because of its descriptors.
    /// Behind an event the refusal replaces the answer, if that waits. Returns `false` if the output begins with no such frame.
    #[cfg(feature = "host")]
    #[cold]
    pub(crate) fn refuse_unsent(&mut self) -> bool {
        let Self { connection, calls, .. } = self;
        let output = connection.output_buffer();
        let Some(AttachedFrame { kind, payload_protocol, request_id }) = output.remove_attached() else {
            return false;
        };
        let mut refusal = SendBuffer::default();
        let request = FrameRef::request(payload_protocol, request_id, &[]);
        append_refusal(&request, &Refusal::new(RefusalReason::HandlerFailed, NOT_SENT), &mut refusal);
        if kind != i32::from(FrameKind::Event) {
            output.tail().extend_from_slice(refusal.first());
            return true;
        }
        // A request whose id was used again waits in `calls`, and this one's answer in the output.
        let is_answer = |frame: &FrameRef<'_>| {
            frame.kind == i32::from(FrameKind::Response)
                && frame.request_id == request_id
                && frame.payload_protocol != BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL
        };
        if !output.replace(is_answer, refusal.first()) {
            // The peer knows the reason already if the call was cancelled before.
            calls.cancel_and_notify(request_id, CancelReason::NotSent);
        }
        true
    }

    /// Returns the descriptors that go with the first byte of the output.
    #[cfg(feature = "host")]
    pub(crate) fn output_descriptors(&self) -> &[Descriptor] {
        self.connection.output_descriptors()
    }
}
