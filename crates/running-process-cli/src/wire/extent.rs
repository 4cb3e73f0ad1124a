//! The extent of the next frame in a capture.

use running_process::broker::protocol::{ENVELOPE_VERSION, FRAME_HEADER_BYTES, MAX_FRAME_BYTES};

/// The number of bytes needed next; see [`wanted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// This many bytes, at which the next frame may end.
    Frame(usize),
    /// This many bytes, and the number of bytes that follow them.
    Rest(usize),
}

/// Returns the number of bytes needed to explain the frame that begins with `bytes`. The capture may end before.
///
/// A frame with an intact header and an undecodable body is followed by the next frame. If the header is damaged, the rest
/// of the capture is one [`AnnotatedFrame`](super::AnnotatedFrame), of which at most the length of a frame is read.
pub(crate) fn wanted(bytes: &[u8]) -> Wanted {
    const LARGEST: usize = FRAME_HEADER_BYTES + MAX_FRAME_BYTES;
    match bytes.first_chunk::<FRAME_HEADER_BYTES>() {
        None if bytes.first().is_none_or(|first| *first == ENVELOPE_VERSION) => {
            Wanted::Frame(FRAME_HEADER_BYTES)
        }
        Some([ENVELOPE_VERSION, length @ ..]) => match u32::from_le_bytes(*length) as usize {
            length if length <= MAX_FRAME_BYTES => Wanted::Frame(FRAME_HEADER_BYTES + length),
            _ => Wanted::Rest(LARGEST),
        },
        _ => Wanted::Rest(LARGEST),
    }
}
