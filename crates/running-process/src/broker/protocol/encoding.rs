//! Payload encodings: sets of them, the policy of a side, encoding and decoding.
//!
//! Each encoding is a feature of this crate: `lz4`, `snappy`, `zstd`. A side lists the encodings that it decodes in
//! `accepted_encodings` of its frames. A side encodes only for a peer that sent such a list, so a peer that knows no
//! encodings never receives one.
//!
//! A driver needs only [`EncodingPolicy::decode`] for frames that it receives and [`EncodingPolicy::encode`] for frames
//! that it sends.

#[cfg(feature = "lz4")]
mod lz4;
mod payload;
#[cfg(feature = "snappy")]
mod snappy;
mod undecoded;
#[cfg(feature = "zstd")]
mod zstd;

pub(crate) use payload::DecodeStopped;
use payload::decode_granted;
#[cfg(feature = "host")]
use payload::most_decoded;
pub use payload::{DecodePayloadError, EncodePayloadError, decode_payload, encode_payload};

use super::frame::FrameRef;
use super::generated::PayloadEncoding;
use super::header::MAX_FRAME_BYTES;
use super::notice::WANTS_MOVED;
use std::fmt;

/// A set of payload encodings. [`PayloadEncoding::None`] is in no set: every side takes a payload that is not encoded.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Encodings(u32);

impl Encodings {
    /// No encodings.
    pub const NONE: Self = Self(0);

    /// The encodings that this build of the library can encode and decode.
    pub const SUPPORTED: Self = {
        let mut supported = Self::NONE;
        if cfg!(feature = "lz4") {
            supported = supported.with(PayloadEncoding::Lz4);
        }
        if cfg!(feature = "zstd") {
            supported = supported.with(PayloadEncoding::Zstd);
        }
        if cfg!(feature = "snappy") {
            supported = supported.with(PayloadEncoding::Snappy);
        }
        supported
    };

    /// The encodings by cost, the cheapest first: on one machine bytes cost less than the time to save them.
    const PREFERENCE: [PayloadEncoding; 3] =
        [PayloadEncoding::Lz4, PayloadEncoding::Zstd, PayloadEncoding::Snappy];

    /// Returns the set that has these bits on the wire: bit n is the encoding of the value n. Bits of encodings that
    /// this library does not know are kept, and bit 0 is dropped.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & !1)
    }

    /// Returns the bits of the set on the wire.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns the set with `encoding` added.
    #[must_use]
    pub const fn with(self, encoding: PayloadEncoding) -> Self {
        Self::from_bits(self.0 | 1 << encoding as u32)
    }

    /// Returns the encodings that are in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether `encoding` is in the set.
    #[must_use]
    pub const fn contains(self, encoding: PayloadEncoding) -> bool {
        self.0 & 1 << encoding as u32 != 0
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the encodings of the set that this library knows, in the order in which it prefers them: LZ4, Zstandard,
    /// Snappy.
    pub fn iter(self) -> impl Iterator<Item = PayloadEncoding> {
        Self::PREFERENCE.into_iter().filter(move |encoding| self.contains(*encoding))
    }
}

impl fmt::Debug for Encodings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

/// The encodings that a side accepts and uses, and their bounds.
///
/// The default accepts and uses all that are compiled in. A daemon without a driver decodes a request and encodes the
/// response to it:
///
/// ```
/// use running_process::broker::protocol::{EncodingPolicy, Encodings, FrameRef};
///
/// let policy = EncodingPolicy::default();
/// let (mut decoded, mut encoded) = (Vec::new(), Vec::new());
/// # let received = FrameRef::request(0xF00D, 1, b"ping");
/// let accepted = Encodings::from_bits(received.accepted_encodings);
/// received.check_strict_accepting(policy.accepted())?;
/// let request = policy.decode(received, &mut decoded)?;
/// let answer = request.payload.to_ascii_uppercase();
/// let response = policy.encode(FrameRef::response_to(&request, &answer), accepted, &mut encoded);
/// # assert_eq!(response.payload, b"PING");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodingPolicy {
    /// Encodings that are accepted from the peer, which is told so. Those that are not compiled in are not accepted.
    pub accept: Encodings,
    /// Encodings that are used for a peer that accepts them: the first that both have, in the order of
    /// [`Encodings::iter`].
    pub send: Encodings,
    /// Length in bytes below which a payload is not encoded. Default 4096: for less than one page it is not worth
    /// reading each byte.
    pub threshold: usize,
    /// Largest decoded payload that is accepted, and largest payload that is encoded, in bytes. Default
    /// [`MAX_FRAME_BYTES`]: encoding allows no payload that would not be possible without it.
    pub max_decoded: usize,
}

