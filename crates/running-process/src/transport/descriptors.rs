//! Descriptors that come and go with bytes.

#[cfg(not(unix))]
use super::incoming::no_descriptors;
use super::incoming::{Incoming, append};
use super::stream::LocalStream;
use crate::descriptor::Descriptor;
use std::io::{self, IoSlice};
use std::time::Instant;

impl LocalStream {
    /// Reads as [`read_deadline`](Self::read_deadline) does, and takes the descriptors that come along.
    pub(crate) fn read_with(
        &self,
        buf: &mut [u8],
        deadline: Option<Instant>,
        incoming: &mut Incoming,
    ) -> io::Result<usize> {
        #[cfg(unix)]
        return self.0.read_with(buf, deadline, incoming);
        #[cfg(not(unix))]
        return no_descriptors(incoming, || self.0.read_deadline(buf, deadline));
    }

    /// Reads as [`read_arrived`](Self::read_arrived) does, and takes the descriptors that come along.
    pub(crate) fn read_arrived_with(&self, buf: &mut [u8], incoming: &mut Incoming) -> io::Result<usize> {
        #[cfg(unix)]
        return self.0.read_arrived_with(buf, incoming);
        #[cfg(not(unix))]
        return no_descriptors(incoming, || self.0.read_arrived(buf));
    }

    /// Reads as [`read_onto`](Self::read_onto) does, and takes the descriptors that come along.
    pub(crate) fn read_onto_with(
        &self,
        buffer: &mut Vec<u8>,
        deadline: Option<Instant>,
        incoming: &mut Incoming,
    ) -> io::Result<usize> {
        append(buffer, |room| self.read_with(room, deadline, incoming))
    }

    /// Reads as [`read_arrived_onto`](Self::read_arrived_onto) does, and takes the descriptors that come along.
    pub(crate) fn read_arrived_onto_with(
        &self,
        buffer: &mut Vec<u8>,
        incoming: &mut Incoming,
    ) -> io::Result<usize> {
        append(buffer, |room| self.read_arrived_with(room, incoming))
    }

    /// Writes as [`write_now`](Self::write_now) does, and sends copies of `descriptors` with the first byte.
    pub(crate) fn write_now_with(
        &self,
        pieces: &[IoSlice<'_>],
        descriptors: &[Descriptor],
    ) -> io::Result<Option<usize>> {
        #[cfg(unix)]
        if !descriptors.is_empty() {
            return self.0.write_now_with(pieces, descriptors);
        }
        let _ = descriptors;
        self.write_now(pieces)
    }

    /// Writes as [`write_unless_readable`](Self::write_unless_readable) does, and sends copies of `descriptors` with the first byte.
    pub(crate) fn write_unless_readable_with(
        &self,
        pieces: &[IoSlice<'_>],
        descriptors: &[Descriptor],
        deadline: impl Fn() -> Option<Instant>,
    ) -> io::Result<Option<usize>> {
        #[cfg(unix)]
        if !descriptors.is_empty() {
            return self.0.write_unless_readable_with(pieces, descriptors, deadline);
        }
        let _ = descriptors;
        self.write_unless_readable(pieces, deadline)
    }
}
