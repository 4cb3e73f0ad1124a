//! The output of a connection: bytes that wait to be written.

#[cfg(feature = "host")]
mod replace;

use super::payload::{Attachment, DESCRIPTOR_MEMORY, Payload};
use super::recv_buffer::RETAINED_CAPACITY;
use crate::broker::protocol::{EncodingPolicy, Encodings, FrameRef, FramingError, PayloadEncoding};
#[cfg(feature = "host")]
use crate::descriptor::Descriptor;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::take;
use std::sync::Arc;

/// Length from which a payload is written by a vectored write without a copy, in bytes. A shorter one costs less to copy than
/// its own slice costs in the system call.
pub(crate) const ZERO_COPY_MIN: usize = 16 * 1024;

/// Number of slices in one vectored write.
#[cfg(feature = "host")]
pub(crate) const MAX_IOVECS: usize = 16;

/// Bytes that wait to be written, in order. Small frames, and the fields around large payloads, lie in one vector. Large payloads
/// stay where they are.
///
/// **Invariants:** the sum of all gaps is at most `bytes.len() - start`; no payload is empty; `written` is less than the length
/// of the first payload, and 0 while its gap is not 0. The sum of the gaps of all attachments is less than the number of bytes that wait.
#[derive(Debug, Default)]
pub struct SendBuffer {
    bytes: Vec<u8>,
    /// The bytes before it were written; `start <= bytes.len()`.
    start: usize,
    payloads: VecDeque<Large>,
    /// Number of bytes of the first payload that were written.
    written: usize,
    /// The descriptors that go with the first bytes of their frames.
    attached: VecDeque<Attached>,
}

#[derive(Debug)]
#[cfg_attr(not(feature = "host"), allow(dead_code, reason = "the drivers of this crate remove frames"))]
struct Attached {
    /// Number of bytes between the beginning of the frame before it with descriptors, or the first byte that waits, and that of its own.
    gap: usize,
    attachment: Arc<Attachment>,
    /// Number of bytes of the frame.
    length: usize,
    frame: AttachedFrame,
}

/// The fields of a frame with descriptors that tell what it is.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "host"), allow(dead_code, reason = "as above"))]
pub(crate) struct AttachedFrame {
    pub(crate) kind: i32,
    pub(crate) payload_protocol: u32,
    pub(crate) request_id: u64,
}

#[derive(Debug)]
struct Large {
    /// Number of `bytes` between the payload before it and this one.
    gap: usize,
    payload: Payload,
}

/// A large payload that was left out of the encoded frame.
struct Cut {
    /// The length of the tail in front of it.
    at: usize,
    /// The payload, if it was encoded.
    encoded: Option<Vec<u8>>,
}

