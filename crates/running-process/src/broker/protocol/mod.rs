//! The v1 wire: frames, their codec, the registry of payload protocols and endpoint names.
//!
//! A frame travels as `[u8 framing version][u32 little-endian body length][protobuf Frame]`. Everything here is pure;
//! [`read_frame`], [`write_frame`] and [`write_framed`] move frames over any [`Read`](std::io::Read) and
//! [`Write`](std::io::Write).

mod codec;
mod encoding;
mod endpoint;
mod error;
mod frame;
#[allow(clippy::pedantic, unreachable_pub, unused_qualifications, reason = "written by prost-build")]
#[rustfmt::skip]
mod generated;
pub(crate) mod header;
mod refusal;
pub mod registry;
pub(crate) mod status;
mod strict;
mod trace_parent;

pub use codec::{
    DecodedFramed, DecodedFramedRef, encode_framed, read_frame, read_frame_with_cap, try_decode_framed,
    try_decode_framed_ref, write_frame, write_framed,
};
#[cfg(feature = "host")]
pub(crate) use encoding::DecodeStopped;
pub use encoding::{
    DecodePayloadError, EncodePayloadError, EncodingPolicy, Encodings, decode_payload, encode_payload,
};
pub use endpoint::{EndpointNameError, WINDOWS_PIPE_PREFIX};
pub use error::FramingError;
pub use frame::FrameRef;
pub use generated::{
    DaemonProcess, DaemonProcessExtension, Endpoint, Frame, FrameKind, LatencyHistogram, PayloadEncoding,
    Refusal, RefusalReason, ServerStatus,
};
pub use status::STATUS_PAYLOAD_PROTOCOL;
pub use strict::FrameViolation;
pub use trace_parent::TraceParent;

/// The framing byte: the first byte of every frame header.
pub const ENVELOPE_VERSION: u8 = 1;
/// The value of [`Frame::envelope_version`].
pub const PROTOCOL_VERSION: u32 = 1;
/// The framing byte and the length, in bytes.
pub const FRAME_HEADER_BYTES: usize = 5;
/// The largest frame body, in bytes.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// The largest body of a Hello frame, in bytes.
pub const MAX_HELLO_BYTES: usize = 64 * 1024;
