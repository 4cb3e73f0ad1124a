//! The memory that a session is charged with, and its release.

use super::ServerSession;
use crate::broker::backend_sdk::proto::payload::{DESCRIPTOR_MEMORY, Payload};
use crate::broker::backend_sdk::proto::server_connection::{CallId, Ended, SendEventError};
use crate::broker::backend_sdk::server::charges::{UNCHARGED, answer_memory};
use crate::broker::backend_sdk::server::config::ServeError;
use crate::broker::backend_sdk::server::dispatch::Work;
use crate::broker::backend_sdk::server::telemetry::Event;

impl<H: ?Sized> ServerSession<H> {
    /// Returns the memory that the connection uses, in bytes.
    pub(super) fn memory(&self) -> usize {
        let descriptors = self.descriptors.len() * DESCRIPTOR_MEMORY;
        self.connection.memory() + self.request_memory + self.legacy_memory + descriptors
    }

    /// Charges the memory that the connection uses now. If the server does not have it, resets the connection and returns
    /// `false`; the next [`process`](Self::process) cancels the requests.
    pub(super) fn charge(&mut self) -> bool {
        if self.closed {
            return true;
        }
        let memory = self.memory();
        match self.policy.charge_and_note(&mut self.peer, memory) {
            Err(error) if !self.reset => {
                self.run_out_of_memory(&error);
                false
            }
            _ => true,
        }
    }

    /// Charges an answer that is to be kept, unless the peer does not wait for it.
    pub(super) fn charge_answer(&mut self, ended: &Ended<Work>, payload: &Payload) -> Result<(), ServeError> {
        if self.reset || ended.is_cancelled() || payload.capacity().max(payload.len()) < UNCHARGED {
            return Ok(());
        }
        let accepted = ended.accepted_encodings();
        let memory = answer_memory(payload, &self.policy.config.connection.encodings, accepted);
        let memory = self.memory() + memory;
        self.policy.charge(&mut self.peer, memory)
    }

    /// Charges the memory that an answer or an event has taken. If that ends the connection, cancels the other requests.
    pub(super) fn charge_or_reset(&mut self) {
        self.charge();
        if self.reset {
            self.process(drop);
        }
    }

    /// Charges `call` with `bytes` more until it ends, before they are taken for its answer or an event.
    ///
    /// # Errors
    ///
    /// The peer does not wait for the answer any more, or the server has no memory for it, which ends the connection.
    pub(in super::super) fn reserve(&mut self, call: CallId, bytes: usize) -> Result<(), SendEventError> {
        // Once the session is reset or closed, all its calls are cancelled or have ended.
        if self.connection.data(call).is_none() || self.connection.is_cancelled(call) {
            return Err(SendEventError::Cancelled);
        }
        let memory = self.memory() + bytes;
        if let Err(error) = self.policy.charge(&mut self.peer, memory) {
            self.run_out_of_memory(&error);
            self.process(drop);
            return Err(SendEventError::Cancelled);
        }
        let work = self.connection.data_mut(call).ok_or(SendEventError::Cancelled)?;
        work.memory += bytes;
        self.request_memory += bytes;
        Ok(())
    }

    /// Releases what `call` was charged with by [`reserve`](Self::reserve), unless it has ended.
    pub(in super::super) fn unreserve(&mut self, call: CallId, bytes: usize) {
        if let Some(work) = self.connection.data_mut(call) {
            work.memory -= bytes;
            self.request_memory -= bytes;
        }
    }

    pub(super) fn run_out_of_memory(&mut self, error: &ServeError) {
        self.policy.telemetry.error_of(self.peer.credentials, error);
        self.reset_connection();
    }

    /// Releases the memory of the bytes that the legacy handler started with: it has read them.
    pub fn release_legacy(&mut self) {
        self.legacy_memory = 0;
        self.charge();
    }

    /// Closes the session: it is [reset](Self::reset), does not count as open any more, and releases the memory that it
    /// is charged with, although handlers may still run. Dropping the session does the same.
    pub fn close(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        if !self.connection.is_over() || self.connection.in_flight() > 0 {
            self.reset();
        }
        self.settle();
        self.policy.telemetry.note(Event::Closed);
        self.policy.release(&mut self.peer);
    }
}
