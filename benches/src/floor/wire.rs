//! The frame's wire, by hand: five bytes of header, then the fields of the envelope.

#![allow(clippy::inline_always, reason = "a floor leaves nothing to the optimizer's taste")]

/// The fields of a frame, borrowed from the buffer that they arrived in.
#[derive(Clone, Copy, Default)]
pub struct Frame<'a> {
    pub envelope_version: u64,
    pub kind: u64,
    pub payload_protocol: u64,
    pub payload: &'a [u8],
    pub request_id: u64,
    pub payload_encoding: u64,
    pub deadline_unix_ms: u64,
    pub traceparent: &'a str,
    pub tracestate: &'a str,
}

pub enum Poll<'a> {
    NeedMoreBytes,
    Legacy,
    /// A frame and its length in bytes.
    Frame(Frame<'a>, usize),
    Broken,
}

const HEADER: usize = 5;
const CAP: usize = 16 << 20;

/// Classifies the start of `buffer`: `is_legacy` first, then header and fields.
#[inline(always)]
pub fn poll(buffer: &[u8], is_legacy: impl Fn(&[u8]) -> bool) -> Poll<'_> {
    if is_legacy(buffer) {
        return Poll::Legacy;
    }
    let [version, a, b, c, d, rest @ ..] = buffer else { return Poll::NeedMoreBytes };
    let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    if *version != 1 || length > CAP {
        return Poll::Broken;
    }
    let Some(body) = rest.get(..length) else { return Poll::NeedMoreBytes };
    match fields(body) {
        Some(frame) => Poll::Frame(frame, HEADER + length),
        None => Poll::Broken,
    }
}

#[inline(always)]
fn fields(mut body: &[u8]) -> Option<Frame<'_>> {
    let mut frame = Frame::default();
    while let Some((key, rest)) = body.split_first() {
        body = rest;
        match key {
            0x08 => frame.envelope_version = varint(&mut body)?,
            0x10 => frame.kind = varint(&mut body)?,
            0x18 => frame.payload_protocol = varint(&mut body)?,
            0x22 => frame.payload = bytes(&mut body)?,
            0x28 => frame.request_id = varint(&mut body)?,
            0x30 => frame.payload_encoding = varint(&mut body)?,
            0x38 => frame.deadline_unix_ms = varint(&mut body)?,
            0x42 => frame.traceparent = std::str::from_utf8(bytes(&mut body)?).ok()?,
            0x4a => frame.tracestate = std::str::from_utf8(bytes(&mut body)?).ok()?,
            _ => return None,
        }
    }
    Some(frame)
}

#[inline(always)]
fn bytes<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint(body)? as usize;
    let (bytes, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some(bytes)
}

#[inline(always)]
fn varint(body: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = body.split_first()?;
        *body = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The most that [`encode`] writes around a payload, in bytes.
pub const AROUND: usize = 40;

/// Writes a frame without deadline, encoding or trace context to the start of `out` and returns its length.
#[inline(always)]
pub fn encode(out: &mut [u8], kind: u8, payload_protocol: u32, request_id: u64, payload: &[u8]) -> usize {
    out[0] = 1;
    out[HEADER..HEADER + 4].copy_from_slice(&[0x08, 1, 0x10, kind]);
    // A request's kind is left out.
    let mut end = HEADER + if kind == 0 { 2 } else { 4 };
    end = field(out, end, 0x18, u64::from(payload_protocol));
    end = field(out, end, 0x22, payload.len() as u64);
    out[end..end + payload.len()].copy_from_slice(payload);
    end += payload.len();
    if request_id != 0 {
        end = field(out, end, 0x28, request_id);
    }
    out[1..HEADER].copy_from_slice(&((end - HEADER) as u32).to_le_bytes());
    end
}

#[inline(always)]
fn field(out: &mut [u8], begin: usize, key: u8, mut value: u64) -> usize {
    out[begin] = key;
    let mut end = begin + 1;
    while value >= 0x80 {
        out[end] = value as u8 | 0x80;
        value >>= 7;
        end += 1;
    }
    out[end] = value as u8;
    end + 1
}
