//! What waits to be written to a peer.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::IoSlice;

use super::buffer::KEPT_CAPACITY;
use crate::broker::protocol::{EncodingPolicy, Encodings, FrameRef, FramingError, PayloadEncoding};

/// A payload of at least so many bytes is written from where it lies, by a vectored write. A shorter one costs less to
/// copy than a piece of its own costs the system call.
pub(super) const LARGE: usize = 16 * 1024;

/// How many pieces are written in one call.
#[cfg(feature = "host")]
pub(super) const PIECES: usize = 16;

/// Bytes that wait to be written, in order: small frames one behind the other, and large payloads where they lie.
///
/// **Invariants:** the last piece is nobody's payload, so that bytes may be appended to it; no piece but the last is
/// empty; `written` bytes of the first piece have been written, which are fewer than it has, or it is the only one.
#[derive(Debug, Default)]
pub struct Output {
    pieces: VecDeque<Vec<u8>>,
    written: usize,
}

impl Output {
    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum::<usize>() - self.written
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first().is_empty()
    }

    /// The first bytes that wait, as many as lie in one piece; empty only if none wait.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece[self.written..])
    }

    /// Fills `slices` with what waits, from its start, for one vectored write; gives how many of them there are.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let rest = self.pieces.iter().skip(1).map(Vec::as_slice);
        let waiting = std::iter::once(self.first()).chain(rest).filter(|piece| !piece.is_empty());
        slices.iter_mut().zip(waiting).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    /// `length` bytes were written.
    ///
    /// # Panics
    ///
    /// `length > self.len()`.
    pub fn consume(&mut self, mut length: usize) {
        let mut pieces = self.pieces.len();
        while let Some(first) = self.pieces.front_mut() {
            let left = first.len() - self.written;
            if length < left {
                self.written += length;
                return;
            }
            length -= left;
            self.written = 0;
            if pieces == 1 {
                // Kept for what comes, unless it has become large.
                first.clear();
                first.shrink_to(KEPT_CAPACITY);
                break;
            }
            self.pieces.pop_front();
            pieces -= 1;
        }
        assert!(length == 0, "{length} bytes more are written than wait");
    }

    /// The memory of all pieces, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.pieces.iter().map(Vec::capacity).sum()
    }

    /// The vector whose end is the end of what waits, to append to.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        if self.pieces.is_empty() {
            self.pieces.push_back(Vec::new());
        }
        let last = self.pieces.len() - 1;
        &mut self.pieces[last]
    }

    /// Appends `frame` with `payload` in the place of its own, which is encoded if `peer` takes that and it is worth it.
    /// What is large and owned by then is not copied. After an error nothing was appended.
    pub(super) fn append(
        &mut self,
        frame: FrameRef<'_>,
        payload: Cow<'_, [u8]>,
        encodings: &EncodingPolicy,
        peer: Encodings,
    ) -> Result<(), FramingError> {
        let mut encoded = Vec::new();
        let frame = encodings.encode(FrameRef { payload: &payload, ..frame }, peer, &mut encoded);
        if frame.payload.len() < LARGE {
            return frame.encode_framed(self.tail());
        }
        let at = frame.encode_around_payload(self.tail())?;
        let as_it_was = frame.payload_encoding == i32::from(PayloadEncoding::None);
        self.insert(at, if as_it_was { payload.into_owned() } else { encoded });
        Ok(())
    }

    /// Has `payload` written where the last piece has `at` bytes.
    fn insert(&mut self, at: usize, payload: Vec<u8>) {
        let behind = self.tail().split_off(at);
        self.pieces.push_back(payload);
        self.pieces.push_back(behind);
    }

    /// An empty output in the memory that this one has for small frames.
    pub(super) fn reused(mut self) -> Self {
        let last = self.pieces.pop_back();
        self.pieces.clear();
        self.pieces.extend(last.map(|mut last| {
            last.clear();
            last.shrink_to(KEPT_CAPACITY);
            last
        }));
        self.written = 0;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = output.fill(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    /// Three small frames and two payloads, of which one is written before any small frame.
    fn filled() -> (Output, Vec<u8>) {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"ab");
        let at = output.tail().len() - 1;
        output.insert(at, b"PAYLOAD".to_vec());
        output.tail().extend_from_slice(b"cd");
        let at = output.tail().len();
        output.insert(at, b"ANOTHER".to_vec());
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
    fn memory_is_used_again_but_no_payload_is_kept() {
        let mut output = Output::default();
        output.tail().extend_from_slice(b"small");
        output.insert(5, vec![0; 1 << 20]);
        assert!(output.capacity() > 1 << 20);
        output.consume(output.len());
        assert!(output.capacity() < 100);
        output.tail().extend(vec![0; 10 * KEPT_CAPACITY]);
        assert!(output.reused().capacity() <= KEPT_CAPACITY);
    }

    #[test]
    #[should_panic(expected = "3 bytes more are written than wait")]
    fn what_does_not_wait_cannot_be_written() {
        let (mut output, expected) = filled();
        output.consume(expected.len() + 3);
    }
}
