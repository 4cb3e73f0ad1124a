//! What a client receives: large payloads in memory of their own, for whoever wants to keep them, and all else in a buffer.

use crate::broker::backend_sdk::proto::recv_buffer::{Consumed, MAX_RETAINED, RETAINED_CAPACITY, RecvBuffer};
use crate::broker::backend_sdk::proto::send_buffer::ZERO_COPY_MIN;
use crate::broker::protocol::header::FrameHeader;
use crate::broker::protocol::{
    DecodePayloadError, DecodedFramedRef, EncodingPolicy, FRAME_HEADER_BYTES, Frame, FrameRef, FramingError,
    MAX_FRAME_BYTES, PayloadEncoding, try_decode_framed_ref,
};

/// What stands behind a payload is read in one go with it if it is not longer, in bytes: trace context is shorter.
const BEHIND: usize = 1024;

/// Bytes that came and are not consumed.
///
/// They lie in `buffer`. If the frame at the front is `large`, the buffer begins with what stands behind its payload.
#[derive(Debug, Default)]
pub(super) struct Intake {
    buffer: RecvBuffer,
    large: Option<Large>,
    /// The frame that was taken last, if its payload was large: the next one may be alike.
    last: Option<Shape>,
    /// What was read as the beginning of such a frame, and is not in the buffer yet.
    head: Vec<u8>,
}

/// A frame whose payload was not complete when it was seen to be large.
#[derive(Debug)]
struct Large {
    shape: Shape,
    /// The fields before the payload.
    frame: FrameRef<'static>,
    /// What has come of the payload, and until it is moved to the buffer, what came behind it.
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    /// What stands before the payload, header included, in bytes.
    head: usize,
    /// In bytes.
    payload: usize,
    /// What stands behind the payload, in bytes.
    behind: usize,
}

impl Intake {
    /// How many bytes are held.
    pub(super) fn len(&self) -> usize {
        let large = self.large.as_ref().map_or(0, |large| large.shape.head + large.payload.len());
        large + self.head.len() + self.buffer.len()
    }

    /// Takes what arrived.
    #[inline]
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.settle();
        self.begin_large();
        let bytes = match &mut self.large {
            Some(large) => large.receive(bytes, self.last),
            None => bytes,
        };
        self.buffer.tail().extend_from_slice(bytes);
    }

    /// Where to append what arrives. There is room for what is expected, as far as that is not more than has come already or
    /// than the last frame had if that was large, and for [`RETAINED_CAPACITY`] in any case; but where a frame like the last one may begin,
    /// only for what stands before its payload.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        self.settle();
        self.begin_large();
        let Self { buffer, large, last, head } = self;
        let whole = match large {
            Some(large) => large.shape.behind,
            None => header(buffer.as_slice()).map_or(0, FrameHeader::frame_length),
        };
        match (large, *last) {
            (Some(large), last) if large.missing() > 0 => large.tail(last, 0),
            (None, Some(last)) if buffer.is_empty() => {
                if head.capacity() != last.head {
                    *head = Vec::with_capacity(last.head);
                }
                head
            }
            _ => buffer.room_for(whole.saturating_sub(buffer.len()).max(RETAINED_CAPACITY)),
        }
    }

    /// What came, to be taken frame by frame.
    #[inline]
    pub(super) fn front(&mut self) -> Front<'_> {
        self.settle();
        self.buffer.reclaim();
        let (rest, consumed) = self.buffer.front();
        Front { rest, consumed, large: &mut self.large, last: &mut self.last }
    }

    /// Moves what was read into other memory to where it belongs.
    #[inline]
    fn settle(&mut self) {
        if !self.head.is_empty() || self.large.is_some() {
            self.settle_large();
        }
    }

    #[cold]
    fn settle_large(&mut self) {
        if !self.head.is_empty() {
            self.buffer.tail().append(&mut self.head);
        }
        if let Some(large) = &mut self.large
            && let Some(behind @ [_, ..]) = large.payload.get(large.shape.payload..)
        {
            self.buffer.tail().extend_from_slice(behind);
            large.payload.truncate(large.shape.payload);
        }
    }

    /// Takes what has come of the payload of the frame at the front out of the buffer, if the rest is worth it.
    #[inline]
    fn begin_large(&mut self) {
        if !self.buffer.is_empty() {
            self.begin_large_of_buffer();
        }
    }

    fn begin_large_of_buffer(&mut self) {
        let came = self.buffer.as_slice();
        if self.large.is_some() || header(came).is_none_or(|header| header.frame_length() <= came.len()) {
            return;
        }
        if let Some((shape, frame)) = Shape::of(came)
            && let Some(payload) = came.get(shape.head..).filter(|payload| payload.len() < shape.payload)
        {
            let mut large = Large { shape, frame, payload: Vec::new() };
            large.receive(payload, self.last);
            self.large = Some(large);
            let length = came.len();
            self.buffer.front().1.consume(length);
        }
    }
}

