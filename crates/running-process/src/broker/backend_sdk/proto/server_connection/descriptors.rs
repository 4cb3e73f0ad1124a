//! Descriptors on a server's connection.

#[cfg(feature = "host")]
use super::call_id::NOT_SENT;
use super::{CallId, LegacyClassification, ServerConnection};
#[cfg(feature = "host")]
use crate::broker::backend_sdk::proto::{
    connection::append_refusal, send_buffer::AttachedFrame, server_connection::CancelReason,
};
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
    /// Returns `false` if it was an event of a request that has its answer.
    #[cfg(feature = "host")]
    #[cold]
    pub(crate) fn refuse_unsent(&mut self) -> bool {
        let Self { connection, calls, .. } = self;
        let output = connection.output_buffer();
        let Some(AttachedFrame { kind, payload_protocol, request_id }) = output.remove_attached() else {
            return false;
        };
        if kind == i32::from(FrameKind::Event) {
            return calls.cancel_and_notify(request_id, CancelReason::NotSent);
        }
        let refusal = Refusal::new(RefusalReason::HandlerFailed, NOT_SENT);
        append_refusal(&FrameRef::request(payload_protocol, request_id, &[]), &refusal, output);
        true
    }

    /// Returns the descriptors that go with the first byte of the output.
    #[cfg(feature = "host")]
    pub(crate) fn output_descriptors(&self) -> &[Descriptor] {
        self.connection.output_descriptors()
    }
}
