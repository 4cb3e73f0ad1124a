//! The descriptors that have come, and the frames that they belong to.

use super::reply::Reply;
use crate::broker::backend_sdk::proto::client_connection::{
    ClientConnection, ClientConnectionError, ClientEvent,
};
use crate::descriptor::Descriptor;
use crate::transport::Incoming;
use std::collections::VecDeque;

/// The descriptors of frames that were not taken, in order.
#[derive(Debug, Default)]
pub(super) struct IncomingDescriptors(VecDeque<Descriptor>);

impl IncomingDescriptors {
    /// Takes the descriptors of a read of so many bytes.
    pub(super) fn received(&mut self, bytes: usize, incoming: Incoming, connection: &mut ClientConnection) {
        let Incoming { descriptors, truncated } = incoming;
        connection.count_read(bytes, descriptors.len(), truncated);
        self.0.extend(descriptors);
    }

    /// Returns the next event of `connection`, with its descriptors. Closes those of frames that were dropped.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]
    pub(super) fn next_event(
        &mut self,
        connection: &mut ClientConnection,
    ) -> Result<Option<ClientEvent<Reply>>, ClientConnectionError> {
        let event = connection.next_counted_event();
        let dropped = connection.take_dropped_descriptors();
        if dropped > 0 {
            self.0.drain(..dropped.min(self.0.len()));
        }
        let came = &mut std::iter::from_fn(|| self.0.pop_front());
        Ok(event?.map(|event| event.map(|(frame, announced)| Reply::new(frame, announced, came))))
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        self.0 = VecDeque::new();
    }
}
