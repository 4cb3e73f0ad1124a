//! Notices: messages of a daemon to its client that belong to no request.
//!
//! A notice is an event with the request id 0 under the control protocol, which no daemon serves. So no client takes it for an
//! event of the daemon's own.

use super::frame::FrameRef;
use super::generated::{FrameKind, Notice, NoticeKind, PayloadEncoding};
use super::registry::CONTROL_PAYLOAD_PROTOCOL;
use prost::Message;

/// The bit of [`FrameRef::accepted_encodings`] with which a client says that it wants [`NoticeKind::Moved`]. No encoding has it.
/// It is set in the first request of a connection.
pub const WANTS_MOVED: u32 = 1;

impl Notice {
    /// Returns a notice of this kind.
    #[must_use]
    pub fn new(kind: NoticeKind) -> Self {
        Self { kind: kind.into() }
    }

    /// Returns the notice that `frame` carries; `None` if it carries none. A notice is never encoded.
    #[must_use]
    pub fn from_frame(frame: &FrameRef<'_>) -> Option<Self> {
        let is_notice = frame.kind == i32::from(FrameKind::Event)
            && frame.payload_protocol == CONTROL_PAYLOAD_PROTOCOL
            && frame.request_id == 0
            && frame.payload_encoding == i32::from(PayloadEncoding::None);
        if is_notice { Self::decode(frame.payload).ok() } else { None }
    }
}

impl<'a> FrameRef<'a> {
    /// Returns the frame of a notice; `payload` is an encoded [`Notice`].
    #[must_use]
    pub fn notice(payload: &'a [u8]) -> Self {
        Self { kind: FrameKind::Event.into(), ..Self::request(CONTROL_PAYLOAD_PROTOCOL, 0, payload) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_written_as_documented() {
        let payload = Notice::new(NoticeKind::Moved).encode_to_vec();
        let mut wire = Vec::new();
        FrameRef::notice(&payload).encode_framed(&mut wire).unwrap();
        assert_eq!(wire, b"\x01\x09\0\0\0\x08\x01\x10\x02\x22\x03\xc0\x3e\x01");
    }

    #[test]
    fn a_notice_is_read_from_its_own_frame_only() {
        let notice = Notice::new(NoticeKind::Moved);
        let payload = notice.encode_to_vec();
        let frame = FrameRef::notice(&payload);
        assert_eq!(Notice::from_frame(&frame), Some(notice));
        for other in [
            FrameRef { request_id: 1, ..frame },
            FrameRef { payload_protocol: 0xF00D, ..frame },
            FrameRef { kind: FrameKind::Response.into(), ..frame },
            FrameRef { payload_encoding: PayloadEncoding::Lz4.into(), ..frame },
        ] {
            assert_eq!(Notice::from_frame(&other), None, "{other:?}");
        }
    }
}