impl Shape {
    /// The shape of the frame at the start of `bytes`, of which any part has come, and the fields before its payload, if
    /// that is large and has begun.
    fn of(bytes: &[u8]) -> Option<(Self, FrameRef<'static>)> {
        let header = header(bytes).filter(|header| header.body_length() >= ZERO_COPY_MIN)?;
        let prefix = FrameRef::decode_prefix(bytes.get(FRAME_HEADER_BYTES..)?)?;
        let (head, payload) =
            (FRAME_HEADER_BYTES + prefix.payload_start, usize::try_from(prefix.payload_length).ok()?);
        let behind = header.frame_length().checked_sub(head)?.checked_sub(payload)?;
        (payload >= ZERO_COPY_MIN).then_some((Self { head, payload, behind }, prefix.frame))
    }
}

fn header(bytes: &[u8]) -> Option<FrameHeader> {
    FrameHeader::parse(bytes, MAX_FRAME_BYTES).ok().flatten()
}

impl Large {
    /// How much of the payload is still to come, in bytes.
    fn missing(&self) -> usize {
        self.shape.payload.saturating_sub(self.payload.len())
    }

    /// Takes the start of `bytes`, as far as it is payload, and gives the rest.
    fn receive<'b>(&mut self, bytes: &'b [u8], last: Option<Shape>) -> &'b [u8] {
        let (payload, rest) = bytes.split_at(bytes.len().min(self.missing()));
        self.tail(last, payload.len()).extend_from_slice(payload);
        rest
    }

    /// Where to append the next part of the payload, of which `came` bytes are there.
    fn tail(&mut self, last: Option<Shape>, came: usize) -> &mut Vec<u8> {
        let rest = self.missing() + self.shape.behind.min(BEHIND);
        let proven = last.map_or(0, |last| (last.payload + last.behind).min(MAX_RETAINED));
        let room = rest.min(came + proven.max(RETAINED_CAPACITY).max(self.payload.len() + came));
        // A little room is not worth a read of its own; however little comes at a time, memory nearly doubles.
        if self.payload.capacity() - self.payload.len() < came.max(room.min(ZERO_COPY_MIN)) {
            self.payload.reserve_exact(room);
        }
        &mut self.payload
    }
}

/// What came, and what is consumed of it while frames are looked at.
pub(super) struct Front<'a> {
    rest: &'a [u8],
    consumed: Consumed<'a>,
    large: &'a mut Option<Large>,
    last: &'a mut Option<Shape>,
}

/// A frame that was taken. If it has a payload of its own, that of the frame is none.
pub(super) struct Taken<'a> {
    pub(super) frame: FrameRef<'a>,
    pub(super) payload: Option<Vec<u8>>,
}

impl<'a> Front<'a> {
    /// Takes the next frame, if it is complete.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Taken<'a>>, FramingError> {
        if self.large.is_some() {
            return self.next_large();
        }
        let Some(DecodedFramedRef { frame, consumed }) = try_decode_framed_ref(self.rest)? else {
            return Ok(None);
        };
        *self.last =
            if consumed < ZERO_COPY_MIN { None } else { Shape::of(self.rest).map(|(shape, _)| shape) };
        self.consume(consumed);
        Ok(Some(Taken { frame, payload: None }))
    }

    #[cold]
    fn next_large(&mut self) -> Result<Option<Taken<'a>>, FramingError> {
        let whole = |large: &mut Large| large.missing() == 0 && large.shape.behind <= self.rest.len();
        let Some(Large { shape, frame, payload }) = self.large.take_if(whole) else { return Ok(None) };
        let frame = frame.merge(&self.rest[..shape.behind])?;
        *self.last = Some(shape);
        self.consume(shape.behind);
        Ok(Some(Taken { frame, payload: frame.has_payload_elsewhere().then_some(payload) }))
    }

    #[inline]
    fn consume(&mut self, length: usize) {
        self.rest = &self.rest[length..];
        self.consumed.consume(length);
    }
}

