//! Payload encodings: which a side accepts, when one is used, and how a payload is brought into it and back.
//!
//! Each encoding is a feature of this crate: `lz4`, `snappy`, `zstd`. A side says in `accepted_encodings` of its frames
//! what it decodes; whoever was told nothing encodes nothing, so a peer that knows no encodings never sees one.
//!
//! [`EncodingPolicy::decode`] and [`EncodingPolicy::encode`] are all that a driver needs: frames go in as they came or
//! would go out, and come out decoded or encoded.

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
use std::fmt;

/// A set of payload encodings. [`PayloadEncoding::None`] is in no set: everybody takes a payload as it is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Encodings(u32);

impl Encodings {
    /// No encodings.
    pub const NONE: Self = Self(0);

    /// Those that this build of the library can encode and decode.
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

    /// The one that is cheapest to make and to read first: on one machine bytes cost less than the time to save them.
    const PREFERENCE: [PayloadEncoding; 3] =
        [PayloadEncoding::Lz4, PayloadEncoding::Zstd, PayloadEncoding::Snappy];

    /// The set on the wire: bit n is the encoding of the value n. Bits of encodings that this library does not know are
    /// kept.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & !1)
    }

    /// The set as it is on the wire.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set, and `encoding`.
    #[must_use]
    pub const fn with(self, encoding: PayloadEncoding) -> Self {
        Self::from_bits(self.0 | 1 << encoding as u32)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `encoding` is in the set.
    #[must_use]
    pub const fn contains(self, encoding: PayloadEncoding) -> bool {
        self.0 & 1 << encoding as u32 != 0
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of the set that this library knows, in the order in which it prefers them: LZ4, Zstandard, Snappy.
    pub fn iter(self) -> impl Iterator<Item = PayloadEncoding> {
        Self::PREFERENCE.into_iter().filter(move |encoding| self.contains(*encoding))
    }
}

impl fmt::Debug for Encodings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

/// Which encodings a side takes and uses, and within which bounds.
///
/// The default accepts and uses whatever is compiled in. A daemon that answers by itself decodes a request and encodes the
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
    /// What is accepted from the other side, which is told so. What is not compiled in is not accepted.
    pub accept: Encodings,
    /// What is used towards a side that accepts it: the first that both have, as [`Encodings::iter`] orders them.
    pub send: Encodings,
    /// A shorter payload is not encoded, in bytes. Default 4096: less than one page is not worth a look at each byte.
    pub threshold: usize,
    /// A payload that decodes to more is refused, and a longer one is not encoded, in bytes. Default
    /// [`MAX_FRAME_BYTES`]: encoding makes no payload possible that would not be without.
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
    /// Neither takes nor uses any encoding.
    pub const OFF: Self = Self {
        accept: Encodings::NONE,
        send: Encodings::NONE,
        threshold: usize::MAX,
        max_decoded: MAX_FRAME_BYTES,
    };

    /// What the other side is told: the accepted encodings that are compiled in.
    #[must_use]
    pub const fn accepted(&self) -> Encodings {
        self.accept.and(Encodings::SUPPORTED)
    }

    /// The frame with its payload as its sender had it: decoded into `buffer`, whose content is replaced, if it came
    /// encoded; still in its own bytes if not.
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

    /// [`decode`](Self::decode) that asks `grant` before `buffer` takes memory, with how many bytes it will have then.
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

    /// Returns whether a payload of so many bytes is encoded for a peer that accepts `peer`, if that makes it shorter.
    pub(crate) fn encodes(&self, length: usize, peer: Encodings) -> bool {
        !self.usable(peer).is_empty() && length >= self.threshold && length <= self.max_decoded
    }

    fn usable(&self, peer: Encodings) -> Encodings {
        self.send.and(peer).and(Encodings::SUPPORTED)
    }

    /// Returns the most bytes that the payload of `frame` has once it is decoded.
    #[cfg(feature = "host")]
    pub(crate) fn most_decoded(&self, frame: &FrameRef<'_>) -> usize {
        match PayloadEncoding::try_from(frame.payload_encoding) {
            Ok(encoding) if self.accepted().contains(encoding) => {
                most_decoded(encoding, frame.payload, self.max_decoded)
            }
            _ => frame.payload.len(),
        }
    }

    /// The frame as it goes to a peer that accepts `peer`: encoded into `buffer`, whose content is replaced, if that
    /// makes it shorter.
    ///
    /// A peer that accepts any encoding is told what this side accepts; to any other the frame is left as it is.
    #[must_use]
    pub fn encode<'a>(&self, frame: FrameRef<'a>, peer: Encodings, buffer: &'a mut Vec<u8>) -> FrameRef<'a> {
        if peer.is_empty() {
            return frame;
        }
        let frame = FrameRef { accepted_encodings: self.accepted().bits(), ..frame };
        let length = frame.payload.len();
        let Some(encoding) = self.usable(peer).iter().next() else { return frame };
        if !self.encodes(length, peer) {
            return frame;
        }
        match encode_payload(encoding, frame.payload, buffer) {
            Ok(()) if buffer.len() < length => {
                FrameRef { payload: buffer, payload_encoding: encoding.into(), ..frame }
            }
            // What cannot be encoded, or not to any use, is right as it is.
            _ => frame,
        }
    }
}
