//! The descriptors that come with frames, counted: the driver has the descriptors.

use crate::broker::protocol::{
    DescriptorFields, FrameKind, FrameRef, MAX_FRAME_DESCRIPTORS, PayloadEncoding,
};
use std::collections::VecDeque;

/// The reason why the descriptors on a connection cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorFault {
    /// Descriptors came with bytes in which no frame that announces them begins.
    #[error("{came} descriptors came that no frame announces")]
    Unannounced {
        /// The number of descriptors.
        came: usize,
    },
    /// A frame announces descriptors, and other ones or none came with its first byte.
    #[error("a frame announces {announced} descriptors, {came} came with it")]
    NotSent {
        /// The number in the frame.
        announced: usize,
        /// The number that came with the beginning of the frame.
        came: usize,
    },
    /// A frame carries descriptors, and this side has not said that it takes any, or takes none in such a frame: a cancel, a probe,
    /// or a frame whose payload is encoded.
    #[error("a frame announces {announced} descriptors, where none are taken")]
    NotTaken {
        /// The number in the frame.
        announced: usize,
    },
    /// More descriptors came than this side takes with one frame, or keeps for a connection.
    #[error("{came} descriptors came, at most {limit} are taken")]
    TooMany {
        /// The number of descriptors.
        came: usize,
        /// The limit that applied.
        limit: usize,
    },
    /// The system has dropped descriptors: more came than this side takes with one frame, or this process has too many open.
    #[error("the system has dropped descriptors that came")]
    Truncated,
}

/// The descriptors that have come on a connection, by the bytes that they came with.
///
/// Descriptors come with the first byte of their frame. The system returns them with a read that has this byte, and with no other
/// descriptors; the read may have bytes before and behind it.
#[derive(Debug)]
pub(crate) struct DescriptorCounts {
    /// The most that are taken with one frame.
    frame_limit: usize,
    /// The most that wait for their frames to be taken.
    limit: usize,
    /// The number of bytes that were received since counting began.
    received: u64,
    /// In order, none overlapping another.
    batches: VecDeque<Batch>,
    /// The sum of the descriptors in all batches.
    waiting: usize,
    fault: Option<DescriptorFault>,
}

/// The descriptors of one read.
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// The offsets of the first byte of the read, and of the one behind it.
    from: u64,
    to: u64,
    count: usize,
}

impl DescriptorCounts {
    /// Begins to count, on a connection on which `buffered` bytes were received and not consumed.
    pub(crate) fn new(frame_limit: usize, limit: usize, buffered: usize) -> Self {
        Self {
            frame_limit,
            limit: limit.max(frame_limit),
            received: buffered as u64,
            batches: VecDeque::new(),
            waiting: 0,
            fault: None,
        }
    }

    /// Raises the limits to at least these.
    pub(crate) fn accept(&mut self, frame_limit: usize, limit: usize) {
        self.frame_limit = self.frame_limit.max(frame_limit);
        self.limit = self.limit.max(limit);
    }

    /// Takes the numbers of a read: of its bytes, and of the descriptors that came along. Some were dropped if it is `truncated`.
    pub(crate) fn received(&mut self, bytes: usize, count: usize, truncated: bool) {
        let from = self.received;
        self.received += bytes as u64;
        let waiting = self.waiting + count;
        let fault = if truncated {
            Some(DescriptorFault::Truncated)
        } else if count > self.frame_limit {
            Some(DescriptorFault::TooMany { came: count, limit: self.frame_limit })
        } else if waiting > self.limit {
            Some(DescriptorFault::TooMany { came: waiting, limit: self.limit })
        } else {
            None
        };
        self.fault = self.fault.or(fault);
        if count > 0 {
            self.waiting = waiting;
            self.batches.push_back(Batch { from, to: self.received, count });
        }
    }

    /// Returns the fault of a read, if there was one.
    pub(crate) fn check(&self) -> Result<(), DescriptorFault> {
        self.fault.map_or(Ok(()), Err)
    }

    /// Returns whether there is room for the descriptors of one more frame.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting + self.frame_limit <= self.limit
    }

    /// Takes the descriptors of a frame of `length` bytes, with which `buffered` bytes begin that were received.
    pub(crate) fn take(
        &mut self,
        announced: usize,
        length: usize,
        buffered: usize,
    ) -> Result<(), DescriptorFault> {
        self.check()?;
        let start = self.received - buffered as u64;
        let batch = self.batches.front().copied();
        if announced == 0 {
            // Only a frame behind this one may announce them, and it has to begin in the same read.
            return match batch {
                Some(Batch { to, count, .. }) if to <= start + length as u64 => {
                    Err(DescriptorFault::Unannounced { came: count })
                }
                _ => Ok(()),
            };
        }
        let came =
            batch.filter(|batch| (batch.from..batch.to).contains(&start)).map_or(0, |batch| batch.count);
        if came != announced {
            return Err(DescriptorFault::NotSent { announced, came });
        }
        self.batches.pop_front();
        self.waiting -= came;
        Ok(())
    }
}

