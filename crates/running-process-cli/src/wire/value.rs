//! Typed values of spans, as text and as JSON.

use running_process::broker::protocol::registry::{self, REGISTERED_CONSUMER_IDS};
use running_process::broker::protocol::{FrameKind, PayloadEncoding};
use serde::ser::{Serialize, SerializeStruct, Serializer};
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// Number of characters of a text in a preview, unless the format has a precision.
const PREVIEW_CHARS: usize = 64;
/// Number of bytes of a preview in hex.
const PREVIEW_BYTES: usize = 8;
/// The last millisecond of the year 9999, the last that RFC 3339 can express.
const LAST_UNIX_MS: u64 = 253_402_300_799_999;

/// The value of a span.
///
/// `Display` writes a preview on one line that is safe for a terminal; `{:.20}` cuts texts after 20 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// No value: deeper spans follow, or the bytes have no meaning.
    Nothing,
    Number(u64),
    Seconds(u64),
    /// Milliseconds since the Unix epoch.
    Time(u64),
    /// A protobuf enumeration.
    Enumeration {
        number: i32,
        name: Option<&'static str>,
    },
    /// A payload protocol's id.
    Protocol(u32),
    Text(&'a str),
    /// Bytes, shown as text if they are printable UTF-8.
    Bytes(&'a [u8]),
    /// Bytes that are no text: a digest, a nonce.
    Hex(&'a [u8]),
}

impl Value<'_> {
    pub(super) fn frame_kind(number: i32) -> Self {
        let name = FrameKind::try_from(number).ok().map(|kind| short(kind.as_str_name(), "FRAME_KIND_"));
        Value::Enumeration { number, name }
    }

    pub(super) fn payload_encoding(number: i32) -> Self {
        let encoding = PayloadEncoding::try_from(number).ok();
        let name = encoding.map(|encoding| short(encoding.as_str_name(), "PAYLOAD_ENCODING_"));
        Value::Enumeration { number, name }
    }
}

fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// Returns the registry's name for `id`.
pub(super) fn protocol_name(id: u32) -> &'static str {
    match id {
        registry::CONTROL_PAYLOAD_PROTOCOL => "control",
        registry::ADMIN_PAYLOAD_PROTOCOL => "admin",
        registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL => "identity probe",
        registry::HANDOFF_PAYLOAD_PROTOCOL => "connection handoff",
        registry::SESSION_PAYLOAD_PROTOCOL => "session stream",
        id if registry::is_private_use_id(id) => "private use",
        id if registry::is_registered_consumer_id(id) => {
            registry::registered_consumer(id).unwrap_or("registered range, no known owner")
        }
        id if id < *REGISTERED_CONSUMER_IDS.start() => "reserved for first-party use",
        id if id <= *registry::PRIVATE_USE_IDS.end() => "reserved",
        _ => "outside the registry",
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => Ok(()),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Seconds(seconds) => write!(formatter, "{seconds} s"),
            Self::Time(unix_ms) => match utc(unix_ms) {
                Some(utc) => write!(formatter, "{utc}, {unix_ms} ms"),
                None => write!(formatter, "{unix_ms} ms, after the year 9999"),
            },
            Self::Enumeration { number, name: Some(name) } => write!(formatter, "{number} {name}"),
            Self::Enumeration { number, name: None } => write!(formatter, "{number}, unknown"),
            Self::Protocol(id) => write!(formatter, "0x{id:04X} {}", protocol_name(id)),
            Self::Text(text) => write_text(formatter, text),
            Self::Bytes(bytes) => match printable(bytes) {
                Some(text) => write_text(formatter, text),
                None => write_hex(formatter, bytes),
            },
            Self::Hex(bytes) => write_hex(formatter, bytes),
        }
    }
}

fn write_text(formatter: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let limit = formatter.precision().unwrap_or(PREVIEW_CHARS);
    match text.char_indices().nth(limit) {
        Some((end, _)) => write!(formatter, "{:?}…", &text[..end]),
        None => write!(formatter, "{text:?}"),
    }
}

fn write_hex(formatter: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let shown = &bytes[..bytes.len().min(PREVIEW_BYTES)];
    for byte in shown {
        write!(formatter, "{byte:02x}")?;
    }
    formatter.write_str(if shown.len() < bytes.len() { "…" } else { "" })
}

/// Returns `bytes` as text if they are printable UTF-8.
pub(super) fn printable(bytes: &[u8]) -> Option<&str> {
    let is_readable = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
    std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_readable))
}

/// Formats a time as RFC 3339 in UTC; returns `None` if the year has more than four digits.
fn utc(unix_ms: u64) -> Option<String> {
    let instant = (unix_ms <= LAST_UNIX_MS).then(|| UNIX_EPOCH + Duration::from_millis(unix_ms));
    instant.map(|instant| humantime::format_rfc3339_millis(instant).to_string())
}

/// Formats a number with its noun; `noun` is the singular.
pub(crate) fn counted(number: impl fmt::Display, noun: &str) -> String {
    let number = grouped(number);
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Formats a number with commas between thousands.
pub(crate) fn grouped(number: impl fmt::Display) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Nothing => serializer.serialize_none(),
            Self::Number(number) | Self::Seconds(number) => serializer.serialize_u64(number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Time(unix_ms) => {
                let mut value = serializer.serialize_struct("Time", 2)?;
                value.serialize_field("unix_ms", &unix_ms)?;
                value.serialize_field("utc", &utc(unix_ms))?;
                value.end()
            }
            Self::Enumeration { number, name } => {
                let mut value = serializer.serialize_struct("Enumeration", 2)?;
                value.serialize_field("number", &number)?;
                value.serialize_field("name", &name)?;
                value.end()
            }
            Self::Protocol(id) => {
                let mut value = serializer.serialize_struct("Protocol", 3)?;
                value.serialize_field("id", &id)?;
                value.serialize_field("hex", &format!("0x{id:04X}"))?;
                value.serialize_field("name", protocol_name(id))?;
                value.end()
            }
            Self::Bytes(bytes) | Self::Hex(bytes) => {
                let text = if matches!(self, Self::Bytes(_)) { printable(bytes) } else { None };
                let mut value = serializer.serialize_struct("Bytes", 2)?;
                match text {
                    Some(text) => value.serialize_field("text", text)?,
                    None => value.serialize_field("hex", &HexDigits(bytes))?,
                }
                value.serialize_field("length", &bytes.len())?;
                value.end()
            }
        }
    }
}

/// Bytes as hex digits. They are formatted while they are serialized, since the text of 16 MiB would take 32 MiB.
struct HexDigits<'a>(&'a [u8]);

impl Serialize for HexDigits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        serializer.collect_str(&fmt::from_fn(|formatter| {
            self.0.chunks(512).try_for_each(|bytes| {
                let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                formatter.write_str(
                    &digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect::<String>(),
                )
            })
        }))
    }
}
