//! The receive buffer of a client. Each large payload gets memory of its own, which its frame can keep without a copy.

use crate::broker::backend_sdk::proto::recv_buffer::{Consumed, MAX_RETAINED, RETAINED_CAPACITY, RecvBuffer};
use crate::broker::backend_sdk::proto::send_buffer::ZERO_COPY_MIN;
use crate::broker::protocol::header::FrameHeader;
use crate::broker::protocol::{
    DecodePayloadError, DecodedFramedRef, EncodingPolicy, FRAME_HEADER_BYTES, Frame, FrameRef, FramingError,
    MAX_FRAME_BYTES, PayloadEncoding, try_decode_framed_ref,
};

/// The longest trailer that is read together with its payload, in bytes. The trailer is what follows the payload in the frame:
/// the trace context, which is shorter.
const MAX_TRAILER: usize = 1024;

/// Bytes that were received and not consumed.
///
/// They lie in `buffer`. If the payload of the first frame is large, it lies in `large`, and `buffer` begins with its trailer.
#[derive(Debug, Default)]
pub(super) struct ClientRecvBuffer {
    buffer: RecvBuffer,
    large: Option<Large>,
    /// The shape of the frame that was taken last, if its payload was large. The next one may be alike.
    last: Option<Shape>,
    /// The beginning of such a frame, until it is moved to the buffer.
    head: Vec<u8>,
}

/// A frame whose large payload is not complete.
#[derive(Debug)]
struct Large {
    shape: Shape,
    /// The fields before the payload.
    frame: FrameRef<'static>,
    /// The part of the payload that has come, and the trailer until it is moved to the buffer.
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    /// The length in front of the payload, header included, in bytes.
    head: usize,
    /// The length of the payload, in bytes.
    payload: usize,
    /// The length of the trailer, in bytes.
    trailer: usize,
}

impl ClientRecvBuffer {
    /// Returns the number of bytes that wait.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let large = self.large.as_ref().map_or(0, |large| large.shape.head + large.payload.len());
        large + self.head.len() + self.buffer.len()
    }

    /// Appends bytes that arrived.
    #[inline]
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.merge_reads();
        self.begin_large();
        let bytes = match &mut self.large {
            Some(large) => large.receive(bytes, self.last),
            None => bytes,
        };
        self.buffer.tail().extend_from_slice(bytes);
    }

    /// Returns the memory to which the next read appends, with room for the rest of the frame.
    ///
    /// The room is at most as much as has come already or as the last large frame had, and at least [`RETAINED_CAPACITY`]. Where a
    /// frame like the last large one may begin, it is only the length in front of the payload, so that the payload is read
    /// to where it stays.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        self.merge_reads();
        self.begin_large();
        let Self { buffer, large, last, head } = self;
        let whole = match large {
            Some(large) => large.shape.trailer,
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

    /// Returns the received bytes frame by frame.
    #[inline]
    pub(super) fn front(&mut self) -> Frames<'_> {
        self.merge_reads();
        self.buffer.reclaim();
        let (rest, consumed) = self.buffer.front();
        Frames { rest, consumed, large: &mut self.large, last: &mut self.last }
    }

    /// Moves bytes that were read into other memory to where they belong.
    #[inline]
    fn merge_reads(&mut self) {
        if !self.head.is_empty() || self.large.is_some() {
            self.merge_large_reads();
        }
    }

    #[cold]
    fn merge_large_reads(&mut self) {
        if !self.head.is_empty() {
            self.buffer.tail().append(&mut self.head);
        }
        if let Some(large) = &mut self.large
            && let Some(trailer @ [_, ..]) = large.payload.get(large.shape.payload..)
        {
            self.buffer.tail().extend_from_slice(trailer);
            large.payload.truncate(large.shape.payload);
        }
    }

    /// Moves the payload of the first frame out of the buffer, if it is large and not complete.
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
    /// Returns the shape of the frame at the start of `bytes` and the fields in front of its payload, if that is large and has
    /// begun. Any part of the frame may have come.
    fn of(bytes: &[u8]) -> Option<(Self, FrameRef<'static>)> {
        let header = header(bytes).filter(|header| header.body_length() >= ZERO_COPY_MIN)?;
        let prefix = FrameRef::decode_prefix(bytes.get(FRAME_HEADER_BYTES..)?)?;
        let (head, payload) =
            (FRAME_HEADER_BYTES + prefix.payload_start, usize::try_from(prefix.payload_length).ok()?);
        let trailer = header.frame_length().checked_sub(head)?.checked_sub(payload)?;
        (payload >= ZERO_COPY_MIN).then_some((Self { head, payload, trailer }, prefix.frame))
    }
}