/// The number of descriptors that a frame announces, and what else decides whether it may. It is no reference to the frame, which
/// would be kept in memory for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    count: u8,
    takes_none: bool,
}

impl Announced {
    #[inline]
    pub(crate) fn of(frame: &FrameRef<'_>) -> Self {
        let takes_none = frame.kind == i32::from(FrameKind::Cancel)
            || frame.payload_encoding != i32::from(PayloadEncoding::None);
        Self { count: frame.descriptors.count(), takes_none }
    }

    /// Returns the number of a frame with which no descriptors are taken.
    pub(crate) fn where_none_are_taken(count: u8) -> Self {
        Self { count, takes_none: true }
    }

    /// Returns the number, if such a frame may have any.
    fn check(self) -> Result<usize, DescriptorFault> {
        let announced = self.count.into();
        if announced > 0 && self.takes_none {
            Err(DescriptorFault::NotTaken { announced })
        } else {
            Ok(announced)
        }
    }
}

/// Takes the descriptors of a frame as [`DescriptorCounts::take`] does. If nothing is counted, a frame must announce none.
pub(crate) fn take_counted(
    counts: Option<&mut DescriptorCounts>,
    announced: Announced,
    length: usize,
    buffered: usize,
) -> Result<(), DescriptorFault> {
    let announced = announced.check()?;
    match counts {
        Some(counts) => counts.take(announced, length, buffered),
        None if announced > 0 => Err(DescriptorFault::NotTaken { announced }),
        None => Ok(()),
    }
}

/// The descriptors of a server's connection: what the two sides have told each other, and their number.
#[derive(Debug, Default)]
pub(super) struct ConnectionDescriptors {
    /// The most that are taken with one frame; 0 if the driver takes none.
    accepted: u8,
    /// The most that wait for their frames to be taken.
    limit: usize,
    /// Those that have come, once the peer knows that it may send some.
    counts: Option<Box<DescriptorCounts>>,
}

impl ConnectionDescriptors {
    /// Takes so many with one frame from a peer that asks, and so many before their frames are taken.
    pub(super) fn accept(&mut self, most: usize, limit: usize) {
        self.accepted = u8::try_from(most.min(MAX_FRAME_DESCRIPTORS)).unwrap_or(u8::MAX);
        self.limit = limit;
    }

    /// Returns whether the descriptors of another frame may come.
    pub(super) fn has_room(&self) -> bool {
        self.counts.as_ref().is_none_or(|counts| counts.has_room())
    }

    /// Returns the most that are taken with one frame.
    pub(super) fn accepted(&self) -> u8 {
        self.accepted
    }

    /// Returns whether descriptors may come.
    #[inline]
    pub(super) fn is_counting(&self) -> bool {
        self.counts.is_some()
    }

    /// Takes the numbers of a read, as [`DescriptorCounts::received`].
    #[inline]
    pub(super) fn received(&mut self, bytes: usize, count: usize, truncated: bool) {
        if let Some(counts) = &mut self.counts {
            counts.received(bytes, count, truncated);
        }
    }

    /// Returns the fault of a read, if there was one.
    pub(super) fn check(&self) -> Result<(), DescriptorFault> {
        self.counts.as_ref().map_or(Ok(()), |counts| counts.check())
    }

    /// Takes the descriptors of a frame, and begins to count them if its sender asks whether any are taken: it takes `asked` itself.
    /// Returns how many it may be sent, which are none if none are taken here.
    #[cold]
    #[inline(never)]
    pub(super) fn take(
        &mut self,
        announced: Announced,
        asked: u8,
        length: usize,
        buffered: usize,
    ) -> Result<u8, DescriptorFault> {
        take_counted(self.counts.as_deref_mut(), announced, length, buffered)?;
        if self.accepted == 0 {
            return Ok(0);
        }
        if asked != 0 && self.counts.is_none() {
            self.counts = Some(Box::new(DescriptorCounts::new(self.accepted.into(), self.limit, buffered)));
        }
        Ok(asked)
    }

