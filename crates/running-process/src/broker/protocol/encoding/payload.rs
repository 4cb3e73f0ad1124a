//! One payload into one encoding and back.

use super::super::PayloadEncoding;
use std::io;

/// Why a payload cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodePayloadError {
    /// The encoding is unknown, not compiled in, or not one that this side said it accepts.
    #[error("payload encoding {got} is not accepted")]
    NotAccepted {
        /// The encoding in the frame.
        got: i32,
    },
    /// The payload decodes to more than it may. It was not decoded any further.
    #[error("the payload decodes to more than {cap} bytes")]
    TooLarge {
        /// The cap that applied, in bytes.
        cap: usize,
    },
    /// Bytes follow the encoded payload.
    #[error("bytes follow the end of the {encoding:?} payload")]
    TrailingBytes {
        /// The encoding in the frame.
        encoding: PayloadEncoding,
    },
    /// The payload is not of its encoding, or not all of it is there.
    #[error("the {encoding:?} payload is damaged")]
    Damaged {
        /// The encoding in the frame.
        encoding: PayloadEncoding,
        /// What its decoder says.
        #[source]
        reason: io::Error,
    },
}

#[cfg(feature = "tokio")]
impl DecodePayloadError {
    /// The same error once more: all who wait on one connection are told.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::NotAccepted { got } => Self::NotAccepted { got: *got },
            Self::TooLarge { cap } => Self::TooLarge { cap: *cap },
            Self::TrailingBytes { encoding } => Self::TrailingBytes { encoding: *encoding },
            Self::Damaged { encoding, reason } => {
                let reason = io::Error::new(reason.kind(), reason.to_string());
                Self::Damaged { encoding: *encoding, reason }
            }
        }
    }
}

/// Why a payload cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodePayloadError {
    /// The encoding is not compiled in.
    #[error("payload encoding {encoding:?} is not supported")]
    Unsupported {
        /// The encoding that was asked for.
        encoding: PayloadEncoding,
    },
    /// The encoder has failed.
    #[error("the payload cannot be encoded as {encoding:?}")]
    Failed {
        /// The encoding that was asked for.
        encoding: PayloadEncoding,
        /// What the encoder says.
        #[source]
        reason: io::Error,
    },
}

/// Replaces the content of `out` by `payload` in `encoding`.
///
/// # Errors
///
/// The encoding is not compiled in, or its encoder fails; `out` is then unspecified.
pub fn encode_payload(
    encoding: PayloadEncoding,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), EncodePayloadError> {
    out.clear();
    let encoded = match encoding {
        PayloadEncoding::None => {
            out.extend_from_slice(payload);
            Ok(())
        }
        #[cfg(feature = "zstd")]
        PayloadEncoding::Zstd => super::zstd::encode(payload, out),
        #[cfg(feature = "snappy")]
        PayloadEncoding::Snappy => super::snappy::encode(payload, out),
        #[cfg(feature = "lz4")]
        PayloadEncoding::Lz4 => super::lz4::encode(payload, out),
        #[cfg(not(all(feature = "lz4", feature = "snappy", feature = "zstd")))]
        _ => return Err(EncodePayloadError::Unsupported { encoding }),
    };
    encoded.map_err(|reason: io::Error| EncodePayloadError::Failed { encoding, reason })
}

/// Replaces the content of `out` by what `payload` is in `encoding`, at most `cap` bytes.
///
/// A size that the payload states is compared with `cap` before anything is decoded. Memory follows the bytes received
/// and decoded, never a length that is only claimed.
///
/// # Errors
///
/// The encoding is not compiled in, the payload decodes to more than `cap` bytes, or it is not exactly one payload of
/// the encoding; `out` is then unspecified.
pub fn decode_payload(
    encoding: PayloadEncoding,
    payload: &[u8],
    cap: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecodePayloadError> {
    out.clear();
    let decoded = match encoding {
        PayloadEncoding::None if payload.len() > cap => Err(Undecoded::TooLarge),
        PayloadEncoding::None => {
            out.extend_from_slice(payload);
            Ok(())
        }
        #[cfg(feature = "zstd")]
        PayloadEncoding::Zstd => super::zstd::decode(payload, cap, out),
        #[cfg(feature = "snappy")]
        PayloadEncoding::Snappy => super::snappy::decode(payload, cap, out),
        #[cfg(feature = "lz4")]
        PayloadEncoding::Lz4 => super::lz4::decode(payload, cap, out),
        #[cfg(not(all(feature = "lz4", feature = "snappy", feature = "zstd")))]
        _ => return Err(DecodePayloadError::NotAccepted { got: encoding.into() }),
    };
    decoded.map_err(|undecoded| match undecoded {
        Undecoded::TooLarge => DecodePayloadError::TooLarge { cap },
        Undecoded::Trailing => DecodePayloadError::TrailingBytes { encoding },
        Undecoded::Damaged(reason) => DecodePayloadError::Damaged { encoding, reason },
    })
}

/// What one decoder has to say.
#[allow(dead_code, reason = "which of these can happen depends on the encodings that are compiled in")]
pub(super) enum Undecoded {
    TooLarge,
    Trailing,
    Damaged(io::Error),
}

impl<E: Into<io::Error>> From<E> for Undecoded {
    fn from(error: E) -> Self {
        Self::Damaged(error.into())
    }
}
