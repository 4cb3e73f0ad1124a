//! The encoder: computes the length first, then writes every field once, into a buffer that grows at most once.

#![allow(clippy::inline_always, reason = "most fields are known to be left out where a frame is made")]

use super::super::error::FramingError;
use super::super::header::{FrameHeader, MAX_FRAME_BYTES};
use super::{FrameRef, key};
use prost::encoding::encoded_len_varint;

impl FrameRef<'_> {
    /// Appends header and body to `out`.
    ///
    /// # Errors
    ///
    /// [`FramingError::FrameTooLarge`] if the body is above [`MAX_FRAME_BYTES`]; `out` is then as it was.
    #[inline(always)]
    pub fn encode_framed(&self, out: &mut Vec<u8>) -> Result<(), FramingError> {
        self.encode_framed_with_payload(&[self.payload], out)
    }

    /// Encodes as [`encode_framed`](Self::encode_framed) does, with a payload in several pieces; `self.payload` is
    /// ignored.
    #[inline(always)]
    pub(crate) fn encode_framed_with_payload(
        &self,
        payload: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), FramingError> {
        let header = self.header(lengths(payload))?;
        out.reserve(header.frame_length());
        self.put(header, payload, out);
        Ok(())
    }

    /// Returns header and body in a vector of their size, with the payload as in `encode_framed_with_payload`.
    #[inline]
    pub(crate) fn framed_with_payload(&self, payload: &[&[u8]]) -> Result<Vec<u8>, FramingError> {
        let header = self.header(lengths(payload))?;
        let mut out = Vec::with_capacity(header.frame_length());
        self.put(header, payload, &mut out);
        Ok(out)
    }

    /// Appends header and body without the payload, for a caller that writes the payload from its own place.
    ///
    /// Returns the offset in `out` at which the payload belongs: the bytes before it go out before the payload, the
    /// rest after it.
    ///
    /// ```
    /// use running_process::broker::protocol::FrameRef;
    ///
    /// let frame = FrameRef::request(0xF00D, 1, b"ping");
    /// let (mut whole, mut around) = (Vec::new(), Vec::new());
    /// frame.encode_framed(&mut whole)?;
    /// let at = frame.encode_around_payload(&mut around)?;
    /// assert_eq!([&around[..at], b"ping", &around[at..]].concat(), whole);
    /// # Ok::<(), running_process::broker::protocol::FramingError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`encode_framed`](Self::encode_framed).
    pub fn encode_around_payload(&self, out: &mut Vec<u8>) -> Result<usize, FramingError> {
        let header = self.header(self.payload.len())?;
        out.reserve(header.frame_length() - self.payload.len());
        self.put_before_payload(header, self.payload.len(), out);
        let at = out.len();
        self.put_behind_payload(out);
        Ok(at)
    }

    /// Returns the header of this frame with a payload of `payload_length` bytes.
    #[inline(always)]
    fn header(&self, payload_length: usize) -> Result<FrameHeader, FramingError> {
        let body_length = varint_length(u64::from(self.envelope_version))
            + varint_length(enum_varint(self.kind))
            + varint_length(u64::from(self.payload_protocol))
            + bytes_length(payload_length)
            + varint_length(self.request_id)
            + if self.has_rare_fields() { self.rare_fields_length() } else { 0 };
        FrameHeader::for_body(body_length, MAX_FRAME_BYTES)
    }

    #[inline(always)]
    fn put(&self, header: FrameHeader, payload: &[&[u8]], out: &mut Vec<u8>) {
        self.put_before_payload(header, lengths(payload), out);
        for piece in payload {
            out.extend_from_slice(piece);
        }
        self.put_behind_payload(out);
    }

    /// Appends the header, the fields before the payload, and the payload's key and length.
    #[inline(always)]
    fn put_before_payload(&self, header: FrameHeader, payload_length: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&header.to_bytes());
        put_varint(key::ENVELOPE_VERSION, u64::from(self.envelope_version), out);
        put_varint(key::KIND, enum_varint(self.kind), out);
        put_varint(key::PAYLOAD_PROTOCOL, u64::from(self.payload_protocol), out);
        put_varint(key::PAYLOAD, payload_length as u64, out);
    }

    #[inline(always)]
    fn put_behind_payload(&self, out: &mut Vec<u8>) {
        put_varint(key::REQUEST_ID, self.request_id, out);
        if self.has_rare_fields() {
            self.put_rare_fields(out);
        }
    }

    /// Returns whether there are fields that most frames do not have: those that stand behind the request id.
    #[inline(always)]
    fn has_rare_fields(&self) -> bool {
        let own = u64::from(self.accepted_encodings) | u64::from(self.descriptors.word()) << 32;
        let texts = self.traceparent.len() | self.tracestate.len();
        enum_varint(self.payload_encoding) | self.deadline_unix_ms | texts as u64 | own != 0
    }

    #[inline(never)]
    fn rare_fields_length(&self) -> usize {
        varint_length(enum_varint(self.payload_encoding))
            + varint_length(self.deadline_unix_ms)
            + bytes_length(self.traceparent.len())
            + bytes_length(self.tracestate.len())
            + own_length(self.accepted_encodings)
            + own_length(self.descriptors.count().into())
            + own_length(self.descriptors.accepted().into())
            + own_length(self.descriptors.is_file().into())
    }

    #[inline(never)]
    fn put_rare_fields(&self, out: &mut Vec<u8>) {
        put_varint(key::PAYLOAD_ENCODING, enum_varint(self.payload_encoding), out);
        put_varint(key::DEADLINE_UNIX_MS, self.deadline_unix_ms, out);
        put_str(key::TRACEPARENT, self.traceparent, out);
        put_str(key::TRACESTATE, self.tracestate, out);
        put_own(key::ACCEPTED_ENCODINGS, self.accepted_encodings, out);
        put_own(key::DESCRIPTORS, self.descriptors.count().into(), out);
        put_own(key::ACCEPTED_DESCRIPTORS, self.descriptors.accepted().into(), out);
        put_own(key::PAYLOAD_IS_FILE, self.descriptors.is_file().into(), out);
    }
}

