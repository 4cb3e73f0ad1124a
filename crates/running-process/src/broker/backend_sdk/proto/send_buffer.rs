//! What waits to be written to a peer.

use super::payload::Payload;
use super::recv_buffer::RETAINED_CAPACITY;
use crate::broker::protocol::{EncodingPolicy, Encodings, FrameRef, FramingError, PayloadEncoding};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::mem::take;

/// A payload of at least so many bytes is written from where it lies, by a vectored write. A shorter one costs less to
/// copy than a piece of its own costs the system call.
pub(crate) const ZERO_COPY_MIN: usize = 16 * 1024;

/// How many pieces are written in one call.
#[cfg(feature = "host")]
pub(crate) const MAX_IOVECS: usize = 16;

/// Bytes that wait to be written, in order: small frames and what stands around large payloads, one behind the other, and
/// large payloads where they lie.
///
/// **Invariants:** the gaps of all payloads together are at most what is left of `bytes`; no payload is empty; `written` is
/// less than the first payload has, and 0 while bytes wait before that.
#[derive(Debug, Default)]
pub struct SendBuffer {
    bytes: Vec<u8>,
    /// What stands before it in `bytes` was written.
    start: usize,
    payloads: VecDeque<Large>,
    /// How much of the first payload was written.
    written: usize,
}

#[derive(Debug)]
struct Large {
    /// How much of `bytes` goes out between the payload before it and this one.
    gap: usize,
    payload: Payload,
}

/// A payload that was left out.
struct Cut {
    /// Where in the tail it belongs.
    at: usize,
    /// The payload, if it was encoded.
    encoded: Option<Vec<u8>>,
}

impl SendBuffer {
    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        let bytes = self.bytes.len() - self.start;
        if self.payloads.is_empty() {
            return bytes;
        }
        bytes + self.payloads.iter().map(|large| large.payload.len()).sum::<usize>() - self.written
    }

    /// Whether none wait.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.bytes.len() && self.payloads.is_empty()
    }

    /// The first bytes that wait, as many as lie in one piece; empty only if none wait.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        match self.payloads.front() {
            None => &self.bytes[self.start..],
            Some(Large { gap: 0, payload }) => &payload[self.written..],
            Some(Large { gap, .. }) => &self.bytes[self.start..][..*gap],
        }
    }

    /// Fills `slices` with what waits, from its start, for one vectored write; gives how many of them there are.
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

    /// `length` bytes were written.
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
            // Kept for what comes, unless it has become large.
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(RETAINED_CAPACITY);
        }
    }

    /// The memory that is used for it alone, in bytes: what a daemon shares is its own.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.payloads.iter().map(|large| large.payload.capacity()).sum::<usize>()
    }

    /// The vector whose end is the end of what waits, to append to.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.start > self.bytes.len() / 2 {
            // A byte moves at most once for each that was written.
            self.bytes.drain(..take(&mut self.start));
        }
        &mut self.bytes
    }

    /// Appends `frame` with `payload` in the place of its own, which is encoded if `peer` takes that and it is worth it.
    /// What is large and kept anyway is not copied. After an error nothing was appended.
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

    /// Appends `frame`, encoded if that is worth it, and without its payload if that is large.
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
            // It was made in room for the payload as it was.
            encoded.shrink_to_fit();
        }
        Ok(Some(Cut { at, encoded: is_encoded.then_some(encoded) }))
    }

    /// Has `payload` written where the tail has `at` bytes.
    fn insert(&mut self, at: usize, payload: Payload) {
        let before: usize = self.payloads.iter().map(|large| large.gap).sum();
        self.payloads.push_back(Large { gap: at - self.start - before, payload });
    }

    /// An empty output in the memory that this one has for small frames.
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
    fn bytes_go_out_in_order_however_they_are_taken() {
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
    fn what_does_not_wait_cannot_be_written() {
        let (mut output, expected) = filled();
        output.consume(expected.len() + 3);
    }
}
