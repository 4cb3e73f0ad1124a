//! The descriptors of a session.

use super::ServerSession;
use crate::broker::backend_sdk::proto::connection::Received;
use crate::descriptor::PASSES_DESCRIPTORS;
use crate::transport::Incoming;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::time::Instant;

impl<H: ?Sized> ServerSession<H> {
    /// Takes descriptors from a client that asks, and sends some to one that takes them. Default: no.
    ///
    /// # Platform-specific behavior
    ///
    /// Only Unix passes descriptors; elsewhere this does nothing.
    pub fn accept_descriptors(&mut self) {
        if PASSES_DESCRIPTORS {
            self.connection.accept_descriptors();
        }
    }

    /// Returns whether the client may send descriptors from now on. Before that it must send none, and a `read` that drops them is
    /// as good as a `recvmsg`.
    #[must_use]
    #[inline]
    pub fn takes_descriptors(&self) -> bool {
        self.connection.takes_descriptors()
    }

    /// Takes what arrived at `now`, with the descriptors that came along, which are closed on exec. They are `truncated` if the system
    /// has dropped some (`MSG_CTRUNC` in recvmsg(2)). Those of a client that has not asked are closed.
    #[cfg(unix)]
    pub fn receive_descriptors(
        &mut self,
        bytes: &[u8],
        descriptors: &mut Vec<OwnedFd>,
        truncated: bool,
        now: Instant,
    ) {
        let descriptors = std::mem::take(descriptors);
        self.receive_incoming(bytes, Incoming { descriptors, truncated }, now);
    }

    #[inline]
    pub(in super::super) fn receive_incoming(&mut self, bytes: &[u8], incoming: Incoming, now: Instant) {
        let Incoming { descriptors, truncated } = incoming;
        self.receive(Received::from(bytes).with_descriptors(descriptors.len(), truncated), now);
        if !descriptors.is_empty() && self.connection.counts_descriptors() {
            self.descriptors.extend(descriptors);
        }
    }
}
