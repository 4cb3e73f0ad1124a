//! Frames on raw bytes, for a daemon and a client that use nothing of the library's wire.

#![allow(missing_docs, reason = "the fields and kinds of docs/wire.md")]

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

pub const HEADER_BYTES: usize = 5;
pub const MAX_BODY_BYTES: usize = 16 << 20;
pub const REQUEST: i32 = 0;
pub const RESPONSE: i32 = 1;
pub const EVENT: i32 = 2;
pub const CANCEL: i32 = 3;
/// Control, session streams, administration, probes, handoff.
const FIRST_PARTY: [u32; 5] = [0x0000, 0x5350, 0xAD01, 0xB232, 0xD0FF];

#[must_use]
pub fn is_first_party(payload_protocol: u32) -> bool {
    FIRST_PARTY.contains(&payload_protocol)
}

/// A frame as prost reads it.
#[derive(Clone, PartialEq, Message)]
pub struct Frame {
    #[prost(uint32, tag = "1")]
    pub envelope_version: u32,
    #[prost(int32, tag = "2")]
    pub kind: i32,
    #[prost(uint32, tag = "3")]
    pub payload_protocol: u32,
    #[prost(bytes = "vec", tag = "4")]
    pub payload: Vec<u8>,
    #[prost(uint64, tag = "5")]
    pub request_id: u64,
    #[prost(int32, tag = "6")]
    pub payload_encoding: i32,
    #[prost(uint64, tag = "7")]
    pub deadline_unix_ms: u64,
    #[prost(string, tag = "8")]
    pub traceparent: String,
    #[prost(string, tag = "9")]
    pub tracestate: String,
}

/// The way in which a program reads the fields of a body: the right one, and mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Right,
    /// Refuses fields that it does not know.
    UnknownFieldFatal,
    /// Skips unknown varints and bytes only.
    UnknownFixedFatal,
    /// Reads fields in ascending order only.
    FieldsInOrder,
    /// Keeps the first value of a repeated field.
    FirstValueWins,
    /// Takes what it has read until a body is damaged.
    DamageIgnored,
}

/// Reads a body; `None` if it is no frame.
#[must_use]
pub fn decode(body: &[u8], reading: Reading) -> Option<Frame> {
    let mut frame = Frame::default();
    let read = match reading {
        Reading::Right | Reading::DamageIgnored => frame.merge(body),
        _ => frame.merge(choose_fields(body, reading)?.as_slice()),
    };
    (read.is_ok() || reading == Reading::DamageIgnored).then_some(frame)
}

/// Returns the fields of a body that a reader with this mistake takes; `None` if it refuses the body.
fn choose_fields(body: &[u8], reading: Reading) -> Option<Vec<u8>> {
    let (mut rest, mut chosen, mut seen) = (body, Vec::new(), Vec::new());
    while rest.has_remaining() {
        let field = rest;
        let (tag, wire_type) = decode_key(&mut rest).ok()?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).ok()?;
        let is_unknown = !matches!(tag, 1..=9 | 1000..=1003);
        let is_fixed = matches!(wire_type, WireType::SixtyFourBit | WireType::ThirtyTwoBit);
        match reading {
            Reading::UnknownFieldFatal if is_unknown => return None,
            Reading::UnknownFixedFatal if is_unknown && is_fixed => return None,
            Reading::FieldsInOrder if seen.last().is_some_and(|last| *last > tag) => return None,
            Reading::FirstValueWins if seen.contains(&tag) => {}
            _ => chosen.extend_from_slice(&field[..field.len() - rest.len()]),
        }
        seen.push(tag);
    }
    Some(chosen)
}

/// Fields of a message, written one after the other.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// Appends a number, unless it is the default.
    #[must_use]
    pub fn number(mut self, tag: u64, value: u64) -> Self {
        if value != 0 {
            self.varint(tag << 3);
            self.varint(value);
        }
        self
    }

    /// Appends bytes or text, unless it is the default.
    #[must_use]
    pub fn bytes(mut self, tag: u64, value: &[u8]) -> Self {
        if !value.is_empty() {
            self.varint(tag << 3 | 2);
            self.varint(value.len() as u64);
            self.0.extend_from_slice(value);
        }
        self
    }

    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

/// Returns a frame with its header; `more` is appended to its fields.
///
/// # Panics
///
/// Its body is above 4 GiB.
#[must_use]
pub fn encode(frame: &Frame, more: Fields) -> Vec<u8> {
    let number = |value: i32| u64::from(value.unsigned_abs());
    let mut body = Fields::default()
        .number(1, frame.envelope_version.into())
        .number(2, number(frame.kind))
        .number(3, frame.payload_protocol.into())
        .bytes(4, &frame.payload)
        .number(5, frame.request_id)
        .number(6, number(frame.payload_encoding))
        .number(7, frame.deadline_unix_ms)
        .bytes(8, frame.traceparent.as_bytes())
        .bytes(9, frame.tracestate.as_bytes())
        .into_bytes();
    body.extend(more.into_bytes());
    let length = u32::try_from(body.len()).unwrap();
    [&[1], &length.to_le_bytes()[..], &body].concat()
}
