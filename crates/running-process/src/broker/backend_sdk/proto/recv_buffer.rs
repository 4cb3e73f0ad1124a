//! The buffer of one direction of a connection.

/// Capacity, in bytes, that a buffer keeps for the next message however little it holds.
pub(crate) const KEPT_CAPACITY: usize = 64 * 1024;

/// How often in a row three quarters of a buffer may turn out not to have been needed before it gives capacity back:
/// whoever sends large messages sends more of them, and memory that is new each time costs more than the copy into it.
const PATIENCE: u8 = 16;

/// Capacity above it, in bytes, is given back as soon as most of it is free.
pub(crate) const MOST_KEPT: usize = 4 * 1024 * 1024;

/// A larger block of memory, in bytes, goes back to the system as soon as it is not needed.
const MOST_LEFT: usize = 1024 * 1024;

/// Drops `bytes`, and has the system take the memory back if that is large.
///
/// glibc keeps blocks of the size of the largest that was ever freed, up to 32 MiB, for each of its arenas, of which there
/// are eight for each processor (`M_MMAP_THRESHOLD` in mallopt(3)). A block that was made small before it is freed leaves
/// all of it to the system, and so do the next ones of its size.
pub(crate) fn give_back(mut bytes: Vec<u8>) {
    if bytes.capacity() > MOST_LEFT {
        bytes.clear();
        bytes.shrink_to(1);
    }
}

/// Bytes that came in and are not consumed: appended at the end, consumed from the front in amortized constant time.
///
/// Memory follows the bytes that are held, never a length that a peer claims.
#[derive(Debug, Default)]
pub(crate) struct FrontBuffer {
    bytes: Vec<u8>,
    /// What stands before it is consumed; `start <= bytes.len()`.
    start: usize,
    /// How often in a row most of the capacity was not needed.
    unneeded: u8,
}

impl Drop for FrontBuffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.bytes));
    }
}

impl FrontBuffer {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How much memory it has, in bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives its memory back if it holds nothing.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// The vector whose end is this buffer's end, to append to.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        self.reclaim();
        &mut self.bytes
    }

    /// [`tail`](Self::tail) with room for some of `expected` bytes: for no more than are held already or
    /// [`KEPT_CAPACITY`], since nobody but the peer says that they will come.
    pub(crate) fn room_for(&mut self, expected: usize) -> &mut Vec<u8> {
        let room = expected.min(self.len().max(KEPT_CAPACITY));
        let tail = self.tail();
        tail.reserve(room);
        tail
    }

    /// [`room_for`](Self::room_for) to take along, until it is [given back](Self::give_back); meanwhile nothing is held.
    pub(crate) fn lend(&mut self, expected: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(self.room_for(expected));
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    /// Takes back what was [lent](Self::lend), with what was appended to it.
    pub(crate) fn give_back(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.is_empty(), "nothing comes to a buffer that is lent");
        self.bytes = bytes;
    }

    /// What is held, and the count to raise by what the caller consumes of it while still looking at it.
    #[inline]
    pub(crate) fn front(&mut self) -> (&[u8], Consumed<'_>) {
        (&self.bytes[self.start..], Consumed { start: &mut self.start, end: self.bytes.len() })
    }

    /// Drops `length` bytes from the front.
    ///
    /// # Panics
    ///
    /// `length > self.len()`.
    #[cfg(test)]
    fn consume(&mut self, length: usize) {
        self.front().1.consume(length);
        self.reclaim();
    }

    /// Everything that is held, which is then held no more.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    /// Moves what is held to the front once more than half of the buffer is consumed, so that a byte moves at most
    /// once for each byte that was consumed, and gives back capacity that has not been needed for a while.
    #[inline]
    pub(crate) fn reclaim(&mut self) {
        if self.start > self.bytes.len() / 2 {
            self.drop_consumed();
        }
    }

    fn drop_consumed(&mut self) {
        let filled = self.bytes.len();
        self.bytes.drain(..self.start);
        self.start = 0;
        let capacity = self.bytes.capacity();
        let needed = if capacity > MOST_KEPT { self.bytes.len() } else { filled };
        if needed >= capacity / 4 {
            self.unneeded = 0;
        } else if capacity <= MOST_KEPT && self.unneeded < PATIENCE {
            self.unneeded += 1;
        } else {
            self.unneeded = 0;
            self.bytes.shrink_to(KEPT_CAPACITY.max(needed * 2));
        }
    }
}

/// How much of a [`FrontBuffer`] is consumed, apart from its bytes, so that these can stay borrowed.
pub(crate) struct Consumed<'a> {
    start: &'a mut usize,
    end: usize,
}

impl Consumed<'_> {
    #[inline]
    pub(crate) fn consume(&mut self, length: usize) {
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
    fn a_buffer_gives_a_large_capacity_back_once_it_is_not_needed_even_while_a_little_is_held() {
        for left in [0, 1, 100] {
            let mut buffer = FrontBuffer::default();
            buffer.tail().extend(vec![0; 10 * KEPT_CAPACITY]);
            buffer.consume(10 * KEPT_CAPACITY - left);
            for _ in 0..=PATIENCE {
                assert!(buffer.capacity() >= 10 * KEPT_CAPACITY, "{left} bytes left");
                buffer.tail().extend([0; 200]);
                buffer.consume(200);
            }
            assert_eq!(buffer.len(), left);
            assert!(buffer.capacity() <= KEPT_CAPACITY, "{left} bytes left");
        }
    }

    #[test]
    fn large_messages_find_the_memory_of_the_last_one() {
        let mut buffer = FrontBuffer::default();
        buffer.tail().extend(vec![0; 10 * KEPT_CAPACITY]);
        let capacity = buffer.capacity();
        for _ in 0..100 {
            for length in [9 * KEPT_CAPACITY, 1, 1, 1] {
                buffer.consume(buffer.len());
                buffer.tail().extend(vec![0; length]);
                assert_eq!(buffer.capacity(), capacity);
            }
        }
    }

    #[test]
    fn what_is_lent_comes_back_with_what_was_appended() {
        let mut buffer = FrontBuffer::default();
        buffer.tail().extend(0..10);
        buffer.consume(4);
        let mut lent = buffer.lend(100);
        assert!(buffer.is_empty() && lent.capacity() >= 106);
        lent.extend(10..20);
        buffer.give_back(lent);
        assert_eq!(buffer.take(), (4..20).collect::<Vec<u8>>());
    }

    #[test]
    fn room_follows_what_is_held_and_not_what_is_claimed() {
        let mut buffer = FrontBuffer::default();
        assert!(buffer.room_for(100).capacity() < KEPT_CAPACITY);
        assert!(buffer.room_for(usize::MAX).capacity() <= 2 * KEPT_CAPACITY);
        buffer.tail().extend(vec![0; 3 * KEPT_CAPACITY]);
        assert!(buffer.room_for(usize::MAX).capacity() <= 6 * KEPT_CAPACITY);
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