impl Default for EncodingPolicy {
    fn default() -> Self {
        Self {
            accept: Encodings::SUPPORTED,
            send: Encodings::SUPPORTED,
            threshold: 4096,
            max_decoded: MAX_FRAME_BYTES,
        }
    }
}

impl EncodingPolicy {
    /// The policy that accepts and uses no encoding.
    pub const OFF: Self = Self {
        accept: Encodings::NONE,
        send: Encodings::NONE,
        threshold: usize::MAX,
        max_decoded: MAX_FRAME_BYTES,
    };

    /// Returns the accepted encodings that are compiled in, which the peer is told.
    #[must_use]
    pub const fn accepted(&self) -> Encodings {
        self.accept.and(Encodings::SUPPORTED)
    }

    /// Returns the frame with a decoded payload: in `buffer`, whose content is replaced, if it came encoded; in its own
    /// bytes if not.
    ///
    /// # Errors
    ///
    /// The encoding is not accepted, or the payload cannot be decoded within [`max_decoded`](Self::max_decoded).
    #[inline]
    pub fn decode<'a>(
        &self,
        frame: FrameRef<'a>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<FrameRef<'a>, DecodePayloadError> {
        self.decode_granted(frame, buffer, &mut |_| true).map_err(|stopped| match stopped {
            DecodeStopped::Failed(error) => error,
            DecodeStopped::NotGranted => unreachable!("everything is granted"),
        })
    }

    /// Decodes as [`decode`](Self::decode) does. Asks `grant` before `buffer` takes memory, with the number of bytes
    /// that it will have then.
    #[inline]
    pub(crate) fn decode_granted<'a>(
        &self,
        frame: FrameRef<'a>,
        buffer: &'a mut Vec<u8>,
        grant: &mut dyn FnMut(usize) -> bool,
    ) -> Result<FrameRef<'a>, DecodeStopped> {
        let got = frame.payload_encoding;
        let encoding = match PayloadEncoding::try_from(got) {
            Ok(PayloadEncoding::None) => return Ok(frame),
            Ok(encoding) if self.accepted().contains(encoding) => encoding,
            _ => return Err(DecodeStopped::Failed(DecodePayloadError::NotAccepted { got })),
        };
        decode_granted(encoding, frame.payload, self.max_decoded, buffer, grant)?;
        Ok(FrameRef { payload: buffer, payload_encoding: PayloadEncoding::None.into(), ..frame })
    }

    /// Returns whether a payload of `length` bytes is encoded for a peer that accepts `peer`, provided that makes it
    /// shorter.
    pub(crate) fn encodes(&self, length: usize, peer: Encodings) -> bool {
        !self.usable(peer).is_empty() && length >= self.threshold && length <= self.max_decoded
    }

    fn usable(&self, peer: Encodings) -> Encodings {
        self.send.and(peer).and(Encodings::SUPPORTED)
    }

    /// Returns an upper bound of the size of the decoded payload of `frame`, in bytes.
    #[cfg(feature = "host")]
    pub(crate) fn most_decoded(&self, frame: &FrameRef<'_>) -> usize {
        match PayloadEncoding::try_from(frame.payload_encoding) {
            Ok(encoding) if self.accepted().contains(encoding) => {
                most_decoded(encoding, frame.payload, self.max_decoded)
            }
            _ => frame.payload.len(),
        }
    }

    /// Returns the frame for a peer that accepts `peer`: encoded into `buffer`, whose content is replaced, if that
    /// makes it shorter.
    ///
    /// A peer that accepts any encoding is also told what this side accepts. For any other peer the frame stays as it
    /// is.
    #[must_use]
    pub fn encode<'a>(&self, frame: FrameRef<'a>, peer: Encodings, buffer: &'a mut Vec<u8>) -> FrameRef<'a> {
        if peer.is_empty() {
            return frame;
        }
        let accepted_encodings = self.accepted().bits() | frame.accepted_encodings & WANTS_MOVED;
        let frame = FrameRef { accepted_encodings, ..frame };
        let length = frame.payload.len();
        let Some(encoding) = self.usable(peer).iter().next() else { return frame };
        if !self.encodes(length, peer) {
            return frame;
        }
        match encode_payload(encoding, frame.payload, buffer) {
            Ok(()) if buffer.len() < length => {
                FrameRef { payload: buffer, payload_encoding: encoding.into(), ..frame }
            }
            // A payload that cannot be encoded, or gets no shorter, stays as it is.
            _ => frame,
        }
    }
}

#[cfg(test)]
mod tests;
