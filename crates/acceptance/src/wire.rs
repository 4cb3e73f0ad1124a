//! The test daemon's legacy wire: `[u32 length][u32 version][body]`, little-endian, answered in upper case.
//!
//! It is as ambiguous as possible. A message of 1, 257, 513, ... bytes starts with the framing byte, and the version is
//! chosen so that seven of the eight header bytes may also be the start of a frame:
//!
//! ```text
//! legacy   01 .. .. 00   00 08 01 07      length 1, 257, ...    version 0x07010800
//! frame    01 .. .. ..   00 08 01 18      framing byte, body length, envelope_version = 1, payload_protocol = ...
//! ```

use running_process::broker::backend_sdk::LegacyClassification;
use running_process::broker::protocol::ENVELOPE_VERSION;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Length of a header, in bytes.
pub const HEADER_BYTES: usize = 8;
/// The version in every header.
pub const VERSION: [u8; 4] = [0x00, 0x08, 0x01, 0x07];

running_process::register_payload_protocol! {
    /// The protocol of the framed lane, answered in upper case, too.
    pub const SHOUT: u32 = 0xF00D;
    /// The protocol of requests that have a number, each of which the daemon records: [`Work`].
    pub const LEDGER: u32 = 0xF0DE;
}

/// A request that has a number and takes a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The number, which no other request of the test has.
    pub number: u64,
    /// The time that it takes.
    pub time: Duration,
}

impl Work {
    /// Returns the payload of the request.
    #[must_use]
    pub fn payload(self) -> Vec<u8> {
        format!("{} {}", self.number, self.time.as_millis()).into_bytes()
    }

    /// Returns the request with this payload.
    ///
    /// # Panics
    ///
    /// It is no payload of [`payload`](Self::payload).
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        let (number, millis) = str::from_utf8(payload).unwrap().split_once(' ').unwrap();
        Self { number: number.parse().unwrap(), time: Duration::from_millis(millis.parse().unwrap()) }
    }
}

/// Returns header and body of a message.
#[must_use]
pub fn message(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..], &VERSION, body].concat()
}

/// Classifies a buffer: it is legacy unless its first byte is the framing byte and the version is not at its place.
#[must_use]
pub fn detect(buffer: &[u8]) -> LegacyClassification {
    let Some(first) = buffer.first() else { return LegacyClassification::NeedMoreBytes };
    let version = buffer.get(4..).unwrap_or_default();
    let version = &version[..version.len().min(VERSION.len())];
    if *first != ENVELOPE_VERSION || version == VERSION {
        LegacyClassification::Legacy
    } else if VERSION.starts_with(version) {
        LegacyClassification::NeedMoreBytes
    } else {
        LegacyClassification::NotLegacy
    }
}

/// Reads one message's body; `None` at the end of the stream between two messages.
///
/// # Errors
///
/// The stream fails, ends inside a message, or carries another version.
pub fn read_message(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; HEADER_BYTES];
    if stream.read(&mut header[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..])?;
    let [a, b, c, d, version @ ..] = header;
    if version != VERSION {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("header {header:02x?}")));
    }
    let mut body = Vec::new();
    stream.take(u32::from_le_bytes([a, b, c, d]).into()).read_to_end(&mut body)?;
    if body.len() < u32::from_le_bytes([a, b, c, d]) as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(body))
}

/// Answers messages until the stream ends.
///
/// # Errors
///
/// The peer broke the rules or is gone.
pub fn serve(mut stream: impl Read + Write) -> io::Result<()> {
    while let Some(body) = read_message(&mut stream)? {
        stream.write_all(&message(&body.to_ascii_uppercase()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_bytes_of_a_header_or_of_a_frame_do_not_tell_and_the_eighth_does() {
        let legacy = message(&[0; 513]);
        let frame = [1, 2, 0, 0, 0, 8, 1, 0x18];
        assert_eq!(legacy[..7], [1, 2, 0, 0, 0, 8, 1]);
        for length in 0..HEADER_BYTES {
            assert_eq!(detect(&legacy[..length]), LegacyClassification::NeedMoreBytes, "{length}");
            assert_eq!(detect(&frame[..length]), LegacyClassification::NeedMoreBytes, "{length}");
        }
        assert_eq!(detect(&legacy[..8]), LegacyClassification::Legacy);
        assert_eq!(detect(&frame), LegacyClassification::NotLegacy);
    }
}
