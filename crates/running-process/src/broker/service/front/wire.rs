//! The wire of a connection to a front.

use crate::broker::backend_sdk::LegacyClassification::{self, Legacy, NeedMoreBytes, NotLegacy};
use crate::broker::protocol::header::FrameHeader;
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{
    ENVELOPE_VERSION, FRAME_HEADER_BYTES, MAX_FRAME_BYTES, STATUS_PAYLOAD_PROTOCOL,
};

/// Field numbers of a frame, each with the wire type of a number.
const VERSION_FIELD: u8 = 1 << 3;
const KIND_FIELD: u8 = 2 << 3;
const PROTOCOL_FIELD: u8 = 3 << 3;

/// Tells the frames that a front answers itself, identity probes and status requests, from everything else, which is for the
/// fronted daemon: also frames of other payload protocols. It looks at the first 13 bytes at most.
pub(super) fn classify(buffer: &[u8]) -> LegacyClassification {
    payload_protocol(buffer).map_or_else(
        |undecided| undecided,
        |protocol| match protocol {
            BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL | STATUS_PAYLOAD_PROTOCOL => NotLegacy,
            _ => Legacy,
        },
    )
}

/// Returns the payload protocol of the frame that `buffer` begins with. Frames are written with their fields in ascending order.
///
/// # Errors
///
/// It begins with no frame, or is too short to tell.
fn payload_protocol(buffer: &[u8]) -> Result<u32, LegacyClassification> {
    FrameHeader::parse(buffer, MAX_FRAME_BYTES).map_err(|_| Legacy)?.ok_or(NeedMoreBytes)?;
    let mut body = buffer[FRAME_HEADER_BYTES..].iter().copied();
    let mut next = || body.next().ok_or(NeedMoreBytes);
    if next()? != VERSION_FIELD || next()? != ENVELOPE_VERSION {
        return Err(Legacy);
    }
    let mut field = next()?;
    if field == KIND_FIELD {
        next()?;
        field = next()?;
    }
    if field != PROTOCOL_FIELD {
        return Err(Legacy);
    }
    let mut protocol = 0;
    // No payload protocol has more than 16 bits.
    for shift in [0, 7, 14] {
        let byte = next()?;
        protocol |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(protocol);
        }
    }
    Err(Legacy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::protocol::{Frame, encode_framed};

    fn frame(protocol: u32, payload: Vec<u8>) -> Vec<u8> {
        encode_framed(&Frame::request(protocol, payload).with_request_id(7)).unwrap()
    }

    #[test]
    fn probes_and_status_requests_are_the_fronts_own_however_they_are_cut() {
        for bytes in [frame(0xB232, vec![7; 32]), frame(0xFFFF, Vec::new())] {
            let decided =
                (1..=bytes.len()).find(|length| classify(&bytes[..*length]) != NeedMoreBytes).unwrap();
            assert!(decided <= 13, "{decided}");
            assert!((decided..=bytes.len()).all(|length| classify(&bytes[..length]) == NotLegacy));
        }
    }

    #[test]
    fn everything_else_is_the_fronted_daemons() {
        let other = [frame(0x7A63, b"x".to_vec()), frame(0, Vec::new()), frame(0xF0CA, Vec::new())];
        let foreign: [&[u8]; 6] = [
            b"PING\r\n",
            b"\x00",
            &[1, 0, 0, 0, 0, 9, 1],
            &[1, 0, 0, 0, 1, 1],
            &[1, 8, 0, 0, 0, 8, 2],
            &[1, 255, 255, 255, 255],
        ];
        for bytes in other.iter().map(Vec::as_slice).chain(foreign) {
            assert_eq!(classify(bytes), Legacy, "{bytes:?}");
        }
    }

    #[test]
    fn the_start_of_a_header_decides_nothing() {
        for bytes in [&[][..], &[1], &[1, 0, 0, 0], &[1, 8, 0, 0, 0, 8], &[1, 8, 0, 0, 0, 8, 1, 24, 0xb2]] {
            assert_eq!(classify(bytes), NeedMoreBytes, "{bytes:?}");
        }
    }
}
