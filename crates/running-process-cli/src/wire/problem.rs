//! Problems of captured bytes and their texts: the bytes found, the bytes expected, and help.

use super::value::{counted, grouped};
use super::wire_type::WireType;
use running_process::broker::backend_lifecycle::identity::IdentityError;
use running_process::broker::backend_lifecycle::probe::{EndpointProbeServerError, PROBE_NONCE_BYTES};
use running_process::broker::protocol::{
    ENVELOPE_VERSION, FRAME_HEADER_BYTES, FrameViolation, FramingError, MAX_FRAME_BYTES,
};
use std::error::Error;
use std::fmt;
use std::ops::Range;

/// An objection of a receiver to some bytes.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    /// Offsets of the bytes in the frame. Empty where bytes are missing; they belong at its start.
    pub(crate) at: Range<usize>,
    pub(crate) reason: Reason,
}

/// The receiver that objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// The decoder, which finds no frame.
    Error,
    /// A strict receiver, which does not serve this frame.
    Warning,
}

/// The reason of an objection. Its `Display` names the bytes found.
#[derive(Debug)]
pub(crate) enum Reason {
    NotAFrame { got: u8, guess: Guess },
    HeaderUnfinished { there: usize },
    TooLarge { body_length: usize, is_big_endian: bool },
    BodyUnfinished { there: usize, announced: usize },
    VarintTooLong { byte: u8 },
    VarintUnfinished { length: usize, message: &'static str },
    KeyTooLarge { key: u64 },
    UnknownWireType { got: u32 },
    TagZero,
    WrongWireType { field: &'static str, expected: WireType, got: WireType },
    NotUtf8 { field: &'static str, byte: u8 },
    PastTheEnd { announced: u64, left: usize, message: &'static str },
    EndOfGroup { tag: u32, open: Option<u32> },
    GroupUnfinished { tag: u32, message: &'static str },
    GroupsTooDeep { limit: usize },
    Undecodable(FramingError),
    Violation { violation: FrameViolation, is_absent: bool },
    MalformedProbe(EndpointProbeServerError),
    NoNonce { length: usize },
    Identity(IdentityError),
}

/// A guess about bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess {
    /// Another framing, from the first byte on.
    LegacyWire,
    /// Another framing, or a wrong length in the frame before.
    AfterFrames,
    /// A frame in hex digits.
    HexText,
    /// A frame's body without its header.
    BareBody,
}

impl Reason {
    /// Returns the name in JSON.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotAFrame { .. } => "not_a_frame",
            Self::HeaderUnfinished { .. } => "header_unfinished",
            Self::TooLarge { .. } => "frame_too_large",
            Self::BodyUnfinished { .. } => "body_unfinished",
            Self::VarintTooLong { .. } => "varint_too_long",
            Self::VarintUnfinished { .. } => "varint_unfinished",
            Self::KeyTooLarge { .. } => "key_too_large",
            Self::UnknownWireType { .. } => "unknown_wire_type",
            Self::TagZero => "tag_zero",
            Self::WrongWireType { .. } => "wrong_wire_type",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::PastTheEnd { .. } => "past_the_end",
            Self::EndOfGroup { .. } => "end_of_group",
            Self::GroupUnfinished { .. } => "group_unfinished",
            Self::GroupsTooDeep { .. } => "groups_too_deep",
            Self::Undecodable(_) => "undecodable",
            Self::Violation { violation: FrameViolation::EnvelopeVersion { .. }, .. } => "envelope_version",
            Self::Violation { violation: FrameViolation::Kind { .. }, .. } => "unknown_kind",
            Self::Violation { violation: FrameViolation::UnknownEncoding { .. }, .. } => "unknown_encoding",
            Self::Violation { violation: FrameViolation::UnsupportedEncoding { .. }, .. } => {
                "unsupported_encoding"
            }
            Self::Violation { .. } => "violation",
            Self::MalformedProbe(_) => "malformed_probe",
            Self::NoNonce { .. } => "probe_response_without_nonce",
            Self::Identity(_) => "malformed_identity",
        }
    }

    /// Returns whether the bytes are no protobuf, or no message of the right schema.
    pub(super) fn is_protobuf(&self) -> bool {
        let is_of_receivers = matches!(
            self,
            Self::Violation { .. } | Self::MalformedProbe(_) | Self::NoNonce { .. } | Self::Identity(_)
        );
        !is_of_receivers
    }

    /// Returns the expected bytes, unless the `Display` names them.
    pub(crate) fn expected(&self) -> Option<String> {
        Some(match self {
            Self::NotAFrame { .. } => format!("0x{ENVELOPE_VERSION:02x}, the framing byte"),
            Self::HeaderUnfinished { .. } => {
                format!("{FRAME_HEADER_BYTES} bytes: the framing byte and the body's length")
            }
            Self::TooLarge { .. } => format!("at most {} bytes (16 MiB)", grouped(MAX_FRAME_BYTES)),
            Self::VarintTooLong { .. } => "0x00 or 0x01: a varint has 64 bits, seven in each byte".to_owned(),
            Self::VarintUnfinished { length: 0, .. } => "a varint".to_owned(),
            Self::VarintUnfinished { .. } => "a last byte below 0x80".to_owned(),
            Self::KeyTooLarge { .. } => "a key of 32 bits: the tag and three bits of wire type".to_owned(),
            Self::UnknownWireType { .. } => {
                "0 varint, 1 i64, 2 len, 3 group, 4 end of group or 5 i32".to_owned()
            }
            Self::TagZero => "a tag of 1 or more".to_owned(),
            Self::NotUtf8 { .. } => "UTF-8".to_owned(),
            Self::EndOfGroup { open: Some(open), .. } => format!("the end of group {open}"),
            Self::EndOfGroup { open: None, .. } => "a field".to_owned(),
            Self::NoNonce { .. } => {
                format!("the {PROBE_NONCE_BYTES} bytes of the request's nonce, then the identity")
            }
            _ => return None,
        })
    }

    /// Returns the help for the user.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::NotAFrame { guess: Guess::LegacyWire, .. } => {
                "this may be the daemon's legacy wire: only frames are explained here"
            }
            Self::NotAFrame { guess: Guess::AfterFrames, .. } => {
                "the body length before this is wrong, or the stream continues in another wire"
            }
            Self::NotAFrame { guess: Guess::HexText, .. } => {
                "this is hex text: convert it to bytes first, for example with `xxd -r -p`"
            }
            Self::NotAFrame { guess: Guess::BareBody, .. } => {
                "this decodes as a frame body: put 01 and its length, four bytes little-endian, before it"
            }
            Self::HeaderUnfinished { .. } | Self::BodyUnfinished { .. } => {
                "capture longer, or look for a sender that closes inside a frame"
            }
            Self::TooLarge { is_big_endian: true, .. } => {
                "the length fits the following bytes if it is read big-endian: the wire is little-endian"
            }
            Self::TooLarge { .. } => {
                "this is no frame's length: if a legacy message begins with 0x01, the daemon's detector must claim it"
            }
            Self::VarintTooLong { .. }
            | Self::VarintUnfinished { .. }
            | Self::KeyTooLarge { .. }
            | Self::UnknownWireType { .. }
            | Self::TagZero => "the bytes from here on are no protobuf: check the field before this byte",
            Self::WrongWireType { .. } => "the sender's schema gives this tag to another field",
            Self::NotUtf8 { .. } => "protobuf strings are UTF-8: the sender must convert or escape its text",
            Self::PastTheEnd { .. } => "the length is wrong, or bytes after it were lost",
            Self::EndOfGroup { .. } | Self::GroupUnfinished { .. } => {
                "no field of this wire is a group: check the field before it"
            }
            Self::GroupsTooDeep { .. } => {
                "no field of this wire is a group: this message was built to exhaust a decoder"
            }
            Self::Undecodable(_) => {
                "the text is the decoder's: this command finds nothing wrong in the bytes"
            }
            Self::Violation { is_absent: true, .. } => {
                "the field is absent and reads as 0: the sender must write it"
            }
            Self::Violation { violation: FrameViolation::UnsupportedEncoding { .. }, .. } => {
                "a strict server refuses it: send the payload without an encoding (0 NONE)"
            }
            Self::Violation { .. } => "a strict server refuses it: compare the sender's version of the wire",
            Self::MalformedProbe(_) => {
                "a daemon closes the connection here: a probe is a request with a 32-byte nonce"
            }
            Self::NoNonce { .. } | Self::Identity(_) => {
                "a client refuses this response: the daemon is not verified"
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFrame { got, .. } => write!(formatter, "not a frame: the first byte is 0x{got:02x}"),
            Self::HeaderUnfinished { there } => {
                let missing = bytes_are(FRAME_HEADER_BYTES - there);
                write!(formatter, "the capture ends inside the frame's header: {missing} missing")
            }
            Self::TooLarge { body_length, .. } => {
                write!(formatter, "the body length is {} bytes", grouped(*body_length))
            }
            Self::BodyUnfinished { there, announced } => {
                let missing = bytes_are(announced - there);
                let announced = grouped(*announced);
                write!(
                    formatter,
                    "the capture ends inside the frame's body: {missing} missing of {announced}"
                )
            }
            Self::VarintTooLong { byte } => write!(formatter, "the tenth byte of a varint is 0x{byte:02x}"),
            Self::VarintUnfinished { message, .. } => write!(formatter, "the {message} ends inside a varint"),
            Self::KeyTooLarge { key } => write!(formatter, "the field's key is 0x{key:x}"),
            Self::UnknownWireType { got } => write!(formatter, "wire type {got} does not exist"),
            Self::TagZero => formatter.write_str("the field's tag is 0"),
            Self::WrongWireType { field, expected, got } => {
                write!(formatter, "{field} has wire type {got}, expected {expected}")
            }
            Self::NotUtf8 { field, byte } => write!(formatter, "{field} is not UTF-8: byte 0x{byte:02x}"),
            Self::PastTheEnd { announced, left, message } => {
                let (announced, left) = (bytes(*announced), bytes_are(*left));
                write!(formatter, "the field takes {announced}, {left} left in the {message}")
            }
            Self::EndOfGroup { tag, .. } => write!(formatter, "end of group {tag}, which is not open"),
            Self::GroupUnfinished { tag, message } => {
                write!(formatter, "the {message} ends inside group {tag}")
            }
            Self::GroupsTooDeep { limit } => write!(formatter, "groups nest deeper than {limit}"),
            Self::Undecodable(error) => with_cause(formatter, error),
            Self::Violation { violation, .. } => write!(formatter, "{violation}"),
            Self::MalformedProbe(error) => with_cause(formatter, error),
            Self::NoNonce { length } => {
                write!(formatter, "the payload of the probe response is {}", bytes(*length as u64))
            }
            Self::Identity(error) => with_cause(formatter, error),
        }
    }
}

/// Writes the error and its cause on one line.
fn with_cause(formatter: &mut fmt::Formatter<'_>, error: &dyn Error) -> fmt::Result {
    write!(formatter, "{error}")?;
    match error.source() {
        Some(cause) => write!(formatter, ": {cause}"),
        None => Ok(()),
    }
}

fn bytes(count: u64) -> String {
    counted(count, "byte")
}

fn bytes_are(count: usize) -> String {
    format!("{} {}", bytes(count as u64), if count == 1 { "is" } else { "are" })
}
