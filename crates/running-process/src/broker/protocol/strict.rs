//! Checks of a frame by a strict receiver, beyond its being protobuf.

use super::encoding::Encodings;
use super::frame::{FrameRef, PROTOCOL_VERSION};
use super::generated::{FrameKind, PayloadEncoding};

/// The reason why a strict receiver refuses a well-formed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameViolation {
    /// The envelope is of another version.
    #[error("envelope version is {got}, this side speaks {PROTOCOL_VERSION}")]
    EnvelopeVersion {
        /// The version in the frame.
        got: u32,
    },
    /// The kind is none of [`FrameKind`].
    #[error("frame kind {got} is unknown")]
    Kind {
        /// The kind in the frame.
        got: i32,
    },
    /// The encoding is none of [`PayloadEncoding`].
    #[error("payload encoding {got} is unknown")]
    UnknownEncoding {
        /// The encoding in the frame.
        got: i32,
    },
    /// The encoding is known, but this side cannot decode it.
    #[error("payload encoding {encoding:?} is not supported")]
    UnsupportedEncoding {
        /// The encoding in the frame.
        encoding: PayloadEncoding,
    },
}

impl FrameViolation {
    /// Returns whether only the payload's encoding is refused.
    #[must_use]
    pub fn is_of_encoding(&self) -> bool {
        matches!(self, Self::UnknownEncoding { .. } | Self::UnsupportedEncoding { .. })
    }
}

impl FrameRef<'_> {
    /// Returns the frame's kind, if this library speaks its envelope version and its payload is not encoded.
    ///
    /// The mux hands all frames of a served protocol over, since a daemon may know more than this library. Server
    /// drivers call this first.
    ///
    /// # Errors
    ///
    /// The first of: envelope version, kind, encoding.
    pub fn check_strict(&self) -> Result<FrameKind, FrameViolation> {
        self.check_strict_accepting(Encodings::NONE)
    }

    /// Checks as [`check_strict`](Self::check_strict) does, for a receiver that decodes the encodings in `accepted`.
    ///
    /// # Errors
    ///
    /// As [`check_strict`](Self::check_strict).
    #[inline]
    pub fn check_strict_accepting(&self, accepted: Encodings) -> Result<FrameKind, FrameViolation> {
        if self.envelope_version != PROTOCOL_VERSION {
            return Err(FrameViolation::EnvelopeVersion { got: self.envelope_version });
        }
        let kind = FrameKind::try_from(self.kind).map_err(|_| FrameViolation::Kind { got: self.kind })?;
        match PayloadEncoding::try_from(self.payload_encoding) {
            Ok(PayloadEncoding::None) => Ok(kind),
            Ok(encoding) if accepted.contains(encoding) => Ok(kind),
            Ok(encoding) => Err(FrameViolation::UnsupportedEncoding { encoding }),
            Err(_) => Err(FrameViolation::UnknownEncoding { got: self.payload_encoding }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_violation_is_named_with_its_value() {
        let good = FrameRef::request(0xF00D, 1, b"x");
        let violations = [
            (FrameRef { envelope_version: 0, ..good }, "envelope version is 0, this side speaks 1"),
            (FrameRef { envelope_version: 2, ..good }, "envelope version is 2, this side speaks 1"),
            (FrameRef { kind: 4, ..good }, "frame kind 4 is unknown"),
            (FrameRef { kind: -1, ..good }, "frame kind -1 is unknown"),
            (FrameRef { payload_encoding: 9, ..good }, "payload encoding 9 is unknown"),
            (FrameRef { payload_encoding: 1, ..good }, "payload encoding Zstd is not supported"),
        ];
        for (frame, message) in violations {
            assert_eq!(frame.check_strict().unwrap_err().to_string(), message);
        }
        assert_eq!(good.check_strict(), Ok(FrameKind::Request));
        let lz4 = FrameRef { payload_encoding: 3, ..good };
        let accepting = |encoding| lz4.check_strict_accepting(Encodings::NONE.with(encoding));
        assert_eq!(accepting(PayloadEncoding::Lz4), Ok(FrameKind::Request));
        let encoding = PayloadEncoding::Lz4;
        assert_eq!(accepting(PayloadEncoding::Zstd), Err(FrameViolation::UnsupportedEncoding { encoding }));
        assert_eq!(FrameRef { kind: 3, ..good }.check_strict(), Ok(FrameKind::Cancel));
    }
}
