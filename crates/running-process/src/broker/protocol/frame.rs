//! Constructors of the owned [`Frame`], and [`FrameRef`], the same frame borrowed from the bytes it came in.

use super::header::FrameHeader;
use super::{Frame, FrameKind, FramingError, MAX_FRAME_BYTES, PROTOCOL_VERSION};
use prost::DecodeError;
use prost::encoding::{
    DecodeContext, WireType, check_wire_type, decode_key, decode_varint, encode_key, encode_varint,
    encoded_len_varint, key_len, skip_field, string,
};

impl Frame {
    /// A request under `payload_protocol`, with request id 0 until [`with_request_id`](Self::with_request_id).
    #[must_use]
    pub fn request(payload_protocol: u32, payload: Vec<u8>) -> Self {
        Self { envelope_version: PROTOCOL_VERSION, payload_protocol, payload, ..Self::default() }
    }

    /// The response to `request`: the same protocol, request id and trace context.
    #[must_use]
    pub fn response_to(request: &Frame, payload: Vec<u8>) -> Self {
        Self {
            kind: FrameKind::Response.into(),
            request_id: request.request_id,
            traceparent: request.traceparent.clone(),
            tracestate: request.tracestate.clone(),
            ..Self::request(request.payload_protocol, payload)
        }
    }

    /// The same frame under another request id.
    #[must_use]
    pub fn with_request_id(mut self, request_id: u64) -> Self {
        self.request_id = request_id;
        self
    }

    /// The same frame, borrowed.
    #[must_use]
    #[inline]
    pub fn borrowed(&self) -> FrameRef<'_> {
        FrameRef {
            envelope_version: self.envelope_version,
            kind: self.kind,
            payload_protocol: self.payload_protocol,
            payload: &self.payload,
            request_id: self.request_id,
            payload_encoding: self.payload_encoding,
            deadline_unix_ms: self.deadline_unix_ms,
            traceparent: &self.traceparent,
            tracestate: &self.tracestate,
        }
    }
}

/// A [`Frame`] whose payload and trace context still lie in the buffer that they arrived in.
///
/// Decoding neither copies nor allocates, and accepts, rejects and yields exactly what prost's decoder of the owned
/// frame does. The fields are those of [`Frame`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "field by field the same as `Frame`, which documents them")]
pub struct FrameRef<'a> {
    pub envelope_version: u32,
    pub kind: i32,
    pub payload_protocol: u32,
    pub payload: &'a [u8],
    pub request_id: u64,
    pub payload_encoding: i32,
    pub deadline_unix_ms: u64,
    pub traceparent: &'a str,
    pub tracestate: &'a str,
}

impl<'a> FrameRef<'a> {
    /// A request under `payload_protocol`.
    #[must_use]
    pub fn request(payload_protocol: u32, request_id: u64, payload: &'a [u8]) -> Self {
        Self { envelope_version: PROTOCOL_VERSION, payload_protocol, payload, request_id, ..Self::default() }
    }

    /// The response to `request`: the same protocol, request id and trace context.
    #[must_use]
    pub fn response_to(request: &FrameRef<'a>, payload: &'a [u8]) -> Self {
        Self {
            kind: FrameKind::Response.into(),
            traceparent: request.traceparent,
            tracestate: request.tracestate,
            ..Self::request(request.payload_protocol, request.request_id, payload)
        }
    }

