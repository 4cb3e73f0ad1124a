//! The output of a connection: bytes that wait to be written.

use super::payload::Payload;
use super::recv_buffer::RETAINED_CAPACITY;
use crate::broker::protocol::{EncodingPolicy, Encodings, FrameRef, FramingError, PayloadEncoding};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem::take;

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
/// of the first payload, and 0 while its gap is not 0.
#[derive(Debug, Default)]
pub struct SendBuffer {
    bytes: Vec<u8>,
    /// The bytes before it were written; `start <= bytes.len()`.
    start: usize,
    payloads: VecDeque<Large>,
    /// Number of bytes of the first payload that were written.
    written: usize,
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

    /// Returns the first bytes that wait, as many as lie in one piece. The slice is empty only if no byte waits.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        match self.payloads.front() {
            None => &self.bytes[self.start..],
            Some(Large { gap: 0, payload }) => &payload[self.written..],
            Some(Large { gap, .. }) => &self.bytes[self.start..][..*gap],
        }
    }

    /// Fills `slices` with the first bytes that wait, for one vectored write. Returns the number of slices.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let (mut bytes, mut written, mut count) = (&self.bytes[self.start..], self.written, 0);
        let mut put = |piece: &'a [u8]| {
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
        while let Some(Large { gap, payload }) = self.payloads.front_mut() {
            let before = length.min(*gap);
            *gap -= before;
            self.start += before;
            length -= before;
            if *gap > 0 || length < payload.len() - self.written {
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

    /// Returns the memory of this buffer, in bytes. Payloads that the daemon shares do not count.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.payloads.iter().map(|large| large.payload.capacity()).sum::<usize>()
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
    pub(crate) fn append(
        &mut self,
        frame: FrameRef<'_>,
        payload: impl AsRef<[u8]> + Into<Payload>,
        encodings: &EncodingPolicy,
        peer: Encodings,
    ) -> Result<(), FramingError> {
        let frame = FrameRef { payload: payload.as_ref(), ..frame };
        if let Some(Cut { at, encoded }) = self.append_around_large(frame, encodings, peer)? {
            self.insert(at, encoded.map_or_else(|| payload.into(), Payload::from));
        }
        Ok(())
    }

    /// Appends `frame`, encoded if that makes it shorter, and without its payload if that is large.
    fn append_around_large(
        &mut self,
        frame: FrameRef<'_>,
        encodings: &EncodingPolicy,
        peer: Encodings,
    ) -> Result<Option<Cut>, FramingError> {
        let mut encoded = Vec::new();
        let frame = encodings.encode(frame, peer, &mut encoded);
        if frame.payload.len() < ZERO_COPY_MIN {
            return frame.encode_framed(self.tail()).map(|()| None);
        }
        let at = frame.encode_around_payload(self.tail())?;
        let is_encoded = frame.payload_encoding != i32::from(PayloadEncoding::None);
        if is_encoded {
            // It was allocated for the length before encoding.
            encoded.shrink_to_fit();
        }
        Ok(Some(Cut { at, encoded: is_encoded.then_some(encoded) }))
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
}
