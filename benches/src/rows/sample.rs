//! The frames of the rows without sockets. Every contender's encoder makes the same bytes.

use crate::floor::wire;
use crate::party::PROTOCOL;
use running_process::broker::protocol::{Frame, encode_framed};
use std::hint::black_box;

/// The id of the request.
pub const ID: u64 = 300;

pub fn payload(size: usize) -> Vec<u8> {
    vec![7; size]
}

pub fn request(size: usize) -> Frame {
    Frame::request(PROTOCOL, payload(size)).with_request_id(ID)
}

pub fn peer_request(size: usize) -> peer::broker::protocol::Frame {
    peer::broker::protocol::Frame::request(PROTOCOL, payload(size)).with_request_id(ID)
}

/// A framed request.
pub fn wire(size: usize) -> Vec<u8> {
    let ours = encode_framed(&request(size)).unwrap();
    let mut by_hand = vec![0; ours.len() + 1];
    let length = wire::encode(&mut by_hand, 0, PROTOCOL, ID, &payload(size));
    assert!(ours == peer::broker::protocol::encode_framed(&peer_request(size)).unwrap());
    assert!(ours == by_hand[..length]);
    ours
}

/// A framed identity probe.
pub fn probe() -> Vec<u8> {
    let probe = Frame::request(
        running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL,
        payload(running_process::broker::backend_lifecycle::probe::PROBE_NONCE_BYTES),
    );
    encode_framed(&probe.with_request_id(ID)).unwrap()
}

/// Detects the floor's legacy wire, which starts with an asterisk.
pub fn is_legacy(buffer: &[u8]) -> bool {
    buffer.first() == Some(&b'*')
}

/// Reads the fields that a daemon reads, of any contender's frame.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a call would cost what is measured")]
pub fn use_frame(
    kind: impl Copy,
    payload_protocol: impl Copy,
    request_id: u64,
    payload: &[u8],
    consumed: usize,
) {
    black_box(kind);
    black_box(payload_protocol);
    black_box(request_id);
    black_box(payload);
    black_box(consumed);
}
