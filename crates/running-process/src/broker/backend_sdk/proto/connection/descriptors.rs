//! Descriptors on a connection.

use super::{Connection, LegacyClassification};

impl<F> Connection<F>
where
    F: Fn(&[u8]) -> LegacyClassification,
{
    /// Takes descriptors from a peer that asks, and may send it some that it takes: the driver writes with `sendmsg`. Default: no.
    ///
    /// Once [`takes_descriptors`](Self::takes_descriptors) returns `true`, the driver reads with `recvmsg`. The connection counts the
    /// descriptors, and the frames of its events say how many of them are theirs, in order. The driver closes those of frames that it
    /// does not want.
    pub fn accept_descriptors(&mut self) {
        self.descriptors.accept(self.config.max_frame_descriptors, self.config.max_descriptors);
    }

    /// Returns whether the peer may send descriptors from now on: it has asked whether they are taken, or a request waits that may
    /// ask, and may be answered while the driver blocks in a read.
    #[must_use]
    #[inline]
    pub fn takes_descriptors(&self) -> bool {
        self.descriptors.is_counting() || (self.blocked.is_some() && self.descriptors.accepted() > 0)
    }

    /// Returns whether descriptors that come are counted. Before that no frame has any, and the driver closes what comes.
    #[cfg(feature = "host")]
    pub(crate) fn counts_descriptors(&self) -> bool {
        self.descriptors.is_counting()
    }

    /// Returns the most descriptors that are taken with one frame.
    #[inline]
    pub(crate) fn accepted_descriptors(&self) -> u8 {
        self.descriptors.accepted()
    }

    /// Returns whether the descriptors of another frame may come.
    pub(crate) fn has_descriptor_room(&self) -> bool {
        self.descriptors.has_room()
    }
}