impl SendBuffer {
    /// Returns the number of bytes that wait.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        let bytes = self.bytes.len() - self.start;
        if self.payloads.is_empty() { bytes } else { bytes + self.payload_bytes() }
    }

    /// Returns the number of bytes of large payloads that wait.
    fn payload_bytes(&self) -> usize {
        self.payloads.iter().map(|large| large.payload.len()).sum::<usize>() - self.written
    }

    /// Returns whether no byte waits.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len() && self.payloads.is_empty()
    }

    /// Returns the first bytes that wait, as many as lie in one piece and one write takes. The slice is empty only if no byte waits.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        if !self.attached.is_empty() {
            return self.first_of_next_write();
        }
        self.first_piece()
    }

    #[inline]
    fn first_piece(&self) -> &[u8] {
        match self.payloads.front() {
            None => &self.bytes[self.start..],
            Some(Large { gap: 0, payload }) => &payload[self.written..],
            Some(Large { gap, .. }) => &self.bytes[self.start..][..*gap],
        }
    }

    #[cold]
    fn first_of_next_write(&self) -> &[u8] {
        let first = self.first_piece();
        &first[..first.len().min(self.next_write())]
    }

    /// Returns the most bytes that one write takes: up to the next frame with descriptors, which go with its first byte.
    #[cold]
    fn next_write(&self) -> usize {
        let behind_first = usize::from(self.attached.front().is_some_and(|first| first.gap == 0));
        self.attached.get(behind_first).map_or(usize::MAX, |next| next.gap)
    }

    /// Returns the descriptors that go with the first byte that waits.
    #[cfg(feature = "host")]
    #[inline]
    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        if self.attached.is_empty() { &[] } else { self.first_descriptors() }
    }

    #[cfg(feature = "host")]
    #[cold]
    fn first_descriptors(&self) -> &[Descriptor] {
        match self.attached.front() {
            Some(Attached { gap: 0, attachment, .. }) => &attachment.descriptors,
            _ => &[],
        }
    }

    /// Fills `slices` with the first bytes that wait, for one vectored write. Returns the number of slices.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        if self.attached.is_empty() {
            self.fill_within(slices, usize::MAX)
        } else {
            self.fill_next_write(slices)
        }
    }

    #[cold]
    fn fill_next_write<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.fill_within(slices, self.next_write())
    }

    /// Fills `slices` with at most `left` bytes.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "nearly always there is no limit")]
    fn fill_within<'a>(&'a self, slices: &mut [IoSlice<'a>], mut left: usize) -> usize {
        let (mut bytes, mut written, mut count) = (&self.bytes[self.start..], self.written, 0);
        let mut put = |piece: &'a [u8]| {
            let piece = &piece[..piece.len().min(left)];
            left = left.saturating_sub(piece.len());
            if let Some(slice) = slices.get_mut(count)
                && !piece.is_empty()
            {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            count < slices.len()
        };
        for Large { gap, payload } in &self.payloads {
            let (before, rest) = bytes.split_at(*gap);
            bytes = rest;
            if !(put(before) && put(&payload[take(&mut written)..])) {
                return count;
            }
        }
        put(bytes);
        count
    }

    /// Removes the first `length` bytes, which were written.
    ///
    /// # Panics
    ///
    /// `length > self.len()`.
    pub fn consume(&mut self, mut length: usize) {
        if !self.attached.is_empty() {
            self.consume_attached(length);
        }
        while let Some(Large { gap, payload }) = self.payloads.front_mut() {
            let before = length.min(*gap);
            *gap -= before;
            self.start += before;
            length -= before;
            // Nothing of a payload is written whose gap is left.
            if length < payload.len() - self.written {
                self.written += length;
                return;
            }
            length -= payload.len() - take(&mut self.written);
            self.payloads.pop_front();
        }
        self.start += length;
        let excess = self.start.saturating_sub(self.bytes.len());
        assert!(excess == 0, "{excess} bytes more are written than wait");
        if self.start == self.bytes.len() {
            // The next output uses this memory, unless it has become large.
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(RETAINED_CAPACITY);
        }
    }

    /// Removes the frame with descriptors with which the output begins, if it begins with one: no byte of it was written.
    #[cfg(feature = "host")]
    #[cold]
    pub(crate) fn remove_attached(&mut self) -> Option<AttachedFrame> {
        let Attached { length, frame, .. } = self.attached.front().filter(|first| first.gap == 0)?;
        let (length, frame) = (*length, *frame);
        self.consume(length);
        Some(frame)
    }

    /// Removes the descriptors that went with the first `length` bytes.
    #[cold]
    fn consume_attached(&mut self, mut length: usize) {
        while length > 0
            && let Some(next) = self.attached.front_mut()
        {
            if next.gap == 0 {
                self.attached.pop_front();
            } else {
                let before = length.min(next.gap);
                next.gap -= before;
                length -= before;
            }
        }
    }

    /// Returns the memory of this buffer, in bytes. Payloads that the daemon shares do not count.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        let bytes = self.bytes.capacity();
        if self.payloads.is_empty() && self.attached.is_empty() {
            bytes
        } else {
            bytes + self.payload_capacity()
        }
    }

    /// Returns the memory of large payloads and of descriptors, in bytes.
    fn payload_capacity(&self) -> usize {
        let attached = |attached: &Attached| attached.attachment.descriptors.len() * DESCRIPTOR_MEMORY;
        self.payloads.iter().map(|large| large.payload.capacity()).sum::<usize>()
            + self.attached.iter().map(attached).sum::<usize>()
    }

    /// Returns the vector whose end is the end of the output, to append to.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.start > self.bytes.len() / 2 {
            // A byte moves at most once for each that was written.
            self.bytes.drain(..take(&mut self.start));
        }
        &mut self.bytes
    }

    /// Appends `frame` with `payload` instead of its own. The payload is encoded if `peer` decodes that and it becomes shorter.
    /// A large payload that is owned or shared is not copied. After an error nothing was appended.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]
    pub(crate) fn append(
        &mut self,
        frame: FrameRef<'_>,
        payload: impl AsRef<[u8]> + Into<Payload>,
        encodings: &EncodingPolicy,
        peer: Encodings,
    ) -> Result<(), FramingError> {
        let frame = FrameRef { payload: payload.as_ref(), ..frame };
        if !peer.is_empty() {
            if let Some(Cut { at, encoded }) = self.append_encoded(frame, encodings, peer)? {
                self.insert(at, encoded.map_or_else(|| payload.into(), Payload::from));
            }
        } else if let Some(at) = self.append_around_large(frame)? {
            self.insert(at, payload.into());
        }
        Ok(())
    }

    /// [Appends](Self::append) `frame` with `payload` and the descriptors of that, for a peer that takes `peer_descriptors` with
    /// one frame.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]
    pub(crate) fn append_payload(
        &mut self,
        frame: FrameRef<'_>,
        payload: Payload,
        encodings: &EncodingPolicy,
        peer: Encodings,
        peer_descriptors: u8,
    ) -> Result<(), FramingError> {
        match payload.attachment() {
            None => self.append(frame, payload, encodings, peer),
            Some(_) => self.append_attached(frame, payload, peer_descriptors),
        }
    }

    /// Appends `frame` with `payload` and its descriptors.
    ///
    /// # Errors
    ///
    /// The payload is too large, or the peer does not take the descriptors, which is [`FramingError::Io`] with
    /// [`io::ErrorKind::Unsupported`]. Nothing was appended then.
    #[cold]
    fn append_attached(
        &mut self,
        frame: FrameRef<'_>,
        payload: Payload,
        peer_descriptors: u8,
    ) -> Result<(), FramingError> {
        let Some(attachment) = payload.attachment().cloned() else { return Ok(()) };
        let count = attachment.descriptors.len();
        let descriptors = u8::try_from(count).ok().filter(|count| *count <= peer_descriptors);
        let Some(descriptors) = descriptors else {
            let message = format!("the frame has {count} descriptors, the peer takes {peer_descriptors}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, message).into());
        };
        let before = self.len();
        let gap = before - self.attached.iter().map(|attached| attached.gap).sum::<usize>();
        let FrameRef { kind, payload_protocol, request_id, .. } = frame;
        let descriptors = frame.descriptors.announcing(descriptors).of_file(attachment.is_file);
        let frame = FrameRef { descriptors, ..frame };
        let frame = FrameRef { payload: &payload, ..frame };
        if let Some(at) = self.append_around_large(frame)? {
            self.insert(at, payload);
        }
        let (length, frame) = (self.len() - before, AttachedFrame { kind, payload_protocol, request_id });
        self.attached.push_back(Attached { gap, attachment, length, frame });
        Ok(())
    }

    /// Appends `frame`, encoded if that makes it shorter, and without its payload if that is large.
    #[inline(never)]
    fn append_encoded(
        &mut self,
        frame: FrameRef<'_>,
        encodings: &EncodingPolicy,
        peer: Encodings,
    ) -> Result<Option<Cut>, FramingError> {
        let mut encoded = Vec::new();
        let frame = encodings.encode(frame, peer, &mut encoded);
        let Some(at) = self.append_around_large(frame)? else { return Ok(None) };
        let is_encoded = frame.payload_encoding != i32::from(PayloadEncoding::None);
        if is_encoded {
            // It was allocated for the length before encoding.
            encoded.shrink_to_fit();
        }
        Ok(Some(Cut { at, encoded: is_encoded.then_some(encoded) }))
    }

    /// Appends `frame`, without its payload if that is large. Returns the length of the tail in front of the payload then.
    #[inline(never)]
    fn append_around_large(&mut self, frame: FrameRef<'_>) -> Result<Option<usize>, FramingError> {
        if frame.payload.len() < ZERO_COPY_MIN {
            return frame.encode_framed(self.tail()).map(|()| None);
        }
        frame.encode_around_payload(self.tail()).map(Some)
    }

    /// Inserts `payload` where the tail has `at` bytes.
    fn insert(&mut self, at: usize, payload: Payload) {
        let before: usize = self.payloads.iter().map(|large| large.gap).sum();
        self.payloads.push_back(Large { gap: at - self.start - before, payload });
    }

    /// Returns an empty buffer in the memory that this one has for small frames.
    pub(crate) fn reused(mut self) -> Self {
        self.bytes.clear();
        self.bytes.shrink_to(RETAINED_CAPACITY);
        Self { bytes: self.bytes, ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
