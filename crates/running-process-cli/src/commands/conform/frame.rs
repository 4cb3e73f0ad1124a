//! Frames, written and read here without the library's codec.

use super::fault::{Fault, check};
use super::protobuf::{Field, FieldValue, bytes, fields, varint};
use crate::text::safe;
use std::fmt;

/// The header's size, and the longest body.
pub(super) const HEADER: usize = 5;
pub(super) const MAX_BODY: usize = 16 << 20;

/// Payload protocols.
pub(super) const CONTROL: u64 = 0;
pub(super) const PROBE: u64 = 0xB232;

/// Kinds of frames.
pub(super) const REQUEST: u64 = 0;
pub(super) const RESPONSE: u64 = 1;
pub(super) const EVENT: u64 = 2;
pub(super) const CANCEL: u64 = 3;

/// Most bytes of a payload that a message to people has.
const SHOWN: usize = 24;

/// A frame as its fields, which may have any value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RawFrame {
    pub(super) version: u64,
    pub(super) kind: u64,
    pub(super) protocol: u64,
    pub(super) payload: Vec<u8>,
    pub(super) id: u64,
    pub(super) encoding: u64,
    pub(super) deadline: u64,
    pub(super) traceparent: Vec<u8>,
    pub(super) tracestate: Vec<u8>,
    /// Fields with other tags, in their order.
    pub(super) others: Vec<Field>,
}

impl RawFrame {
    pub(super) fn request(protocol: u64, id: u64, payload: impl Into<Vec<u8>>) -> Self {
        Self { version: 1, protocol, id, payload: payload.into(), ..Self::default() }
    }

    pub(super) fn probe(id: u64, nonce: &[u8]) -> Self {
        Self::request(PROBE, id, nonce)
    }

    pub(super) fn cancel(protocol: u64, id: u64) -> Self {
        Self { kind: CANCEL, ..Self::request(protocol, id, []) }
    }

    pub(super) fn response(protocol: u64, id: u64, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind: RESPONSE, ..Self::request(protocol, id, payload) }
    }

    /// Returns the body: fields in ascending order, without defaults.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.payload.len() + 64);
        let numbers = |tag, value| if value == 0 { Vec::new() } else { varint(tag, value) };
        let texts = |tag, value: &[u8]| if value.is_empty() { Vec::new() } else { bytes(tag, value) };
        body.extend(numbers(1, self.version));
        body.extend(numbers(2, self.kind));
        body.extend(numbers(3, self.protocol));
        body.extend(texts(4, &self.payload));
        body.extend(numbers(5, self.id));
        body.extend(numbers(6, self.encoding));
        body.extend(numbers(7, self.deadline));
        body.extend(texts(8, &self.traceparent));
        body.extend(texts(9, &self.tracestate));
        for Field { tag, value } in &self.others {
            match value {
                FieldValue::Varint(value) => body.extend(varint(*tag, *value)),
                FieldValue::Bytes(value) => body.extend(bytes(*tag, value)),
                FieldValue::Fixed64(_) | FieldValue::Fixed32(_) => {
                    unreachable!("no case sends a fixed number as a field of a frame")
                }
            }
        }
        body
    }

    /// Returns header and body.
    pub(super) fn bytes(&self) -> Vec<u8> {
        framed(&self.body())
    }

    /// Reads a body, or says why it is no frame.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let mut frame = Self::default();
        for field in fields(body)? {
            let tag = field.tag;
            let number = || {
                let number = field.value.number();
                number.ok_or_else(|| format!("the field with the tag {tag} is no varint"))
            };
            let content = || {
                let content = field.value.bytes().map(<[u8]>::to_vec);
                content.ok_or_else(|| format!("the field with the tag {tag} is not length-delimited"))
            };
            match tag {
                1 => frame.version = number()?,
                2 => frame.kind = number()?,
                3 => frame.protocol = number()?,
                4 => frame.payload = content()?,
                5 => frame.id = number()?,
                6 => frame.encoding = number()?,
                7 => frame.deadline = number()?,
                8 => frame.traceparent = content()?,
                9 => frame.tracestate = content()?,
                _ => frame.others.push(field),
            }
        }
        Ok(frame)
    }

    /// Checks that there are no fields of ours, which a client gets only if it sent some.
    pub(super) fn has_no_tags_of_ours(&self) -> Result<(), Fault> {
        let ours = self.others.iter().find(|field| field.tag >= 1000);
        check(ours.is_none(), "no field with a tag from 1000 on", || {
            format!("one with the tag {}", ours.map_or(0, |field| field.tag))
        })
    }

    /// Returns reason and message, if this is a refusal.
    pub(super) fn refusal(&self) -> Option<(u64, String)> {
        if (self.kind, self.protocol) != (RESPONSE, CONTROL) {
            return None;
        }
        let (mut reason, mut message) = (0, String::new());
        for field in fields(&self.payload).ok()? {
            match field.tag {
                1000 => reason = field.value.number()?,
                1001 => message = String::from_utf8(field.value.bytes()?.to_vec()).ok()?,
                _ => {}
            }
        }
        Some((reason, message))
    }
}