fn header(bytes: &[u8]) -> Option<FrameHeader> {
    FrameHeader::parse(bytes, MAX_FRAME_BYTES).ok().flatten()
}

impl Large {
    /// Returns the length of the payload that is still to come, in bytes.
    fn missing(&self) -> usize {
        self.shape.payload.saturating_sub(self.payload.len())
    }

    /// Appends the part of `bytes` that belongs to the payload, and returns the rest.
    fn receive<'b>(&mut self, bytes: &'b [u8], last: Option<Shape>) -> &'b [u8] {
        let (payload, rest) = bytes.split_at(bytes.len().min(self.missing()));
        self.tail(last, payload.len()).extend_from_slice(payload);
        rest
    }

    /// Returns the memory for the next part of the payload, of which `came` bytes are there.
    fn tail(&mut self, last: Option<Shape>, came: usize) -> &mut Vec<u8> {
        let rest = self.missing() + self.shape.trailer.min(MAX_TRAILER);
        let expected = last.map_or(0, |last| (last.payload + last.trailer).min(MAX_RETAINED));
        let room = rest.min(came + expected.max(RETAINED_CAPACITY).max(self.payload.len() + came));
        // A read into little room costs a system call, so memory grows first; it nearly doubles, however little comes at a time.
        if self.payload.capacity() - self.payload.len() < came.max(room.min(ZERO_COPY_MIN)) {
            self.payload.reserve_exact(room);
        }
        &mut self.payload
    }
}

/// The received bytes, consumed frame by frame.
pub(super) struct Frames<'a> {
    rest: &'a [u8],
    consumed: Consumed<'a>,
    large: &'a mut Option<Large>,
    last: &'a mut Option<Shape>,
}

/// A frame with its payload: in the frame, or in memory of its own.
pub(super) struct ReceivedFrame<'a> {
    pub(super) frame: FrameRef<'a>,
    pub(super) payload: Option<Vec<u8>>,
}

impl<'a> Frames<'a> {
    /// Returns the number of bytes from the beginning of the next frame on.
    #[inline]
    pub(super) fn buffered(&self) -> usize {
        let large = self.large.as_ref().map_or(0, |large| large.shape.head + large.payload.len());
        large + self.rest.len()
    }

    /// Consumes the next frame, if it is complete.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]
    pub(super) fn next(&mut self) -> Result<Option<ReceivedFrame<'a>>, FramingError> {
        if self.large.is_some() {
            return self.next_large();
        }
        let Some(DecodedFramedRef { frame, consumed }) = try_decode_framed_ref(self.rest)? else {
            return Ok(None);
        };
        *self.last =
            if consumed < ZERO_COPY_MIN { None } else { Shape::of(self.rest).map(|(shape, _)| shape) };
        self.consume(consumed);
        Ok(Some(ReceivedFrame { frame, payload: None }))
    }

    #[cold]
    fn next_large(&mut self) -> Result<Option<ReceivedFrame<'a>>, FramingError> {
        let whole = |large: &mut Large| large.missing() == 0 && large.shape.trailer <= self.rest.len();
        let Some(Large { shape, frame, payload }) = self.large.take_if(whole) else { return Ok(None) };
        let frame = frame.merge(&self.rest[..shape.trailer])?;
        *self.last = Some(shape);
        self.consume(shape.trailer);
        Ok(Some(ReceivedFrame { frame, payload: frame.has_payload_elsewhere().then_some(payload) }))
    }

    #[inline]
    fn consume(&mut self, length: usize) {
        self.rest = &self.rest[length..];
        self.consumed.consume(length);
    }
}