    /// Takes a probe, with which no descriptors come. Returns the number of descriptors that its answer says are taken.
    pub(super) fn take_probe(
        &mut self,
        fields: DescriptorFields,
        length: usize,
        buffered: usize,
    ) -> Result<u8, DescriptorFault> {
        if fields.is_none() && !self.is_counting() {
            return Ok(0);
        }
        let announced = Announced::where_none_are_taken(fields.count());
        let asked = self.take(announced, fields.accepted(), length, buffered)?;
        Ok(if asked == 0 { 0 } else { self.accepted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of so many bytes, each with a number of descriptors.
    const FRAMES: [(usize, usize); 6] = [(10, 0), (7, 2), (30, 3), (5, 0), (6, 1), (9, 0)];

    fn total() -> usize {
        FRAMES.iter().map(|(length, _)| length).sum()
    }

    /// Feeds the frames in reads of at most `step` bytes, each of which ends behind the bytes with descriptors, as the system's do.
    fn feed(step: usize, mut frame: impl FnMut(usize) -> usize) -> Result<(), DescriptorFault> {
        let mut counts = DescriptorCounts::new(3, 6, 0);
        let (mut buffered, mut next) = (0, 0);
        let mut at = 0;
        while at < total() {
            let mut begin = 0;
            // A read ends at the latest before the next frame with descriptors, if it has some already.
            let (mut count, mut end) = (0, (at + step).min(total()));
            for (index, (length, _)) in FRAMES.iter().enumerate() {
                let came = frame(index);
                if came > 0 && (at..end).contains(&begin) {
                    if count > 0 {
                        end = begin;
                        break;
                    }
                    count = came;
                }
                begin += length;
            }
            counts.received(end - at, count, false);
            buffered += end - at;
            at = end;
            while let Some((length, announced)) = FRAMES.get(next).copied()
                && length <= buffered
            {
                counts.take(announced, length, buffered)?;
                buffered -= length;
                next += 1;
            }
        }
        assert_eq!((next, counts.waiting), (FRAMES.len(), 0));
        Ok(())
    }

    #[test]
    fn each_frame_gets_its_descriptors_however_the_bytes_were_cut() {
        for step in 1..=total() {
            assert_eq!(feed(step, |index| FRAMES[index].1), Ok(()), "{step} bytes at a time");
        }
    }

    #[test]
    fn descriptors_that_are_not_announced_or_not_sent_are_a_fault_at_every_cut() {
        for step in 1..=total() {
            for (wrong, (_, right)) in FRAMES.iter().enumerate() {
                for came in (0..=3).filter(|came| came != right) {
                    let fault = feed(step, |index| if index == wrong { came } else { FRAMES[index].1 });
                    assert!(fault.is_err(), "{came} with frame {wrong}, {step} bytes at a time");
                }
            }
        }
    }

    #[test]
    fn descriptors_that_come_behind_the_first_byte_of_their_frame_are_a_fault() {
        for cut in 1..9 {
            let mut counts = DescriptorCounts::new(3, 6, 0);
            counts.received(cut, 0, false);
            counts.received(9 - cut, 2, false);
            let late = Err(DescriptorFault::NotSent { announced: 2, came: 0 });
            assert_eq!(counts.take(2, 9, 9), late, "{cut} bytes came before them");
        }
    }

    #[test]
    fn descriptors_above_a_limit_or_dropped_by_the_system_are_a_fault_before_any_frame_is_complete() {
        let mut counts = DescriptorCounts::new(3, 6, 4);
        counts.received(1, 3, false);
        assert!(counts.has_room() && counts.check().is_ok());
        counts.received(1, 3, false);
        assert!(!counts.has_room() && counts.check().is_ok());
        counts.received(1, 1, false);
        assert_eq!(counts.check(), Err(DescriptorFault::TooMany { came: 7, limit: 6 }));
        let mut counts = DescriptorCounts::new(3, 6, 0);
        counts.received(1, 4, false);
        assert_eq!(counts.check(), Err(DescriptorFault::TooMany { came: 4, limit: 3 }));
        let mut counts = DescriptorCounts::new(3, 6, 0);
        counts.received(1, 1, true);
        assert_eq!(counts.take(1, 1, 1), Err(DescriptorFault::Truncated));
    }

    #[test]
    fn cancels_and_encoded_payloads_carry_no_descriptors() {
        let two = DescriptorFields::NONE.announcing(2);
        let frame = FrameRef { descriptors: two, ..FrameRef::request(0xF00D, 1, b"") };
        assert_eq!(Announced::of(&frame).check(), Ok(2));
        for other in [
            FrameRef { kind: FrameKind::Cancel.into(), ..frame },
            FrameRef { payload_encoding: PayloadEncoding::Lz4.into(), ..frame },
        ] {
            assert_eq!(Announced::of(&other).check(), Err(DescriptorFault::NotTaken { announced: 2 }));
        }
        assert_eq!(
            take_counted(None, Announced::of(&frame), 9, 9),
            Err(DescriptorFault::NotTaken { announced: 2 })
        );
    }
}
