use std::io;

/// The reason why bytes are not a frame, or could not be read or written as one.
#[derive(Debug, thiserror::Error)]
pub enum FramingError {
    /// The first byte is not the framing version that this library speaks.
    #[error("framing version is {got}, this side speaks {expected}")]
    UnsupportedFramingVersion {
        /// The byte that was found.
        got: u8,
        /// The expected byte, [`ENVELOPE_VERSION`](super::ENVELOPE_VERSION).
        expected: u8,
    },
    /// The header announces a body above the cap, or a frame to be written is above it.
    #[error("frame body is {body_length} bytes, the cap is {cap}")]
    FrameTooLarge {
        /// The length in the header, in bytes.
        body_length: usize,
        /// The cap that applied, in bytes.
        cap: usize,
    },
    /// The stream ended inside a frame, or before one that was expected.
    #[error("the stream ended in {context}")]
    UnexpectedEof {
        /// The part of the frame that was being read.
        context: &'static str,
    },
    /// The stream failed.
    #[error("the stream failed")]
    Io(#[source] io::Error),
    /// The body is not a protobuf `Frame`.
    #[error("frame body is not a Frame")]
    Decode(#[source] prost::DecodeError),
}

impl From<io::Error> for FramingError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<prost::DecodeError> for FramingError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Decode(error)
    }
}