impl<'a> Taken<'a> {
    /// The frame with its payload.
    pub(super) fn whole(&self) -> FrameRef<'_> {
        FrameRef { payload: self.payload.as_deref().unwrap_or(self.frame.payload), ..self.frame }
    }

    /// The frame with its payload as its sender had it.
    #[inline]
    pub(super) fn decoded(self, policy: &EncodingPolicy) -> Result<Self, DecodePayloadError> {
        if self.frame.payload_encoding == i32::from(PayloadEncoding::None) {
            return Ok(self);
        }
        let mut payload = Vec::new();
        let FrameRef { payload_encoding, .. } = policy.decode(self.whole(), &mut payload)?;
        Ok(Self { frame: FrameRef { payload_encoding, ..self.frame }, payload: Some(payload) })
    }

    /// The frame, of which a payload of its own lies in `memory` from now on.
    #[inline]
    pub(super) fn lent(self, memory: &'a mut Vec<u8>) -> FrameRef<'a> {
        match self.payload {
            None => self.frame,
            Some(payload) => {
                *memory = payload;
                FrameRef { payload: memory, ..self.frame }
            }
        }
    }

    /// The frame to keep; a payload of its own is not copied.
    #[inline]
    pub(super) fn into_frame(self) -> Frame {
        self.frame.to_frame_with(self.payload.unwrap_or_else(|| self.frame.payload.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::protocol::FrameKind;

    fn event(request_id: u64, payload: usize) -> Frame {
        let tracestate = "state".into();
        let kind = FrameKind::Event.into();
        Frame { kind, tracestate, ..Frame::request(0xF00D, vec![7; payload]) }.with_request_id(request_id)
    }

    fn wire(frame: &Frame) -> Vec<u8> {
        let mut wire = Vec::new();
        frame.borrowed().encode_framed(&mut wire).unwrap();
        wire
    }

    /// Reads as much of `stream` as there is room for, but at most `step`; gives what was read.
    fn read(intake: &mut Intake, stream: &mut &[u8], step: usize) -> usize {
        let tail = intake.tail();
        let room = tail.capacity() - tail.len();
        assert!(room > 0);
        let bytes = stream.split_off(..room.min(step).min(stream.len())).unwrap();
        tail.extend_from_slice(bytes);
        bytes.len()
    }

    fn take(intake: &mut Intake) -> Vec<Frame> {
        let mut front = intake.front();
        std::iter::from_fn(|| front.next().unwrap()).map(Taken::into_frame).collect()
    }

    #[test]
    fn what_is_read_onto_the_tail_is_taken_frame_by_frame() {
        let lengths = [0, 9, 50_000, 50_000, ZERO_COPY_MIN, 3, 200_000, 10, ZERO_COPY_MIN - 1, 70_000, 1];
        let mut frames: Vec<_> = (1..).zip(lengths).map(|(id, length)| event(id, length)).collect();
        frames[3].tracestate = "x".repeat(3 * BEHIND);
        let all: Vec<u8> = frames.iter().flat_map(wire).collect();
        for step in [1, 2, 17, 1000, 65_537, usize::MAX] {
            let (mut intake, mut stream, mut taken) = (Intake::default(), &all[..], Vec::new());
            while !stream.is_empty() {
                let before = intake.len();
                let read = read(&mut intake, &mut stream, step);
                assert_eq!(intake.len(), before + read);
                taken.extend(take(&mut intake));
            }
            assert_eq!(intake.len(), 0);
            assert!(taken == frames, "{step} bytes at a time");
        }
    }

    #[test]
    fn a_large_payload_like_the_last_one_is_read_to_where_it_stays() {
        let frame = event(7, 200_000);
        let wire = wire(&frame);
        let mut intake = Intake::default();
        intake.receive(&wire);
        assert_eq!(take(&mut intake), std::slice::from_ref(&frame));
        for _ in 0..3 {
            let mut stream = &wire[..];
            read(&mut intake, &mut stream, usize::MAX);
            let behind = frame.tracestate.len() + 4;
            assert_eq!(stream.len(), frame.payload.len() + behind, "what stands before it comes alone");
            let lies_at = intake.tail().as_ptr();
            read(&mut intake, &mut stream, usize::MAX);
            assert!(stream.is_empty(), "all the rest comes at once");
            let [taken] = &take(&mut intake)[..] else { panic!("one frame") };
            assert_eq!(taken, &frame);
            assert_eq!(taken.payload.as_ptr(), lies_at);
        }
    }

    #[test]
    fn where_a_small_frame_comes_instead_there_is_room_for_many_from_then_on() {
        let mut intake = Intake::default();
        let (large, small) = (wire(&event(1, ZERO_COPY_MIN)), wire(&event(2, 100)));
        intake.receive(&large);
        assert_eq!(take(&mut intake).len(), 1);
        let many = small.repeat(100);
        let mut stream = &many[..];
        read(&mut intake, &mut stream, usize::MAX);
        assert!(stream.len() > many.len() - small.len());
        read(&mut intake, &mut stream, usize::MAX);
        assert_eq!((take(&mut intake).len(), stream.len()), (100, 0));
    }

    #[test]
    fn room_follows_what_has_come_and_not_what_is_claimed() {
        let mut wire = wire(&event(1, 10 << 20));
        let mut intake = Intake::default();
        let (mut stream, mut came, mut grown) = (&wire[..1 << 20], 0, 0);
        while !stream.is_empty() {
            let before = intake.tail().capacity();
            came += read(&mut intake, &mut stream, 1000);
            let after = intake.tail().capacity();
            grown += usize::from(after != before);
            assert!(after <= 2 * came + RETAINED_CAPACITY, "{after} bytes for {came}");
        }
        assert!(grown < 20, "memory grew {grown} times");
        intake.receive(&wire.split_off(1 << 20));
        assert_eq!(take(&mut intake).len(), 1);
        // Once that much has come, there is room for it, up to a bound.
        intake.receive(&wire[..100]);
        assert!(intake.tail().capacity() <= 100 + MAX_RETAINED);
        assert!(intake.tail().capacity() >= MAX_RETAINED);
    }
}
