//! The five bytes before every frame body: `[u8 framing_version][u32 little-endian body_length]`.
//!
//! No other module knows their layout.

use super::error::FramingError;

/// The framing byte: the first byte of every frame header.
pub const ENVELOPE_VERSION: u8 = 1;
/// Length of a frame header in bytes: the framing byte and the body length.
pub const FRAME_HEADER_BYTES: usize = 5;
/// Largest frame body, in bytes.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Largest body of a Hello frame, in bytes.
pub const MAX_HELLO_BYTES: usize = 64 * 1024;

/// A header whose version and length have been checked: `body_length <= cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    body_length: usize,
}

impl FrameHeader {
    /// Parses the header at the start of `bytes`; returns `None` while it is incomplete.
    ///
    /// A wrong first byte is an error at once, a length above `cap` as soon as the header is complete.
    #[inline]
    pub(crate) fn parse(bytes: &[u8], cap: usize) -> Result<Option<Self>, FramingError> {
        match *bytes {
            [ENVELOPE_VERSION, a, b, c, d, ..] => {
                let body_length = u32::from_le_bytes([a, b, c, d]) as usize;
                if body_length > cap {
                    return Err(FramingError::FrameTooLarge { body_length, cap });
                }
                Ok(Some(Self { body_length }))
            }
            [] | [ENVELOPE_VERSION, ..] => Ok(None),
            [got, ..] => Err(FramingError::UnsupportedFramingVersion { got, expected: ENVELOPE_VERSION }),
        }
    }

    /// Returns the header of a body of `body_length` bytes.
    pub(crate) fn for_body(body_length: usize, cap: usize) -> Result<Self, FramingError> {
        if body_length > cap || u32::try_from(body_length).is_err() {
            return Err(FramingError::FrameTooLarge { body_length, cap });
        }
        Ok(Self { body_length })
    }

    #[allow(clippy::cast_possible_truncation, reason = "both constructors bound the length by u32::MAX")]
    pub(crate) fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let [a, b, c, d] = (self.body_length as u32).to_le_bytes();
        [ENVELOPE_VERSION, a, b, c, d]
    }

    pub(crate) fn body_length(self) -> usize {
        self.body_length
    }

    /// Returns the length of header and body together, in bytes.
    pub(crate) fn frame_length(self) -> usize {
        FRAME_HEADER_BYTES + self.body_length
    }
}

/// Returns the body of the frame at the start of `bytes`, or `None` while it is incomplete. The cost does not depend on
/// the length.
#[inline]
pub(crate) fn complete_body(bytes: &[u8], cap: usize) -> Result<Option<&[u8]>, FramingError> {
    Ok(FrameHeader::parse(bytes, cap)?
        .and_then(|header| bytes.get(FRAME_HEADER_BYTES..header.frame_length())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip() {
        for length in [0, 1, 255, 256, 65_536, MAX_FRAME_BYTES] {
            let header = FrameHeader::for_body(length, usize::MAX).unwrap();
            let parsed = FrameHeader::parse(&header.to_bytes(), usize::MAX).unwrap();
            assert_eq!(parsed, Some(header));
            assert_eq!(header.body_length(), length);
        }
    }

    #[test]
    fn too_few_bytes_are_neither_right_nor_wrong() {
        for length in 0..FRAME_HEADER_BYTES {
            let bytes = [1, 0xff, 0xff, 0xff, 0xff];
            assert!(matches!(FrameHeader::parse(&bytes[..length], 16), Ok(None)), "{length} bytes");
        }
    }

    #[test]
    fn the_cap_is_the_largest_body_that_passes() {
        assert!(FrameHeader::parse(&[1, 16, 0, 0, 0], 16).unwrap().is_some());
        let error = FrameHeader::parse(&[1, 17, 0, 0, 0], 16).unwrap_err();
        assert_eq!(error.to_string(), "frame body is 17 bytes, the cap is 16");
    }

    #[test]
    fn a_foreign_first_byte_is_told_before_the_rest_arrives() {
        let error = FrameHeader::parse(b"*", 16).unwrap_err();
        assert_eq!(error.to_string(), "framing version is 42, this side speaks 1");
    }
}
