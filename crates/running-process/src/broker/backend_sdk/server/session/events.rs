//! Events of requests in flight.

use super::ServerSession;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::server_connection::{CallId, SendEventError, ServerConnection};
use crate::broker::backend_sdk::server::answer_file::sendable_event;
use crate::broker::backend_sdk::server::charges::UNCHARGED;
use crate::broker::backend_sdk::server::dispatch::Work;
use crate::broker::backend_sdk::server::hooks::Detector;
use crate::broker::backend_sdk::server::telemetry::Event;
#[cfg(doc)]
use crate::broker::protocol::FramingError;

impl<H: ?Sized> ServerSession<H> {
    /// Queues an event under the request id of `call`, ahead of its answer.
    ///
    /// # Errors
    ///
    /// Nothing was queued: the payload does not fit a frame, the peer does not wait for the answer any more, or the server
    /// has no memory for the event, which ends the connection.
    pub fn send_event(&mut self, call: CallId, payload: &[u8]) -> Result<(), SendEventError> {
        self.send_event_of(payload.len(), |connection| connection.send_event(call, payload))
    }

    /// Queues an event as [`send_event`](Self::send_event) does, with the descriptors of `payload`. If that is a file and the client
    /// takes no descriptors, its bytes are read and sent.
    ///
    /// # Errors
    ///
    /// As [`send_event`](Self::send_event), and [`FramingError::Io`] if the client does not take the descriptors.
    pub fn send_event_payload(
        &mut self,
        call: CallId,
        payload: impl Into<Payload>,
    ) -> Result<(), SendEventError> {
        let accepted = self.connection.peer_descriptors(call).into();
        let mut reserved = 0;
        let payload = sendable_event(payload.into(), accepted, |bytes| {
            self.reserve(call, bytes).inspect(|()| reserved = bytes)
        });
        self.unreserve(call, reserved);
        let payload = payload?;
        let memory = payload.capacity().max(payload.len());
        self.send_event_of(memory, |connection| connection.send_event_payload(call, payload))
    }

    /// Queues the event `payload`, for which `reserved` bytes were [reserved](Self::reserve). They are released, as well if there is
    /// none.
    pub(in super::super) fn send_reserved_event(
        &mut self,
        call: CallId,
        payload: Result<Payload, SendEventError>,
        reserved: usize,
    ) -> Result<(), SendEventError> {
        self.unreserve(call, reserved);
        self.send_event_payload(call, payload?)
    }

    fn send_event_of(
        &mut self,
        memory: usize,
        append: impl FnOnce(&mut ServerConnection<Detector, Work>) -> Result<(), SendEventError>,
    ) -> Result<(), SendEventError> {
        if memory >= UNCHARGED && !self.reset {
            let memory = self.memory() + memory;
            if let Err(error) = self.policy.charge(&mut self.peer, memory) {
                self.run_out_of_memory(&error);
                self.process(drop);
                return Err(SendEventError::Cancelled);
            }
        }
        let sent = append(&mut self.connection);
        self.charge_or_reset();
        sent?;
        self.policy.telemetry.note(Event::Emitted);
        Ok(())
    }
}