impl<'a> ReceivedFrame<'a> {
    /// Returns the frame with its payload.
    pub(super) fn whole(&self) -> FrameRef<'_> {
        FrameRef { payload: self.payload.as_deref().unwrap_or(self.frame.payload), ..self.frame }
    }

    /// Decodes the payload, if it came encoded.
    #[inline]
    pub(super) fn decoded(self, policy: &EncodingPolicy) -> Result<Self, DecodePayloadError> {
        if self.frame.payload_encoding == i32::from(PayloadEncoding::None) {
            return Ok(self);
        }
        let mut payload = Vec::new();
        let FrameRef { payload_encoding, .. } = policy.decode(self.whole(), &mut payload)?;
        Ok(Self { frame: FrameRef { payload_encoding, ..self.frame }, payload: Some(payload) })
    }

    /// Returns the frame, and moves a payload of its own to `memory`.
    #[inline]
    pub(super) fn borrowed(self, memory: &'a mut Vec<u8>) -> FrameRef<'a> {
        match self.payload {
            None => self.frame,
            Some(payload) => {
                *memory = payload;
                FrameRef { payload: memory, ..self.frame }
            }
        }
    }

    /// Returns an owned frame. A payload of its own is not copied.
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

    /// Reads as much of `stream` as there is room for, at most `step` bytes. Returns the number of bytes.
    fn read(recv: &mut ClientRecvBuffer, stream: &mut &[u8], step: usize) -> usize {
        let tail = recv.tail();
        let room = tail.capacity() - tail.len();
        assert!(room > 0);
        let bytes = stream.split_off(..room.min(step).min(stream.len())).unwrap();
        tail.extend_from_slice(bytes);
        bytes.len()
    }

    fn take(recv: &mut ClientRecvBuffer) -> Vec<Frame> {
        let mut front = recv.front();
        std::iter::from_fn(|| front.next().unwrap()).map(ReceivedFrame::into_frame).collect()
    }

    #[test]
    fn what_is_read_onto_the_tail_is_taken_frame_by_frame() {
        let lengths = [0, 9, 50_000, 50_000, ZERO_COPY_MIN, 3, 200_000, 10, ZERO_COPY_MIN - 1, 70_000, 1];
        let mut frames: Vec<_> = (1..).zip(lengths).map(|(id, length)| event(id, length)).collect();
        frames[3].tracestate = "x".repeat(3 * MAX_TRAILER);
        let all: Vec<u8> = frames.iter().flat_map(wire).collect();
        for step in [1, 2, 17, 1000, 65_537, usize::MAX] {
            let (mut recv, mut stream, mut taken) = (ClientRecvBuffer::default(), &all[..], Vec::new());
            while !stream.is_empty() {
                let before = recv.len();
                let read = read(&mut recv, &mut stream, step);
                assert_eq!(recv.len(), before + read);
                taken.extend(take(&mut recv));
            }
            assert_eq!(recv.len(), 0);
            assert!(taken == frames, "{step} bytes at a time");
        }
    }

    #[test]
    fn a_large_payload_like_the_last_one_is_read_to_where_it_stays() {
        let frame = event(7, 200_000);
        let wire = wire(&frame);
        let mut recv = ClientRecvBuffer::default();
        recv.receive(&wire);
        assert_eq!(take(&mut recv), std::slice::from_ref(&frame));
        for _ in 0..3 {
            let mut stream = &wire[..];
            read(&mut recv, &mut stream, usize::MAX);
            let trailer = frame.tracestate.len() + 4;
            assert_eq!(stream.len(), frame.payload.len() + trailer, "what stands before it comes alone");
            let lies_at = recv.tail().as_ptr();
            read(&mut recv, &mut stream, usize::MAX);
            assert!(stream.is_empty(), "all the rest comes at once");
            let [taken] = &take(&mut recv)[..] else { panic!("one frame") };
            assert_eq!(taken, &frame);
            assert_eq!(taken.payload.as_ptr(), lies_at);
        }
    }

    #[test]
    fn where_a_small_frame_comes_instead_there_is_room_for_many_from_then_on() {
        let mut recv = ClientRecvBuffer::default();
        let (large, small) = (wire(&event(1, ZERO_COPY_MIN)), wire(&event(2, 100)));
        recv.receive(&large);
        assert_eq!(take(&mut recv).len(), 1);
        let many = small.repeat(100);
        let mut stream = &many[..];
        read(&mut recv, &mut stream, usize::MAX);
        assert!(stream.len() > many.len() - small.len());
        read(&mut recv, &mut stream, usize::MAX);
        assert_eq!((take(&mut recv).len(), stream.len()), (100, 0));
    }

    #[test]
    fn room_follows_what_has_come_and_not_what_is_claimed() {
        let mut wire = wire(&event(1, 10 << 20));
        let mut recv = ClientRecvBuffer::default();
        let (mut stream, mut came, mut grown) = (&wire[..1 << 20], 0, 0);
        while !stream.is_empty() {
            let before = recv.tail().capacity();
            came += read(&mut recv, &mut stream, 1000);
            let after = recv.tail().capacity();
            grown += usize::from(after != before);
            assert!(after <= 2 * came + RETAINED_CAPACITY, "{after} bytes for {came}");
        }
        assert!(grown < 20, "memory grew {grown} times");
        recv.receive(&wire.split_off(1 << 20));
        assert_eq!(take(&mut recv).len(), 1);
        // Once that much has come, there is room for it, up to a bound.
        recv.receive(&wire[..100]);
        assert!(recv.tail().capacity() <= 100 + MAX_RETAINED);
        assert!(recv.tail().capacity() >= MAX_RETAINED);
    }

    #[test]
    fn room_for_a_large_payload_follows_the_last_one_and_not_what_is_claimed() {
        let last = event(7, 200_000);
        let next = wire(&event(8, 10 << 20));
        let mut recv = ClientRecvBuffer::default();
        recv.receive(&wire(&last));
        assert_eq!(take(&mut recv).len(), 1);
        recv.receive(&next[..100]);
        let tail = recv.tail();
        let room = tail.capacity() - tail.len();
        let of_last = last.payload.len() + last.tracestate.len() + 4;
        assert!((of_last..of_last + 100).contains(&room), "room for {room} bytes");
    }

    #[test]
    fn memory_for_a_payload_grows_before_a_read_would_find_little_room() {
        let wire = wire(&event(1, 10 << 20));
        let mut recv = ClientRecvBuffer::default();
        recv.receive(&wire[..100]);
        let tail = recv.tail();
        let (before, room) = (tail.capacity(), tail.capacity() - tail.len());
        tail.extend(std::iter::repeat_n(7, room - ZERO_COPY_MIN));
        assert_eq!(recv.tail().capacity(), before);
        recv.tail().push(7);
        let tail = recv.tail();
        assert!(tail.capacity() - tail.len() >= RETAINED_CAPACITY);
    }

    #[test]
    fn a_long_trailer_is_read_at_once_into_room_of_its_own() {
        let mut frame = event(1, 50_000);
        frame.tracestate = "x".repeat(3 * MAX_TRAILER);
        let wire = wire(&frame);
        let mut recv = ClientRecvBuffer::default();
        recv.receive(&wire[..100]);
        // All of the payload, and a part of the trailer.
        recv.receive(&wire[100..wire.len() - 2 * MAX_TRAILER]);
        let tail = recv.tail();
        assert!(tail.capacity() - tail.len() >= RETAINED_CAPACITY);
        recv.receive(&wire[wire.len() - 2 * MAX_TRAILER..]);
        assert_eq!(take(&mut recv), [frame]);
    }

    #[test]
    fn a_trailer_that_looks_like_a_large_frame_is_no_frame() {
        let outer = Frame { kind: FrameKind::Event.into(), ..Frame::request(0xF00D, vec![7; 20_000]) };
        let mut bytes = wire(&outer);
        let inner = wire(&event(2, 20_000));
        bytes.extend_from_slice(&inner);
        let body = u32::try_from(bytes.len() - FRAME_HEADER_BYTES).unwrap();
        bytes[1..FRAME_HEADER_BYTES].copy_from_slice(&body.to_le_bytes());
        let mut recv = ClientRecvBuffer::default();
        for part in bytes.chunks(1000) {
            recv.receive(part);
        }
        assert!(recv.front().next().is_err());
    }

    #[test]
    fn a_second_payload_in_the_trailer_is_that_of_the_frame() {
        let first = Frame { kind: FrameKind::Event.into(), ..Frame::request(0xF00D, vec![7; 20_000]) };
        let mut bytes = wire(&first);
        bytes.extend_from_slice(b"\x22\x02ok");
        let body = u32::try_from(bytes.len() - FRAME_HEADER_BYTES).unwrap();
        bytes[1..FRAME_HEADER_BYTES].copy_from_slice(&body.to_le_bytes());
        let mut recv = ClientRecvBuffer::default();
        for part in bytes.chunks(1000) {
            recv.receive(part);
        }
        assert_eq!(take(&mut recv), [Frame { payload: b"ok".to_vec(), ..first }]);
    }

    #[test]
    fn what_a_driver_has_read_counts_whether_it_is_consumed_or_not() {
        let (small, large) = (wire(&event(1, 10)), wire(&event(2, 50_000)));
        let mut recv = ClientRecvBuffer::default();
        let part = large.len() - 20;
        recv.receive(&[&small[..], &large[..part]].concat());
        let mut front = recv.front();
        assert_eq!(front.buffered(), small.len() + part);
        assert!(front.next().unwrap().is_some());
        assert_eq!(front.buffered(), part);
        assert!(front.next().unwrap().is_none());
        recv.receive(&large[part..part + 10]);
        assert_eq!((recv.front().buffered(), recv.len()), (part + 10, part + 10));
        recv.receive(&large[part + 10..]);
        let mut front = recv.front();
        assert_eq!(front.buffered(), large.len());
        assert!(front.next().unwrap().is_some());
        assert_eq!(front.buffered(), 0);
    }
}
