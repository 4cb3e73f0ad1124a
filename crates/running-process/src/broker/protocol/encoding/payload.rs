//! Encoding and decoding one payload.

use super::super::generated::PayloadEncoding;
use super::undecoded::{Undecoded, reserve};
use std::io;
use std::sync::Arc;

/// The reason why a payload cannot be decoded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodePayloadError {
    /// The encoding is unknown, not compiled in, or not one that this side accepts.
    #[error("payload encoding {got} is not accepted")]
    NotAccepted {
        /// The encoding in the frame.
        got: i32,
    },
    /// The payload decodes to more bytes than allowed. Decoding stopped there.
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
    /// The payload is not of its encoding, or is incomplete.
    #[error("the {encoding:?} payload is damaged")]
    Damaged {
        /// The encoding in the frame.
        encoding: PayloadEncoding,
        /// The error of the decoder.
        #[source]
        reason: Arc<io::Error>,
    },
}

/// The reason why a payload cannot be encoded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodePayloadError {
    /// The encoding is not compiled in.
    #[error("payload encoding {encoding:?} is not supported")]
    Unsupported {
        /// The requested encoding.
        encoding: PayloadEncoding,
    },
    /// The encoder has failed.
    #[error("the payload cannot be encoded as {encoding:?}")]
    Failed {
        /// The requested encoding.
        encoding: PayloadEncoding,
        /// The error of the encoder.
        #[source]
        reason: Arc<io::Error>,
    },
}

/// Encodes `payload` in `encoding`, and replaces the content of `out` by the result.
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
    encoded.map_err(|reason: io::Error| EncodePayloadError::Failed { encoding, reason: Arc::new(reason) })
}

/// Decodes `payload` from `encoding` to at most `cap` bytes, and replaces the content of `out` by the result.
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
    decode_granted(encoding, payload, cap, out, &mut |_| true).map_err(|stopped| match stopped {
        DecodeStopped::Failed(error) => error,
        DecodeStopped::NotGranted => unreachable!("everything is granted"),
    })
}

/// The reason why a payload was not decoded.
#[derive(Debug)]
pub(crate) enum DecodeStopped {
    Failed(DecodePayloadError),
    /// The memory for it was not granted.
    NotGranted,
}

/// Decodes as [`decode_payload`] does. Asks `grant` before `out` takes memory, with the number of bytes that it will
/// have then.
pub(super) fn decode_granted(
    encoding: PayloadEncoding,
    payload: &[u8],
    cap: usize,
    out: &mut Vec<u8>,
    grant: &mut dyn FnMut(usize) -> bool,
) -> Result<(), DecodeStopped> {
    out.clear();
    let decoded = match encoding {
        PayloadEncoding::None if payload.len() > cap => Err(Undecoded::TooLarge),
        PayloadEncoding::None => reserve(out, payload.len(), grant).map(|()| {
            out.extend_from_slice(payload);
        }),
        #[cfg(feature = "zstd")]
        PayloadEncoding::Zstd => super::zstd::decode(payload, cap, out, grant),
        #[cfg(feature = "snappy")]
        PayloadEncoding::Snappy => super::snappy::decode(payload, cap, out, grant),
        #[cfg(feature = "lz4")]
        PayloadEncoding::Lz4 => super::lz4::decode(payload, cap, out, grant),
        #[cfg(not(all(feature = "lz4", feature = "snappy", feature = "zstd")))]
        _ => return Err(DecodeStopped::Failed(DecodePayloadError::NotAccepted { got: encoding.into() })),
    };
    decoded.map_err(|undecoded| {
        DecodeStopped::Failed(match undecoded {
            Undecoded::NotGranted => return DecodeStopped::NotGranted,
            Undecoded::TooLarge => DecodePayloadError::TooLarge { cap },
            Undecoded::Trailing => DecodePayloadError::TrailingBytes { encoding },
            Undecoded::Damaged(reason) => DecodePayloadError::Damaged { encoding, reason: Arc::new(reason) },
        })
    })
}

/// Returns an upper bound of the decoded size of `payload`, in bytes, without decoding it: the size that it states,
/// else what its encoding can make of so many bytes, and never more than `cap`.
#[cfg(feature = "host")]
pub(super) fn most_decoded(encoding: PayloadEncoding, payload: &[u8], cap: usize) -> usize {
    let most = match encoding {
        #[cfg(feature = "zstd")]
        PayloadEncoding::Zstd => super::zstd::most_decoded(payload),
        #[cfg(feature = "snappy")]
        PayloadEncoding::Snappy => super::snappy::most_decoded(payload),
        #[cfg(feature = "lz4")]
        PayloadEncoding::Lz4 => super::lz4::most_decoded(payload),
        _ => Some(payload.len()),
    };
    most.unwrap_or(cap).min(cap)
}
