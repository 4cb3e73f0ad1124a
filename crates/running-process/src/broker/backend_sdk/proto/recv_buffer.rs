//! The receive buffer of a connection.

/// Capacity, in bytes, that a buffer retains for the next message however little it holds.
pub(crate) const RETAINED_CAPACITY: usize = 64 * 1024;

/// Number of times in a row that three quarters of a buffer may not have been needed before it releases capacity: a peer that
/// sends large messages sends more of them, and memory that is new each time costs more than the copy into it.
const SHRINK_AFTER: u8 = 16;

/// Capacity above which a buffer releases memory as soon as most of it is free, in bytes.
pub(crate) const MAX_RETAINED: usize = 4 * 1024 * 1024;

/// Largest block of memory that is left to the allocator when it is freed, in bytes; a larger one goes back to the system.
const MAX_RECYCLED: usize = 1024 * 1024;

/// Makes the memory of `bytes` small if it is large, before it is freed.
///
/// glibc keeps blocks of the size of the largest that was ever freed, up to 32 MiB, for each of its arenas, of which there
/// are eight for each processor (`M_MMAP_THRESHOLD` in mallopt(3)). A block that was made small before it is freed leaves
/// all of it to the system, and so do the next ones of its size.
#[inline]
pub(crate) fn recycle(bytes: &mut Vec<u8>) {
    if bytes.capacity() > MAX_RECYCLED {
        bytes.clear();
        bytes.shrink_to(1);
    }
}

/// The place of some bytes in a buffer, apart from the borrow of them.
#[cfg(feature = "host")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    address: usize,
    length: usize,
}

#[cfg(feature = "host")]
impl Place {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { address: bytes.as_ptr().addr(), length: bytes.len() }
    }
}

/// Bytes that were received and are not consumed: appended at the end, consumed from the front in amortized constant time.
///
/// Memory follows the bytes that are held, never a length that a peer claims.
#[derive(Debug, Default)]
pub(crate) struct RecvBuffer {
    bytes: Vec<u8>,
    /// The bytes before it are consumed; `start <= bytes.len()`.
    start: usize,
    /// Number of times in a row that most of the capacity was not needed.
    unneeded: u8,
}

impl Drop for RecvBuffer {
    fn drop(&mut self) {
        recycle(&mut self.bytes);
    }
}

impl RecvBuffer {
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

    /// Returns the memory of the buffer, in bytes.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Releases the memory if the buffer is empty.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Returns the vector whose end is this buffer's end, to append to.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        self.reclaim();
        &mut self.bytes
    }

    /// Returns the [`tail`](Self::tail) with room for some of the `expected` bytes, which only the peer claims will come: for at
    /// most as many as are held already or [`RETAINED_CAPACITY`].
    pub(crate) fn room_for(&mut self, expected: usize) -> &mut Vec<u8> {
        let room = expected.min(self.len().max(RETAINED_CAPACITY));
        let tail = self.tail();
        tail.reserve(room);
        tail
    }

    /// Takes the buffer out with [`room_for`](Self::room_for) `expected` bytes, until it is [restored](Self::restore);
    /// meanwhile nothing is held.
    pub(crate) fn take_for(&mut self, expected: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(self.room_for(expected));
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    /// Puts back the buffer that was [taken](Self::take_for), with what was appended to it.
    pub(crate) fn restore(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.is_empty(), "nothing is appended to a buffer that is taken");
        self.bytes = bytes;
    }

    /// Returns the bytes that are held, and the counter of those that the caller consumes while it borrows them.
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

    /// Takes everything that is held.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    /// Returns the bytes of `place`, which lie in the part that was consumed last. They are moved, not copied, if the buffer is of no
    /// further use: it holds nothing, and is so large that its memory would be released.
    #[cfg(feature = "host")]
    #[cold]
    pub(crate) fn take_consumed(&mut self, place: Place) -> Vec<u8> {
        let begin = place.address - self.bytes.as_ptr().addr();
        let end = begin + place.length;
        if self.bytes.capacity() <= MAX_RETAINED || !self.is_empty() {
            return self.bytes[begin..end].to_vec();
        }
        let mut bytes = std::mem::take(self).into_bytes();
        bytes.truncate(end);
        bytes.drain(..begin);
        // It has grown by doubling. The system takes the rest of such memory back without a copy.
        bytes.shrink_to_fit();
        bytes
    }

    #[cfg(feature = "host")]
    fn into_bytes(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Moves the bytes that are held to the front once more than half of the buffer is consumed, so that a byte moves at most
    /// once for each byte that was consumed, and releases capacity that has not been needed for a while.
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
        let needed = if capacity > MAX_RETAINED { self.bytes.len() } else { filled };
        if needed >= capacity / 4 {
            self.unneeded = 0;
        } else if capacity <= MAX_RETAINED && self.unneeded < SHRINK_AFTER {
            self.unneeded += 1;
        } else {
            self.unneeded = 0;
            self.bytes.shrink_to(RETAINED_CAPACITY.max(needed * 2));
        }
    }
}

