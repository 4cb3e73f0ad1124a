//! Frames: decoded into pointers to the caller's buffer, and encoded with or without a copy of the payload.

use crate::boundary::{Bytes, bytes, check_place, guard, put, store, value};
use crate::status::Status;
use running_process::broker::protocol::{
    DescriptorFields, Encodings, FRAME_HEADER_BYTES, FrameRef, MAX_FRAME_BYTES, PROTOCOL_VERSION,
    try_decode_framed_ref,
};

/// The most bytes of a frame in front of and behind its payload, without the trace context.
pub const FRAME_OVERHEAD: usize = 96;

/// The length of the largest frame, header included, in bytes.
pub const MAX_FRAME: usize = 16_777_221;

const _: () = assert!(MAX_FRAME == FRAME_HEADER_BYTES + MAX_FRAME_BYTES);

/// The kinds of frames.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request = 0,
    /// The response to a request.
    Response = 1,
    /// An event; of a request if it has its id.
    Event = 2,
    /// The client no longer waits for the request of this id.
    Cancel = 3,
}

/// A frame. Decoded, its pointers lead into the buffer that was decoded. To encode one, fill it with zeros, set
/// `envelope_version` to 1 and then what the frame has, or begin with `rp_frame_response`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RpFrame {
    /// The version of the envelope: 1.
    pub envelope_version: u32,
    /// A `rp_kind`; in a received frame any number.
    pub kind: i32,
    /// The protocol of the payload.
    pub payload_protocol: u32,
    /// The encoding of the payload: 0 none, 1 Zstandard, 2 Snappy, 3 LZ4.
    pub payload_encoding: i32,
    /// The id that the requester chose.
    pub request_id: u64,
    /// The answer is of no use after it, in milliseconds since 1970; 0 is none.
    pub deadline_unix_ms: u64,
    /// The encodings that the sender decodes: bit n is the encoding n; bit 0: it wants notices.
    pub accepted_encodings: u32,
    /// The number of descriptors that come with the frame.
    pub descriptors: u8,
    /// The most descriptors that the sender takes with one frame.
    pub accepted_descriptors: u8,
    /// 1 if the payload is the content of the only descriptor, else 0.
    pub payload_is_file: u8,
    /// The payload.
    pub payload: Bytes,
    /// W3C Trace Context `traceparent`, UTF-8, not NUL-terminated. A received one may be longer than the 55 bytes of that standard.
    pub traceparent: Bytes,
    /// W3C Trace Context `tracestate`, as `traceparent`; 512 bytes in that standard.
    pub tracestate: Bytes,
}

impl RpFrame {
    /// A frame without anything.
    pub(crate) const EMPTY: Self = Self {
        envelope_version: 0,
        kind: 0,
        payload_protocol: 0,
        payload_encoding: 0,
        request_id: 0,
        deadline_unix_ms: 0,
        accepted_encodings: 0,
        descriptors: 0,
        accepted_descriptors: 0,
        payload_is_file: 0,
        payload: Bytes::EMPTY,
        traceparent: Bytes::EMPTY,
        tracestate: Bytes::EMPTY,
    };

    pub(crate) fn of(frame: &FrameRef<'_>) -> Self {
        Self {
            envelope_version: frame.envelope_version,
            kind: frame.kind,
            payload_protocol: frame.payload_protocol,
            payload_encoding: frame.payload_encoding,
            request_id: frame.request_id,
            deadline_unix_ms: frame.deadline_unix_ms,
            accepted_encodings: frame.accepted_encodings,
            descriptors: frame.descriptors.count(),
            accepted_descriptors: frame.descriptors.accepted(),
            payload_is_file: frame.descriptors.is_file().into(),
            payload: Bytes::of(frame.payload),
            traceparent: Bytes::of(frame.traceparent.as_bytes()),
            tracestate: Bytes::of(frame.tracestate.as_bytes()),
        }
    }

    /// Borrows the frame.
    ///
    /// # Safety
    ///
    /// Its pointers are those of readable bytes, which nothing changes during `'a`.
    pub(crate) unsafe fn borrow<'a>(&self) -> Result<FrameRef<'a>, Status> {
        // SAFETY: the caller's promise.
        let (payload, traceparent, tracestate) =
            unsafe { (self.payload.borrow()?, self.traceparent.text()?, self.tracestate.text()?) };
        Ok(FrameRef {
            envelope_version: self.envelope_version,
            kind: self.kind,
            payload_protocol: self.payload_protocol,
            payload,
            request_id: self.request_id,
            payload_encoding: self.payload_encoding,
            deadline_unix_ms: self.deadline_unix_ms,
            traceparent,
            tracestate,
            accepted_encodings: self.accepted_encodings,
            descriptors: DescriptorFields::NONE
                .announcing(self.descriptors)
                .accepting(self.accepted_descriptors)
                .of_file(self.payload_is_file != 0),
        })
    }
}