    /// Decodes a frame body, which is what follows the five header bytes.
    ///
    /// # Errors
    ///
    /// The body is not a protobuf `Frame`; the error is prost's own.
    #[allow(clippy::cast_possible_truncation, reason = "protobuf truncates a varint to the field's width")]
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut frame = Self::default();
        let mut rest = body;
        while !rest.is_empty() {
            let (tag, wire_type) = decode_key(&mut rest)?;
            let rest = &mut rest;
            let field = match tag {
                1 => varint_field(wire_type, rest).map(|value| frame.envelope_version = value as u32),
                2 => varint_field(wire_type, rest).map(|value| frame.kind = value as i32),
                3 => varint_field(wire_type, rest).map(|value| frame.payload_protocol = value as u32),
                4 => bytes_field(wire_type, rest).map(|value| frame.payload = value),
                5 => varint_field(wire_type, rest).map(|value| frame.request_id = value),
                6 => varint_field(wire_type, rest).map(|value| frame.payload_encoding = value as i32),
                7 => varint_field(wire_type, rest).map(|value| frame.deadline_unix_ms = value),
                8 => str_field(wire_type, rest).map(|value| frame.traceparent = value),
                9 => str_field(wire_type, rest).map(|value| frame.tracestate = value),
                _ => skip_field(wire_type, tag, rest, DecodeContext::default()),
            };
            field.map_err(|error| in_field(tag, error))?;
        }
        Ok(frame)
    }

    /// Copies the frame out of its buffer.
    #[must_use]
    pub fn to_frame(&self) -> Frame {
        Frame {
            envelope_version: self.envelope_version,
            kind: self.kind,
            payload_protocol: self.payload_protocol,
            payload: self.payload.to_vec(),
            request_id: self.request_id,
            payload_encoding: self.payload_encoding,
            deadline_unix_ms: self.deadline_unix_ms,
            traceparent: self.traceparent.to_owned(),
            tracestate: self.tracestate.to_owned(),
        }
    }

    /// Appends header and body to `out`.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`] if the body is above [`MAX_FRAME_BYTES`]; `out` is then as it was.
    pub fn encode_framed(&self, out: &mut Vec<u8>) -> Result<(), FramingError> {
        self.encode_framed_with_payload([self.payload], out)
    }

    /// [`encode_framed`](Self::encode_framed) with a payload that lies in several pieces; `self.payload` is ignored.
    pub(crate) fn encode_framed_with_payload<const PIECES: usize>(
        &self,
        payload: [&[u8]; PIECES],
        out: &mut Vec<u8>,
    ) -> Result<(), FramingError> {
        let payload_length = payload.iter().map(|piece| piece.len()).sum();
        let body_length = self.body_length(payload_length);
        let header = FrameHeader::for_body(body_length, MAX_FRAME_BYTES)?;
        out.reserve(header.frame_length());
        out.extend_from_slice(&header.to_bytes());
        put_varint(1, u64::from(self.envelope_version), out);
        put_varint(2, enum_varint(self.kind), out);
        put_varint(3, u64::from(self.payload_protocol), out);
        if payload_length > 0 {
            encode_key(4, WireType::LengthDelimited, out);
            encode_varint(payload_length as u64, out);
            for piece in payload {
                out.extend_from_slice(piece);
            }
        }
        put_varint(5, self.request_id, out);
        put_varint(6, enum_varint(self.payload_encoding), out);
        put_varint(7, self.deadline_unix_ms, out);
        put_bytes(8, self.traceparent.as_bytes(), out);
        put_bytes(9, self.tracestate.as_bytes(), out);
        Ok(())
    }

    /// The length of the encoded body, in bytes, with a payload of `payload_length` bytes.
    fn body_length(&self, payload_length: usize) -> usize {
        varint_length(1, u64::from(self.envelope_version))
            + varint_length(2, enum_varint(self.kind))
            + varint_length(3, u64::from(self.payload_protocol))
            + bytes_length(4, payload_length)
            + varint_length(5, self.request_id)
            + varint_length(6, enum_varint(self.payload_encoding))
            + varint_length(7, self.deadline_unix_ms)
            + bytes_length(8, self.traceparent.len())
            + bytes_length(9, self.tracestate.len())
    }
}

/// `error` with the name of the field that it happened in, as prost words it.
#[cold]
fn in_field(tag: u32, mut error: DecodeError) -> DecodeError {
    let name = match tag {
        1 => "envelope_version",
        2 => "kind",
        3 => "payload_protocol",
        4 => "payload",
        5 => "request_id",
        6 => "payload_encoding",
        7 => "deadline_unix_ms",
        8 => "traceparent",
        9 => "tracestate",
        _ => return error,
    };
    error.push("Frame", name);
    error
}

#[inline]
fn varint_field(wire_type: WireType, rest: &mut &[u8]) -> Result<u64, DecodeError> {
    check_wire_type(WireType::Varint, wire_type)?;
    decode_varint(rest)
}

#[inline]
fn bytes_field<'a>(wire_type: WireType, rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    check_wire_type(WireType::LengthDelimited, wire_type)?;
    let mut value = *rest;
    let length = decode_varint(&mut value)?;
    match usize::try_from(length).ok().and_then(|length| value.split_at_checked(length)) {
        Some((value, after)) => {
            *rest = after;
            Ok(value)
        }
        // The field runs past the end: skipping it fails, with prost's name for the reason.
        None => skip_field(wire_type, 4, rest, DecodeContext::default()).map(|()| &[][..]),
    }
}

#[inline]
fn str_field<'a>(wire_type: WireType, rest: &mut &'a [u8]) -> Result<&'a str, DecodeError> {
    let mut field = *rest;
    let value = bytes_field(wire_type, rest)?;
    match std::str::from_utf8(value) {
        Ok(value) => Ok(value),
        // Not UTF-8: reading it as a string fails, with prost's name for the reason.
        Err(_) => {
            string::merge(wire_type, &mut String::new(), &mut field, DecodeContext::default()).map(|()| "")
        }
    }
}

/// Protobuf writes a negative enum value sign-extended to 64 bits.
#[allow(clippy::cast_sign_loss, reason = "two's complement is what the wire carries")]
fn enum_varint(value: i32) -> u64 {
    i64::from(value) as u64
}

fn put_varint(tag: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn varint_length(tag: u32, value: u64) -> usize {
    if value == 0 { 0 } else { key_len(tag) + encoded_len_varint(value) }
}

fn put_bytes(tag: u32, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(value.len() as u64, out);
        out.extend_from_slice(value);
    }
}

fn bytes_length(tag: u32, length: usize) -> usize {
    if length == 0 { 0 } else { key_len(tag) + encoded_len_varint(length as u64) + length }
}
