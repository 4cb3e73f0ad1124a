//! The usual parts, put together: tokio-util's frames by length, and prost's messages with shared payloads.

use super::PROTOCOL;
use crate::row::Run;
use bytes::{Bytes, BytesMut};
use prost::Message;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

/// The envelope, declared so that its payload is shared.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(clippy::struct_field_names, reason = "the wire's names")]
struct Envelope {
    #[prost(uint32, tag = "1")]
    envelope_version: u32,
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    payload_protocol: u32,
    #[prost(bytes = "bytes", tag = "4")]
    payload: Bytes,
    #[prost(uint64, tag = "5")]
    request_id: u64,
    #[prost(int32, tag = "6")]
    payload_encoding: i32,
    #[prost(uint64, tag = "7")]
    deadline_unix_ms: u64,
    #[prost(string, tag = "8")]
    traceparent: String,
    #[prost(string, tag = "9")]
    tracestate: String,
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_offset(1)
        .length_field_length(4)
        .little_endian()
        .max_frame_length(16 << 20)
        .new_codec()
}

fn take(codec: &mut LengthDelimitedCodec, buffer: &mut BytesMut) -> Envelope {
    let body = codec.decode(buffer).unwrap().expect("a complete frame");
    let envelope = Envelope::decode(body.freeze()).unwrap();
    assert_eq!(envelope.payload_protocol, PROTOCOL);
    envelope
}

/// Decodes frames out of a buffer. Filling it with `at_once` frames again is not measured.
pub fn decode(size: usize, at_once: u64) -> Run {
    let wire = crate::rows::wire(size);
    let mut codec = codec();
    Box::new(move |count| {
        let mut took = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let frames = left.min(at_once);
            let mut buffer = BytesMut::with_capacity(wire.len() * frames as usize);
            (0..frames).for_each(|_| buffer.extend_from_slice(&wire));
            let begin = Instant::now();
            for _ in 0..frames {
                black_box(&take(&mut codec, &mut buffer));
            }
            took += begin.elapsed();
            left -= frames;
        }
        took.as_nanos() as f64
    })
}

/// Decodes all `frames` frames of one buffer.
pub fn drain(size: usize, frames: usize) -> Run {
    let all = crate::rows::wire(size).repeat(frames);
    let mut codec = codec();
    Box::new(move |count| {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let mut buffer = BytesMut::from(&all[..]);
            let begin = Instant::now();
            while !buffer.is_empty() {
                black_box(&take(&mut codec, &mut buffer));
            }
            took += begin.elapsed();
        }
        took.as_nanos() as f64
    })
}
