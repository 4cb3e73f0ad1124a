//! The v1 wire: frames, their codec, the registry of payload protocols and endpoint names.
//!
//! A frame travels as `[u8 framing version][u32 little-endian body length][protobuf Frame]`. Everything here is pure.
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
mod notice;
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
pub use frame::{DescriptorFields, FrameRef, MAX_FRAME_DESCRIPTORS, PROTOCOL_VERSION};
pub use generated::{
    DaemonProcess, DaemonProcessExtension, Endpoint, Frame, FrameKind, FrontedProcess, LatencyHistogram,
    Notice, NoticeKind, PayloadEncoding, Refusal, RefusalReason, ServerStatus,
};
pub use header::{ENVELOPE_VERSION, FRAME_HEADER_BYTES, MAX_FRAME_BYTES, MAX_HELLO_BYTES};
pub use notice::WANTS_MOVED;
pub use status::STATUS_PAYLOAD_PROTOCOL;
pub use strict::FrameViolation;
pub use trace_parent::TraceParent;