/// Decodes the frame at the start of `data`, and stores it and the bytes that it takes. Stores 0 in `consumed`, and no frame,
/// while the frame is incomplete. A daemon calls `rp_mux_poll` instead.
///
/// # Safety
///
/// `data` points to `length` readable bytes, and `frame` and `consumed` to memory that may be written. The frame is valid as long
/// as the bytes are unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_frame_decode(
    data: *const u8,
    length: usize,
    frame: *mut RpFrame,
    consumed: *mut usize,
) -> Status {
    guard(|| {
        check_place(frame)?;
        check_place(consumed)?;
        // SAFETY: the caller's promise.
        let data = unsafe { bytes(data, length) }?;
        let decoded = try_decode_framed_ref(data).map_err(|error| Status::from(&error))?;
        let (decoded, taken) =
            decoded.map_or((RpFrame::EMPTY, 0), |decoded| (RpFrame::of(&decoded.frame), decoded.consumed));
        // SAFETY: the caller's promise.
        unsafe {
            store(frame, decoded)?;
            store(consumed, taken)
        }
    })
}

/// Checks a received frame as a strict receiver: envelope version, kind, encoding, in this order. A server ends the connection at
/// the first two, and refuses a request for the third. `accepted_encodings` has bit n for the encoding n; 0 if the daemon decodes
/// none.
///
/// # Safety
///
/// `frame` points to a frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_frame_check(frame: *const RpFrame, accepted_encodings: u32) -> Status {
    guard(|| {
        // SAFETY: the caller's promise. What the frame points to is not read.
        let RpFrame { envelope_version, kind, payload_encoding, .. } = *unsafe { value(frame) }?;
        let frame = FrameRef { envelope_version, kind, payload_encoding, ..FrameRef::default() };
        frame.check_strict_accepting(Encodings::from_bits(accepted_encodings))?;
        Ok(())
    })
}

/// Stores in `response` the response to `request` with a payload: the same protocol, request id and trace context, which it
/// borrows. Change its `kind` to `RP_KIND_EVENT` for an event of the request.
///
/// A peer chooses the length of the trace context, which comes back to it: drop what is longer than the standard allows.
///
/// # Safety
///
/// `request` points to a frame, and `response` to memory that may be written. Both may be the same. The payload is not read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_frame_response(
    request: *const RpFrame,
    payload: *const u8,
    payload_length: usize,
    response: *mut RpFrame,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise; a copy, so that the response may take its place.
        let request = *unsafe { value(request) }?;
        let answer = RpFrame {
            envelope_version: PROTOCOL_VERSION,
            kind: Kind::Response as i32,
            payload_protocol: request.payload_protocol,
            request_id: request.request_id,
            payload: Bytes { data: payload, length: payload_length },
            traceparent: request.traceparent,
            tracestate: request.tracestate,
            ..RpFrame::EMPTY
        };
        // SAFETY: the caller's promise.
        unsafe { store(response, answer) }
    })
}

/// Writes a whole frame, header included, and stores its length.
///
/// # Safety
///
/// `frame` points to a frame whose pointers are those of readable bytes, `out` to `capacity` writable bytes apart from them, and
/// `length` to memory that may be written. `out` may be null if `capacity` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_frame_encode(
    frame: *const RpFrame,
    out: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let frame = unsafe { value(frame)?.borrow() }?;
        let (around, at) = encode_around(&frame)?;
        let (before, behind) = around.split_at(at);
        // SAFETY: the caller's promise.
        unsafe { put(&[before, frame.payload, behind], out, capacity, length) }
    })
}

/// Writes a frame without its payload, for a caller that writes the payload from its own place. Stores in `before` how many of
/// the bytes go out before the payload; the rest follows it. `RP_FRAME_OVERHEAD` and the length of the trace context are always
/// enough. Of the payload only the length counts.
///
/// # Safety
///
/// As `rp_frame_encode`; `before` points to memory that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_frame_encode_around(
    frame: *const RpFrame,
    out: *mut u8,
    capacity: usize,
    before: *mut usize,
    length: *mut usize,
) -> Status {
    guard(|| {
        check_place(before)?;
        // SAFETY: the caller's promise.
        let frame = unsafe { value(frame)?.borrow() }?;
        let (around, at) = encode_around(&frame)?;
        // SAFETY: the caller's promise.
        unsafe {
            put(&[&around], out, capacity, length)?;
            store(before, at)
        }
    })
}

/// Returns the frame without its payload, and the offset of the payload.
pub(crate) fn encode_around(frame: &FrameRef<'_>) -> Result<(Vec<u8>, usize), Status> {
    let mut around = Vec::new();
    let at = frame.encode_around_payload(&mut around).map_err(|error| Status::from(&error))?;
    Ok((around, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_is_longer_around_its_payload_than_stated() {
        let payload = vec![0; MAX_FRAME_BYTES - FRAME_OVERHEAD];
        let frame = FrameRef {
            envelope_version: u32::MAX,
            kind: -1,
            payload_protocol: u32::MAX,
            payload: &payload,
            request_id: u64::MAX,
            payload_encoding: -1,
            deadline_unix_ms: u64::MAX,
            traceparent: "",
            tracestate: "",
            accepted_encodings: u32::MAX,
            descriptors: DescriptorFields::NONE.announcing(255).accepting(255).of_file(true),
        };
        let (plain, _) = encode_around(&frame).unwrap();
        // The longest trace context has two keys and two lengths of four bytes.
        let text = "x".repeat(3 * 1024 * 1024);
        let traced =
            FrameRef { payload: &payload[..4 << 20], traceparent: &text, tracestate: &text, ..frame };
        let (traced, _) = encode_around(&traced).unwrap();
        assert!(plain.len() <= FRAME_OVERHEAD, "{} bytes", plain.len());
        assert!(traced.len() - 2 * text.len() <= FRAME_OVERHEAD, "{} bytes", traced.len() - 2 * text.len());
    }
}
