use super::soon;
use crate::daemon::Legacy;
use running_process::broker::backend_sdk::{LegacyClassification, LocalStream};
use running_process::broker::protocol::{
    ENVELOPE_VERSION, FRAME_HEADER_BYTES, Frame, Refusal, encode_framed, try_decode_framed,
};
use std::io::ErrorKind;

/// Encodes a request with its header.
pub(crate) fn request(payload_protocol: u32, request_id: u64, payload: &[u8]) -> Vec<u8> {
    let frame = Frame::request(payload_protocol, payload.to_vec()).with_request_id(request_id);
    encode_framed(&frame).unwrap()
}

#[track_caller]
pub(crate) fn write(stream: &LocalStream, bytes: &[u8]) {
    stream.write_all_deadline(bytes, Some(soon())).unwrap();
}

/// Reads exactly `length` bytes.
#[track_caller]
pub(crate) fn read(stream: &LocalStream, length: usize) -> Vec<u8> {
    let mut all = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match stream.read_deadline(&mut all[filled..], Some(soon())).unwrap() {
            0 => panic!("the stream ended after {filled} of {length} bytes"),
            received => filled += received,
        }
    }
    all
}

/// Reads to the end of the stream, or until the peer is gone.
#[track_caller]
pub(crate) fn read_to_end(stream: &LocalStream) -> Vec<u8> {
    let deadline = soon();
    let mut all = Vec::new();
    let mut bytes = [0; 16 * 1024];
    loop {
        match stream.read_deadline(&mut bytes, Some(deadline)) {
            Ok(0) => return all,
            Ok(length) => all.extend_from_slice(&bytes[..length]),
            // The peer closed the connection before it had read everything.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
    }
}

/// Reads one frame, and not a byte more.
#[track_caller]
pub(crate) fn read_frame(stream: &LocalStream) -> Frame {
    let mut wire = read(stream, FRAME_HEADER_BYTES);
    let length = u32::from_le_bytes(wire[1..].try_into().unwrap());
    wire.extend(read(stream, length.try_into().unwrap()));
    frames(&wire).remove(0)
}

/// Reads exactly `count` frames. Fails if more bytes have come with them.
#[track_caller]
pub(crate) fn read_frames(stream: &LocalStream, count: usize) -> Vec<Frame> {
    let deadline = soon();
    let (mut received, mut found) = (Vec::new(), Vec::new());
    let mut bytes = [0; 16 * 1024];
    while found.len() < count {
        match stream.read_deadline(&mut bytes, Some(deadline)).unwrap() {
            0 => panic!("the stream ended after {} of {count} frames", found.len()),
            length => received.extend_from_slice(&bytes[..length]),
        }
        let mut consumed = 0;
        while let Some(decoded) = try_decode_framed(&received[consumed..]).unwrap() {
            consumed += decoded.consumed;
            found.push(decoded.frame);
        }
        received.drain(..consumed);
    }
    assert_eq!((found.len(), received.len()), (count, 0));
    found
}

/// Decodes `bytes`, which consist of complete frames.
#[track_caller]
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let decoded = try_decode_framed(bytes).unwrap().expect("a complete frame");
        bytes = &bytes[decoded.consumed..];
        frames.push(decoded.frame);
    }
    frames
}

/// Returns the text of the refusal `frame`.
#[track_caller]
pub(crate) fn refusal(frame: &Frame) -> String {
    Refusal::from_frame(&frame.borrowed()).expect("a refusal").to_string()
}

/// Serves a legacy wire on which each byte that comes is sent back.
pub(crate) fn echo(mut connection: Box<dyn Legacy>) {
    let mut bytes = [0; 1024];
    while let Ok(length @ 1..) = connection.read(&mut bytes) {
        if connection.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
}

/// Detects a legacy wire whose messages start with the framing byte as well and are told by eight bytes,
/// `01 .. .. .. .. .. .. FF`.
pub(crate) fn needs_eight_bytes(buffer: &[u8]) -> LegacyClassification {
    match *buffer {
        [ENVELOPE_VERSION, _, _, _, _, _, _, 0xff, ..] => LegacyClassification::Legacy,
        [_, _, _, _, _, _, _, _, ..] => LegacyClassification::NotLegacy,
        _ => LegacyClassification::NeedMoreBytes,
    }
}
