//! The decoder: one pass over the body. Prost decodes the fields that are not in the usual form.

#![allow(clippy::inline_always, reason = "a frame passes through registers, or twice through memory")]

use super::{Frame, FrameRef, key};
use prost::encoding::{DecodeContext, WireType, decode_key};
use prost::{DecodeError, Message};
use std::ptr;

/// The address that stands for a payload outside the body. No payload in a body has it.
static ELSEWHERE: [u8; 1] = [0];

/// A frame whose payload has begun to arrive.
pub(crate) struct FramePrefix {
    /// The fields before the payload, which is [elsewhere](FrameRef::has_payload_elsewhere).
    pub(crate) frame: FrameRef<'static>,
    /// Offset of the payload in the body.
    pub(crate) payload_start: usize,
    /// Length of the payload, as the body states it.
    pub(crate) payload_length: u64,
}

impl<'a> FrameRef<'a> {
    /// Decodes a frame body: the bytes after the five of the header.
    ///
    /// # Errors
    ///
    /// The body is not a protobuf `Frame`; the error is prost's own.
    #[inline(always)]
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        Self::default().merge(body)
    }

    /// Returns the frame with the fields in `rest`, which follow its own.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode) for the whole of it.
    #[inline(always)]
    pub(crate) fn merge(self, mut rest: &'a [u8]) -> Result<Self, DecodeError> {
        let mut frame = self;
        while !rest.is_empty() {
            let after = frame.take_fields(rest);
            (frame, rest) =
                if after.len() < rest.len() { (frame, after) } else { frame.take_unusual_field(rest)? };
        }
        Ok(frame)
    }

    /// Decodes the fields up to the payload from the start of a body, of which any part has arrived. Returns `None` if
    /// the payload has not begun, or if an unusual field stands before it.
    pub(crate) fn decode_prefix(body: &'a [u8]) -> Option<FramePrefix> {
        let mut frame = Self::default();
        let mut rest = body;
        // The number of fields is bounded, so this takes no longer than decoding a usual frame.
        for _ in 0..=key::BEFORE_PAYLOAD.len() {
            let [key, value @ ..] = rest else { return None };
            if *key == key::PAYLOAD {
                let (length, payload) = split_varint(value)?;
                let Self { envelope_version, kind, payload_protocol, .. } = frame;
                let frame = FrameRef {
                    envelope_version,
                    kind,
                    payload_protocol,
                    payload: &ELSEWHERE,
                    ..FrameRef::default()
                };
                return Some(FramePrefix {
                    frame,
                    payload_start: body.len() - payload.len(),
                    payload_length: length,
                });
            }
            if !key::BEFORE_PAYLOAD.contains(key) {
                return None;
            }
            rest = frame.take_value(*key, value)?;
        }
        None
    }

    /// Returns whether the payload is still the one of [`decode_prefix`](Self::decode_prefix), and no later one.
    pub(crate) fn has_payload_elsewhere(&self) -> bool {
        ptr::eq(self.payload, ELSEWHERE.as_slice())
    }

    /// Takes the fields at the start of `rest` that come in ascending order, as encoders write them, and returns what
    /// follows them.
    #[inline(always)]
    fn take_fields(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
        rest = self.take_field(key::ENVELOPE_VERSION, rest);
        rest = self.take_field(key::KIND, rest);
        rest = self.take_field(key::PAYLOAD_PROTOCOL, rest);
        rest = self.take_field(key::PAYLOAD, rest);
        rest = self.take_field(key::REQUEST_ID, rest);
        rest = self.take_field(key::PAYLOAD_ENCODING, rest);
        rest = self.take_field(key::DEADLINE_UNIX_MS, rest);
        rest = self.take_field(key::TRACEPARENT, rest);
        self.take_field(key::TRACESTATE, rest)
    }

    /// Takes the field at the start of `rest` if it has this key, and returns what follows it.
    #[inline(always)]
    fn take_field(&mut self, key: u8, rest: &'a [u8]) -> &'a [u8] {
        match rest {
            [first, value @ ..] if *first == key => self.take_value(key, value).unwrap_or(rest),
            _ => rest,
        }
    }

    /// Takes the value of the field with this key from the start of `rest`, and returns what follows it.
    ///
    /// Returns `None` if the key is none of a frame's, or not followed by a value of the field's type.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "protobuf truncates a varint to the field's width")]
    fn take_value(&mut self, key: u8, rest: &'a [u8]) -> Option<&'a [u8]> {
        // The value, or its length.
        let (varint, mut rest) = split_varint(rest)?;
        match key {
            key::ENVELOPE_VERSION => self.envelope_version = varint as u32,
            key::KIND => self.kind = varint as i32,
            key::PAYLOAD_PROTOCOL => self.payload_protocol = varint as u32,
            key::PAYLOAD => (self.payload, rest) = split_bytes(rest, varint)?,
            key::REQUEST_ID => self.request_id = varint,
            key::PAYLOAD_ENCODING => self.payload_encoding = varint as i32,
            key::DEADLINE_UNIX_MS => self.deadline_unix_ms = varint,
            key::TRACEPARENT => (self.traceparent, rest) = split_str(rest, varint)?,
            key::TRACESTATE => (self.tracestate, rest) = split_str(rest, varint)?,
            _ => return None,
        }
        Some(rest)
    }

    /// Takes a field that is unknown, has a key of more than one byte, or is refused.
    ///
    /// By value, so that the decoder can keep the frame in registers.
    #[cold]
    #[inline(never)]
    #[allow(clippy::cast_possible_truncation, reason = "protobuf truncates a varint to the field's width")]
    fn take_unusual_field(mut self, field: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut rest = field;
        let (tag, wire_type) = decode_key(&mut rest)?;
        let key = u8::try_from(tag << 3 | wire_type as u32).ok();
        if let Some(rest) = key.and_then(|key| self.take_value(key, rest)) {
            return Ok((self, rest));
        }
        if (key::ACCEPTED_ENCODINGS_TAG..=key::PAYLOAD_IS_FILE_TAG).contains(&tag)
            && wire_type == WireType::Varint
            && let Some((varint, rest)) = split_varint(rest)
        {
            let byte = u8::try_from(varint).unwrap_or(u8::MAX);
            match tag {
                key::DESCRIPTORS_TAG => self.descriptors = self.descriptors.announcing(byte),
                key::ACCEPTED_DESCRIPTORS_TAG => self.descriptors = self.descriptors.accepting(byte),
                key::PAYLOAD_IS_FILE_TAG => self.descriptors = self.descriptors.of_file(varint != 0),
                _ => self.accepted_encodings = varint as u32,
            }
            return Ok((self, rest));
        }
        // Prost skips an unknown field, and returns the error for an invalid one.
        Frame::default().merge_field(tag, wire_type, &mut rest, DecodeContext::default())?;
        Ok((self, rest))
    }
}

#[inline(always)]
fn split_bytes(bytes: &[u8], length: u64) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(usize::try_from(length).ok()?)
}

#[inline(always)]
fn split_str(bytes: &[u8], length: u64) -> Option<(&str, &[u8])> {
    let (text, rest) = split_bytes(bytes, length)?;
    Some((str::from_utf8(text).ok()?, rest))
}

/// Splits a varint of at most 64 bits from the rest of `bytes`.
#[inline(always)]
fn split_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes {
        [a @ 0..0x80, rest @ ..] => Some((u64::from(*a), rest)),
        [a, b @ 0..0x80, rest @ ..] => Some((u64::from(a & 0x7f) | u64::from(*b) << 7, rest)),
        [a, b, c @ 0..0x80, rest @ ..] => {
            Some((u64::from(a & 0x7f) | u64::from(b & 0x7f) << 7 | u64::from(*c) << 14, rest))
        }
        _ => split_long_varint(bytes),
    }
}

fn split_long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut rest) = (0, bytes);
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // Only one bit of the tenth byte belongs to the value.
            return (shift < 63 || byte < 2).then_some((value, rest));
        }
    }
    None
}
