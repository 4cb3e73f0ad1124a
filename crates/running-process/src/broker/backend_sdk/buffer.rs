//! The buffer of one direction of a connection.

/// Capacity, in bytes, that a buffer keeps for the next message however little it holds.
pub(super) const KEPT_CAPACITY: usize = 64 * 1024;

/// Bytes that came in or wait to go out: appended at the end, consumed from the front in amortized constant time.
///
/// Memory follows the bytes that are held, never a length that a peer claims.
#[derive(Debug, Default)]
pub(super) struct FrontBuffer {
    bytes: Vec<u8>,
    /// What stands before it is consumed; `start <= bytes.len()`.
    start: usize,
}

impl FrontBuffer {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much memory it has, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives its memory back if it holds nothing.
    pub(super) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// The vector whose end is this buffer's end, to append to.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        self.reclaim();
        &mut self.bytes
    }

    /// What is held, and the count to raise by what the caller consumes of it while still looking at it.
    pub(super) fn front(&mut self) -> (&[u8], Consumed<'_>) {
        (&self.bytes[self.start..], Consumed { start: &mut self.start, end: self.bytes.len() })
    }

    /// Drops `length` bytes from the front.
    ///
    /// # Panics
    ///
    /// `length > self.len()`.
    pub(super) fn consume(&mut self, length: usize) {
        self.front().1.consume(length);
        self.reclaim();
    }

    /// Everything that is held, which is then held no more.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    /// Moves what is held to the front once more than half of the buffer is consumed, so that a byte moves at most
    /// once for each byte that was consumed, and gives back capacity that a larger message left behind.
    pub(super) fn reclaim(&mut self) {
        if self.start > self.bytes.len() / 2 || self.start == self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
            if self.bytes.len() < self.bytes.capacity() / 4 {
                self.bytes.shrink_to(KEPT_CAPACITY.max(self.bytes.len() * 2));
            }
        }
    }
}

/// How much of a [`FrontBuffer`] is consumed, apart from its bytes, so that these can stay borrowed.
pub(super) struct Consumed<'a> {
    start: &'a mut usize,
    end: usize,
}

impl Consumed<'_> {
    pub(super) fn consume(&mut self, length: usize) {
        let start = *self.start + length;
        assert!(start <= self.end, "more is consumed than the buffer holds");
        *self.start = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_they_went_in() {
        let mut buffer = FrontBuffer::default();
        let mut out = Vec::new();
        for round in 0..100_u8 {
            buffer.tail().extend_from_slice(&[round; 7]);
            let length = buffer.len().min(5);
            out.extend_from_slice(&buffer.as_slice()[..length]);
            buffer.consume(length);
        }
        out.extend(buffer.take());
        let expected: Vec<u8> = (0..100).flat_map(|round| [round; 7]).collect();
        assert_eq!(out, expected);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_buffer_gives_a_large_capacity_back_even_while_it_holds_a_little() {
        for left in [0, 1, 100] {
            let mut buffer = FrontBuffer::default();
            buffer.tail().extend(vec![0; 10 * KEPT_CAPACITY]);
            buffer.consume(10 * KEPT_CAPACITY - left);
            assert_eq!(buffer.len(), left);
            assert!(buffer.bytes.capacity() <= KEPT_CAPACITY, "{left} bytes left");
        }
    }

    #[test]
    fn no_more_bytes_are_moved_than_are_consumed() {
        for (received, consumed) in [(1, 1), (1000, 1), (1000, 7), (1000, 999), (64, 63)] {
            let mut buffer = FrontBuffer::default();
            let (mut moved, mut total) = (0, 0);
            for round in 0..3 {
                buffer.tail().extend(vec![round; 50 * received]);
                while buffer.len() >= consumed {
                    let start = buffer.start;
                    buffer.consume(consumed);
                    total += consumed;
                    moved += if buffer.start < start + consumed { buffer.len() } else { 0 };
                    assert!(moved <= total, "{moved} bytes moved, {total} consumed");
                }
            }
        }
    }
}
