//! Constructors of the owned [`Frame`], and [`FrameRef`], the same frame borrowed from its buffer.

mod descriptor_fields;
mod read;
mod write;

pub use descriptor_fields::{DescriptorFields, MAX_FRAME_DESCRIPTORS};

use super::generated::{Frame, FrameKind};

/// The value of [`Frame::envelope_version`].
pub const PROTOCOL_VERSION: u32 = 1;

/// The key of each field on the wire: its tag and its wire type, in one byte.
mod key {
    /// The tags of the fields whose keys take two bytes.
    pub(super) const ACCEPTED_ENCODINGS_TAG: u32 = 1000;
    pub(super) const DESCRIPTORS_TAG: u32 = 1001;
    pub(super) const ACCEPTED_DESCRIPTORS_TAG: u32 = 1002;
    pub(super) const PAYLOAD_IS_FILE_TAG: u32 = 1003;
    pub(super) const ACCEPTED_ENCODINGS: [u8; 2] = [0xc0, 0x3e];
    pub(super) const DESCRIPTORS: [u8; 2] = [0xc8, 0x3e];
    pub(super) const ACCEPTED_DESCRIPTORS: [u8; 2] = [0xd0, 0x3e];
    pub(super) const PAYLOAD_IS_FILE: [u8; 2] = [0xd8, 0x3e];
    pub(super) const ENVELOPE_VERSION: u8 = varint(1);
    pub(super) const KIND: u8 = varint(2);
    pub(super) const PAYLOAD_PROTOCOL: u8 = varint(3);
    pub(super) const PAYLOAD: u8 = delimited(4);
    pub(super) const REQUEST_ID: u8 = varint(5);
    pub(super) const PAYLOAD_ENCODING: u8 = varint(6);
    pub(super) const DEADLINE_UNIX_MS: u8 = varint(7);
    pub(super) const TRACEPARENT: u8 = delimited(8);
    pub(super) const TRACESTATE: u8 = delimited(9);

    /// The fields that stand before the payload; each is a varint.
    pub(super) const BEFORE_PAYLOAD: [u8; 3] = [ENVELOPE_VERSION, KIND, PAYLOAD_PROTOCOL];

    const fn varint(tag: u8) -> u8 {
        tag << 3
    }

    const fn delimited(tag: u8) -> u8 {
        tag << 3 | 2
    }
}

/// ```
/// use running_process::broker::protocol::{Frame, encode_framed, try_decode_framed};
///
/// let request = Frame::request(0xF00D, b"ping".to_vec()).with_request_id(7);
/// let bytes = encode_framed(&request)?;
/// assert_eq!(try_decode_framed(&bytes[..bytes.len() - 1])?, None); // more bytes are needed
///
/// let decoded = try_decode_framed(&bytes)?.expect("a whole frame");
/// assert_eq!((decoded.frame.payload.as_slice(), decoded.consumed), (&b"ping"[..], bytes.len()));
///
/// let response = Frame::response_to(&decoded.frame, b"PING".to_vec());
/// assert_eq!(response.request_id, 7);
/// # Ok::<_, running_process::broker::protocol::FramingError>(())
/// ```
impl Frame {
    /// Returns a request under `payload_protocol`, with request id 0 until [`with_request_id`](Self::with_request_id).
    #[must_use]
    pub fn request(payload_protocol: u32, payload: Vec<u8>) -> Self {
        Self { envelope_version: PROTOCOL_VERSION, payload_protocol, payload, ..Self::default() }
    }

    /// Returns the response to `request`, with the same protocol, request id and trace context.
    #[must_use]
    pub fn response_to(request: &Frame, payload: Vec<u8>) -> Self {
        Self {
            kind: FrameKind::Response.into(),
            request_id: request.request_id,
            traceparent: request.traceparent.clone(),
            tracestate: request.tracestate.clone(),
            ..Self::request(request.payload_protocol, payload)
        }
    }