/// Returns the length of all pieces together.
#[inline]
fn lengths(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

/// Returns the varint of an enum value: protobuf sign-extends a negative one to 64 bits.
#[allow(clippy::cast_sign_loss, reason = "two's complement is what the wire carries")]
fn enum_varint(value: i32) -> u64 {
    i64::from(value) as u64
}

/// Returns the encoded length of a field, which is 0 for its default.
#[inline]
fn varint_length(value: u64) -> usize {
    match value {
        0 => 0,
        1..0x80 => 2,
        0x80.. => 1 + encoded_len_varint(value),
    }
}

/// Returns the encoded length of a field as [`varint_length`] does, for a key of two bytes.
#[inline]
fn own_length(value: u32) -> usize {
    if value == 0 { 0 } else { 1 + varint_length(u64::from(value)) }
}

#[inline]
fn bytes_length(length: usize) -> usize {
    varint_length(length as u64) + length
}

/// Appends key and value of a field, or key and length.
#[inline(always)]
fn put_varint(key: u8, value: u64, out: &mut Vec<u8>) {
    match value {
        0 => {}
        1..0x80 => out.extend_from_slice(&[key, low(value)]),
        0x80..0x4000 => out.extend_from_slice(&[key, low(value) | 0x80, low(value >> 7)]),
        0x4000..0x20_0000 => {
            out.extend_from_slice(&[key, low(value) | 0x80, low(value >> 7) | 0x80, low(value >> 14)]);
        }
        0x20_0000.. => put_long_varint(key, value, out),
    }
}

/// Appends a field with a key of two bytes.
#[inline(always)]
fn put_own([first, second]: [u8; 2], value: u32, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(first);
        put_varint(second, value.into(), out);
    }
}

fn put_long_varint(key: u8, mut value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[key, low(value) | 0x80]);
    value >>= 7;
    while value >= 0x80 {
        out.push(low(value) | 0x80);
        value >>= 7;
    }
    out.push(low(value));
}

#[inline]
fn put_str(key: u8, value: &str, out: &mut Vec<u8>) {
    if !value.is_empty() {
        put_varint(key, value.len() as u64, out);
        out.extend_from_slice(value.as_bytes());
    }
}

/// Returns the lowest byte.
fn low(value: u64) -> u8 {
    value.to_le_bytes()[0]
}
