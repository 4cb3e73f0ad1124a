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
    pub fn len(&self) -> usize {
        let bytes = self.bytes.len() - self.start;
        if self.payloads.is_empty() {
            return bytes;
        }
        bytes + self.payloads.iter().map(|large| large.payload.len()).sum::<usize>() - self.written
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
    pub(crate) fn capacity(&self) -> usize {
        let attached = |attached: &Attached| attached.attachment.descriptors.len() * DESCRIPTOR_MEMORY;
        self.bytes.capacity()
            + self.payloads.iter().map(|large| large.payload.capacity()).sum::<usize>()
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
mod tests {
    use super::*;

    fn waiting(output: &SendBuffer) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = output.fill(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    /// Three small frames and two payloads, of which one is written before any small frame.
    fn filled() -> (SendBuffer, Vec<u8>) {
        let mut output = SendBuffer::default();
        output.tail().extend_from_slice(b"ab");
        let at = output.tail().len() - 1;
        output.insert(at, b"PAYLOAD".into());
        output.tail().extend_from_slice(b"cd");
        let at = output.tail().len();
        output.insert(at, b"ANOTHER".into());
        output.tail().extend_from_slice(b"ef");
        (output, b"aPAYLOADbcdANOTHERef".to_vec())
    }

    #[test]
    fn bytes_are_written_in_order_in_writes_of_any_length() {
        for step in 1..=20 {
            let (mut output, expected) = filled();
            let mut taken = Vec::new();
            while !output.is_empty() {
                let length = step.min(output.len());
                let all = waiting(&output);
                assert_eq!(all.len(), output.len());
                assert!(all.starts_with(output.first()));
                taken.extend_from_slice(&all[..length]);
                output.consume(length);
            }
            assert_eq!((taken, output.len()), (expected, 0), "{step} at a time");
        }
    }

    #[test]
    fn more_pieces_than_fit_one_write_wait_for_the_next() {
        let (output, expected) = filled();
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(output.fill(&mut slices), 2);
        assert!(expected.starts_with(&[&slices[0][..], &slices[1]].concat()));
    }

    #[test]
    fn an_output_that_is_never_empty_keeps_only_what_waits() {
        let mut output = SendBuffer::default();
        let (mut expected, mut taken) = (Vec::new(), Vec::new());
        for round in 0..=255 {
            output.tail().extend_from_slice(&[round; 100]);
            let at = output.tail().len() - 30;
            output.insert(at, vec![!round; 50].into());
            expected.extend([[round; 70].as_slice(), &[!round; 50], &[round; 30]].concat());
            let length = output.len().saturating_sub(120);
            taken.extend_from_slice(&waiting(&output)[..length]);
            output.consume(length);
            assert!(output.capacity() < 2000);
        }
        assert_eq!([taken, waiting(&output)].concat(), expected);
    }

    #[test]
    fn memory_is_used_again_but_no_payload_is_kept() {
        let mut output = SendBuffer::default();
        output.tail().extend_from_slice(b"small");
        output.insert(5, vec![0; 1 << 20].into());
        assert!(output.capacity() > 1 << 20);
        output.consume(output.len());
        assert!(output.capacity() < 100);
        output.tail().extend(vec![0; 10 * RETAINED_CAPACITY]);
        assert!(output.reused().capacity() <= RETAINED_CAPACITY);
    }

    #[test]
    #[should_panic(expected = "3 bytes more are written than wait")]
    fn more_bytes_than_wait_cannot_be_removed() {
        let (mut output, expected) = filled();
        output.consume(expected.len() + 3);
    }

    #[test]
    fn bytes_move_to_the_front_once_more_than_half_of_them_are_written() {
        let mut output = SendBuffer::default();
        output.tail().extend(0..10);
        output.consume(5);
        output.tail();
        assert_eq!(output.start, 5);
        output.consume(1);
        output.tail();
        assert_eq!((output.start, output.first()), (0, &[6, 7, 8, 9][..]));
    }

    #[test]
    fn a_payload_is_copied_unless_it_is_large() {
        for (length, copied) in [(ZERO_COPY_MIN - 1, true), (ZERO_COPY_MIN, false)] {
            let mut output = SendBuffer::default();
            append(&mut output, vec![7; length].into());
            assert_eq!(output.payloads.is_empty(), copied, "{length} bytes");
        }
    }

    #[test]
    fn the_memory_of_small_frames_is_used_again() {
        let mut output = SendBuffer::default();
        output.tail().extend([0; 1000]);
        let reused = output.reused();
        assert!(reused.is_empty() && reused.capacity() >= 1000);
    }

    fn append(output: &mut SendBuffer, payload: Payload) {
        let frame = FrameRef::request(0xF00D, 7, &[]);
        output.append_payload(frame, payload, &EncodingPolicy::OFF, Encodings::default(), 9).unwrap();
    }

    #[cfg(all(unix, feature = "host"))]
    mod descriptors {
        use super::*;
        use std::os::fd::OwnedFd;

        /// The lengths of payloads, each with a number of descriptors.
        const FRAMES: [(usize, usize); 6] = [(10, 0), (20, 2), (3, 0), (ZERO_COPY_MIN, 3), (5, 1), (8, 0)];

        fn payload(length: usize, descriptors: usize) -> Payload {
            let opened = (0..descriptors).map(|_| OwnedFd::from(tempfile::tempfile().unwrap()));
            Payload::from(vec![7; length]).with_descriptors(opened)
        }

        /// Returns an output of the frames, and the offset of each.
        fn filled() -> (SendBuffer, Vec<usize>) {
            let mut output = SendBuffer::default();
            let mut offsets = Vec::new();
            for (length, descriptors) in FRAMES {
                offsets.push(output.len());
                append(&mut output, payload(length, descriptors));
            }
            (output, offsets)
        }

        #[test]
        fn they_go_with_the_first_byte_of_their_frame_however_the_writes_are_cut() {
            let (whole, offsets) = filled();
            let total = whole.len();
            let expected: Vec<_> = offsets
                .iter()
                .zip(FRAMES)
                .map(|(at, (_, count))| (*at, count))
                .filter(|(_, count)| *count > 0)
                .collect();
            for step in [1, 2, 7, 1000, usize::MAX] {
                let (mut output, _) = filled();
                let (mut at, mut sent) = (0, Vec::new());
                while !output.is_empty() {
                    let bytes = waiting(&output);
                    assert!(!output.first().is_empty() && bytes.starts_with(output.first()));
                    if !output.descriptors().is_empty() {
                        sent.push((at, output.descriptors().len()));
                    }
                    let next = expected.iter().find(|(of, _)| *of > at).map_or(total, |(of, _)| *of);
                    assert_eq!(at + bytes.len(), next, "a write ends where other descriptors begin");
                    let length = bytes.len().min(step);
                    output.consume(length);
                    at += length;
                }
                assert_eq!((at, &sent), (total, &expected), "{step} bytes at a time");
            }
        }

        #[test]
        fn they_are_charged_beside_the_bytes() {
            let (output, _) = filled();
            let payload = ZERO_COPY_MIN + 3 * DESCRIPTOR_MEMORY;
            assert_eq!(output.capacity(), output.bytes.capacity() + payload + 6 * DESCRIPTOR_MEMORY);
        }

        #[test]
        fn a_frame_with_some_is_removed_only_while_no_byte_of_it_is_written() {
            let (mut output, offsets) = filled();
            assert!(output.remove_attached().is_none(), "another frame is the first");
            output.consume(offsets[1]);
            let removed = output.remove_attached().unwrap();
            assert_eq!((removed.payload_protocol, removed.request_id), (0xF00D, 7));
            output.consume(offsets[3] - offsets[2]);
            assert_eq!(output.descriptors().len(), 3);
            output.consume(1);
            assert!(output.descriptors().is_empty() && output.remove_attached().is_none());
            output.consume(offsets[4] - offsets[3] - 1);
            assert!(output.remove_attached().is_some());
            assert_eq!(output.len(), waiting(&output).len());
            assert!(output.attached.is_empty());
        }

        #[test]
        fn a_frame_says_how_many_it_has_and_a_peer_that_takes_fewer_gets_nothing() {
            use crate::broker::protocol::try_decode_framed_ref;
            let mut output = SendBuffer::default();
            append(&mut output, payload(3, 2));
            let frame = try_decode_framed_ref(output.first()).unwrap().unwrap().frame;
            assert_eq!((frame.payload, frame.descriptors.count()), (&[7; 3][..], 2));
            let before = output.len();
            for (takes, fits) in [(1, false), (2, true)] {
                let frame = FrameRef::request(0xF00D, 8, &[]);
                let (off, none) = (EncodingPolicy::OFF, Encodings::default());
                let appended = output.append_payload(frame, payload(3, 2), &off, none, takes);
                assert_eq!((appended.is_ok(), output.len() > before), (fits, fits));
            }
        }
    }
}