    /// Returns the frame with another request id.
    #[must_use]
    pub fn with_request_id(mut self, request_id: u64) -> Self {
        self.request_id = request_id;
        self
    }

    /// Returns the same frame, borrowed.
    #[must_use]
    #[inline]
    pub fn borrowed(&self) -> FrameRef<'_> {
        FrameRef {
            envelope_version: self.envelope_version,
            kind: self.kind,
            payload_protocol: self.payload_protocol,
            payload: &self.payload,
            request_id: self.request_id,
            payload_encoding: self.payload_encoding,
            deadline_unix_ms: self.deadline_unix_ms,
            traceparent: &self.traceparent,
            tracestate: &self.tracestate,
            accepted_encodings: 0,
            descriptors: DescriptorFields::NONE,
        }
    }
}

/// A [`Frame`] whose payload and trace context are still in the buffer in which they arrived.
///
/// Decoding neither copies nor allocates. It accepts, rejects and yields exactly what prost's decoder of the owned
/// frame does. The fields are those of [`Frame`], and those that only this library writes.
///
/// ```
/// use running_process::broker::protocol::{FrameRef, try_decode_framed_ref};
///
/// let mut bytes = Vec::new();
/// FrameRef::request(0xF00D, 7, b"ping").encode_framed(&mut bytes)?;
/// let decoded = try_decode_framed_ref(&bytes)?.expect("a whole frame");
/// assert_eq!(decoded.frame.payload, b"ping"); // a part of `bytes`
/// # Ok::<_, running_process::broker::protocol::FramingError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "field by field the same as `Frame`, which documents them")]
pub struct FrameRef<'a> {
    pub envelope_version: u32,
    pub kind: i32,
    pub payload_protocol: u32,
    pub payload: &'a [u8],
    pub request_id: u64,
    pub payload_encoding: i32,
    pub deadline_unix_ms: u64,
    pub traceparent: &'a str,
    pub tracestate: &'a str,
    /// The encodings that the sender decodes, as bits of [`Encodings`](super::Encodings), and
    /// [`WANTS_MOVED`](super::WANTS_MOVED); 0 if it decodes none and does not want that. It is our own: [`Frame`] has no such
    /// field.
    pub accepted_encodings: u32,
    /// The fields about descriptors. They are our own as well.
    pub descriptors: DescriptorFields,
}

impl<'a> FrameRef<'a> {
    /// Returns a request under `payload_protocol`.
    #[must_use]
    pub fn request(payload_protocol: u32, request_id: u64, payload: &'a [u8]) -> Self {
        Self { envelope_version: PROTOCOL_VERSION, payload_protocol, payload, request_id, ..Self::default() }
    }

    /// Returns the response to `request`, with the same protocol, request id and trace context.
    #[must_use]
    pub fn response_to(request: &FrameRef<'a>, payload: &'a [u8]) -> Self {
        Self {
            kind: FrameKind::Response.into(),
            traceparent: request.traceparent,
            tracestate: request.tracestate,
            ..Self::request(request.payload_protocol, request.request_id, payload)
        }
    }

    /// Copies the frame out of its buffer.
    #[must_use]
    #[inline]
    pub fn to_frame(&self) -> Frame {
        self.to_frame_with(self.payload.to_vec())
    }

    /// Copies the frame as [`to_frame`](Self::to_frame) does, with another payload.
    #[inline]
    pub(crate) fn to_frame_with(self, payload: Vec<u8>) -> Frame {
        Frame {
            envelope_version: self.envelope_version,
            kind: self.kind,
            payload_protocol: self.payload_protocol,
            payload,
            request_id: self.request_id,
            payload_encoding: self.payload_encoding,
            deadline_unix_ms: self.deadline_unix_ms,
            traceparent: self.traceparent.to_owned(),
            tracestate: self.tracestate.to_owned(),
        }
    }
}