/// Names the frame in a sentence.
impl fmt::Display for RawFrame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((reason, message)) = self.refusal() {
            return write!(
                formatter,
                "a refusal of request {} with the reason {reason}, \"{}\"",
                self.id,
                safe(message)
            );
        }
        let kind = match self.kind {
            REQUEST => "a request".to_owned(),
            RESPONSE => "a response".to_owned(),
            EVENT => "an event".to_owned(),
            CANCEL => "a cancel".to_owned(),
            kind => format!("a frame of kind {kind}"),
        };
        write!(formatter, "{kind} under 0x{:04X} with the id {}", self.protocol, self.id)?;
        if self.version != 1 {
            write!(formatter, ", envelope version {}", self.version)?;
        }
        if self.encoding != 0 {
            write!(formatter, ", encoding {}", self.encoding)?;
        }
        let shown = &self.payload[..self.payload.len().min(SHOWN)];
        let more = if shown.len() < self.payload.len() { "..." } else { "" };
        write!(formatter, " and {} bytes, b\"{}{more}\"", self.payload.len(), shown.escape_ascii())
    }
}

/// Returns a body behind its header.
pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = header(body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// Returns the header of a body of so many bytes.
pub(super) fn header(length: usize) -> Vec<u8> {
    let mut header = vec![1];
    header.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use running_process::broker::protocol::{Frame, encode_framed, try_decode_framed};

    #[test]
    fn the_examples_of_the_documentation_are_what_is_sent() {
        let request = b"\x01\x0e\0\0\0\x08\x01\x18\xe3\xf4\x01\x22\x04ping\x28\x01";
        assert_eq!(RawFrame::request(0x7A63, 1, *b"ping").bytes(), request);
        let cancel = b"\x01\x0a\0\0\0\x08\x01\x10\x03\x18\xe3\xf4\x01\x28\x01";
        assert_eq!(RawFrame::cancel(0x7A63, 1).bytes(), cancel);
        let probe = [b"\x01\x2a\0\0\0\x08\x01\x18\xb2\xe4\x02\x22\x20", &[7; 32][..], b"\x28\x01"].concat();
        assert_eq!(RawFrame::probe(1, &[7; 32]).bytes(), probe);
        let refusal = RawFrame::read(b"\x08\x01\x10\x01\x22\x03\xc0\x3e\x01\x28\x01").unwrap();
        assert_eq!((refusal.id, refusal.refusal()), (1, Some((1, String::new()))));
    }

    #[test]
    fn frames_are_those_of_the_library() {
        let frame = Frame {
            deadline_unix_ms: u64::MAX,
            traceparent: "t".into(),
            tracestate: "s".into(),
            payload_encoding: 3,
            kind: 1,
            ..Frame::request(0xF0C0, vec![b'x'; 300]).with_request_id(1 << 40)
        };
        let bytes = encode_framed(&frame).unwrap();
        let raw = RawFrame::read(&bytes[HEADER..]).unwrap();
        assert_eq!(raw.bytes(), bytes);
        let decoded = try_decode_framed(&raw.bytes()).unwrap().unwrap();
        assert_eq!(decoded.frame, frame);
    }
}
