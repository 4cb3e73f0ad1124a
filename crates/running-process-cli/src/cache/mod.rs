//! The cache that the demo daemon serves: byte keys and values, spoken to in the Redis protocol.
//!
//! Pure code: no socket, thread, file or clock. Callers pass the bytes they read and the time. Two ways in
//! serve one [`store::Store`]:
//!
//! - [`session::Session`], one for each connection on the legacy wire, which is RESP2 itself;
//! - [`session::execute_payload`], one for each request frame, whose payload is one command in the same text.
//!
//! Below them, [`resp`] cuts requests out of a buffer, [`commands`] runs one of them, [`reply`] writes its
//! answer.

pub(crate) mod commands;
pub(crate) mod glob;
#[cfg(test)]
mod golden;
pub(crate) mod reply;
pub(crate) mod resp;
pub(crate) mod session;
pub(crate) mod store;

use running_process::broker::protocol::ENVELOPE_VERSION;

/// Whether a read buffer is RESP and not frames: the decision of the daemon's legacy detector.
///
/// One byte decides. A RESP request starts with `*`, or, when it is typed inline, with a printable character
/// or white space; a frame starts with 0x01, which is neither. So the two wires have no common first byte,
/// and this never needs more bytes. An empty buffer is not RESP yet.
pub(crate) fn is_resp(buffer: &[u8]) -> bool {
    buffer.first().is_some_and(|&first| first != ENVELOPE_VERSION)
}

#[cfg(test)]
mod tests {
    use super::is_resp;

    #[test]
    fn arrays_and_inline_commands_are_resp_and_the_framing_byte_is_not() {
        for resp in [&b"*1\r\n"[..], b"PING\r\n", b"\"PING\"\r\n", b"\r\n", b" "] {
            assert!(is_resp(resp));
        }
        assert!(!is_resp(b""));
        assert!(!is_resp(&[1]));
        assert!(!is_resp(&[1, b'*', 0, 0, 0]));
    }
}