/// The counter of consumed bytes of a [`RecvBuffer`], apart from its bytes, so that these can stay borrowed.
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
        let mut buffer = RecvBuffer::default();
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
    fn a_buffer_that_still_holds_a_little_releases_capacity_that_it_does_not_need() {
        for left in [0, 1, 100] {
            let mut buffer = RecvBuffer::default();
            buffer.tail().extend(vec![0; 10 * RETAINED_CAPACITY]);
            buffer.consume(10 * RETAINED_CAPACITY - left);
            for _ in 0..=SHRINK_AFTER {
                assert!(buffer.capacity() >= 10 * RETAINED_CAPACITY, "{left} bytes left");
                buffer.tail().extend([0; 200]);
                buffer.consume(200);
            }
            assert_eq!(buffer.len(), left);
            assert!(buffer.capacity() <= RETAINED_CAPACITY, "{left} bytes left");
        }
    }

    #[test]
    fn large_messages_find_the_memory_of_the_last_one() {
        let mut buffer = RecvBuffer::default();
        buffer.tail().extend(vec![0; 10 * RETAINED_CAPACITY]);
        let capacity = buffer.capacity();
        for _ in 0..100 {
            for length in [9 * RETAINED_CAPACITY, 1, 1, 1] {
                buffer.consume(buffer.len());
                buffer.tail().extend(vec![0; length]);
                assert_eq!(buffer.capacity(), capacity);
            }
        }
    }

    #[test]
    fn a_taken_buffer_is_restored_with_the_bytes_that_were_appended() {
        let mut buffer = RecvBuffer::default();
        buffer.tail().extend(0..10);
        buffer.consume(4);
        let mut taken = buffer.take_for(100);
        assert!(buffer.is_empty() && taken.capacity() >= 106);
        taken.extend(10..20);
        buffer.restore(taken);
        assert_eq!(buffer.take(), (4..20).collect::<Vec<u8>>());
    }

    #[cfg(feature = "host")]
    #[test]
    fn consumed_bytes_are_moved_out_of_a_large_buffer_that_holds_nothing_more() {
        for (length, behind, moves) in
            [(2 * MAX_RETAINED, 0, true), (2 * MAX_RETAINED, 1, false), (RETAINED_CAPACITY, 0, false)]
        {
            let mut buffer = RecvBuffer::default();
            buffer.tail().extend([1, 2, 3]);
            buffer.tail().extend(vec![7; length]);
            buffer.tail().extend(vec![9; 5 + behind]);
            let place = Place::of(&buffer.as_slice()[3..][..length]);
            buffer.front().1.consume(3 + length + 5);
            let taken = buffer.take_consumed(place);
            assert_eq!((taken.len(), taken.iter().all(|byte| *byte == 7)), (length, true));
            assert_eq!((buffer.len(), buffer.capacity() == 0), (behind, moves), "{length} bytes");
            assert!(taken.capacity() < length + RETAINED_CAPACITY);
        }
    }

    #[test]
    fn room_follows_what_is_held_and_not_what_is_claimed() {
        let mut buffer = RecvBuffer::default();
        assert!(buffer.room_for(100).capacity() < RETAINED_CAPACITY);
        assert!(buffer.room_for(usize::MAX).capacity() <= 2 * RETAINED_CAPACITY);
        buffer.tail().extend(vec![0; 3 * RETAINED_CAPACITY]);
        assert!(buffer.room_for(usize::MAX).capacity() <= 6 * RETAINED_CAPACITY);
    }

    #[test]
    fn no_more_bytes_are_moved_than_are_consumed() {
        for (received, consumed) in [(1, 1), (1000, 1), (1000, 7), (1000, 999), (64, 63)] {
            let mut buffer = RecvBuffer::default();
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

    #[test]
    fn a_very_large_buffer_keeps_twice_of_what_it_holds() {
        let mut buffer = RecvBuffer::default();
        buffer.tail().extend(vec![7; MAX_RETAINED + 1]);
        buffer.consume(MAX_RETAINED + 1 - 100_000);
        assert_eq!((buffer.len(), buffer.capacity()), (100_000, 200_000));
    }

    #[test]
    fn a_buffer_of_the_largest_retained_size_that_is_filled_each_time_keeps_its_memory() {
        let mut buffer = RecvBuffer::default();
        buffer.restore(Vec::with_capacity(MAX_RETAINED));
        for _ in 0..=2 * SHRINK_AFTER {
            buffer.tail().extend(vec![0; MAX_RETAINED]);
            buffer.consume(MAX_RETAINED);
            assert_eq!(buffer.capacity(), MAX_RETAINED);
        }
    }
}
