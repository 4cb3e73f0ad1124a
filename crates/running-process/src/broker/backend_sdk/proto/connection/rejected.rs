//! Messages that the mux rejects.

use super::ConnectionError;
use super::answer::refuse;
use crate::broker::backend_sdk::mux::MuxError;
use crate::broker::backend_sdk::proto::send_buffer::SendBuffer;
use crate::broker::protocol::{
    FrameKind, FrameRef, FrameViolation, PROTOCOL_VERSION, RefusalReason, registry::CONTROL_PAYLOAD_PROTOCOL,
    try_decode_framed_ref,
};

/// Returns the cancel in `message`, which the mux rejected with `error`. Any other frame is an error that ends the connection.
/// A request of a protocol that is not served is refused in the output before.
///
/// A cancel names its request by the request id, so its payload protocol does not matter: it may be that of the control
/// protocol, or one that is not served.
#[cold]
#[inline(never)]
pub(super) fn cancel_of_rejected<'a>(
    message: &'a [u8],
    error: MuxError,
    strict: bool,
    output: &mut SendBuffer,
) -> Result<FrameRef<'a>, ConnectionError> {
    let of_protocol = match &error {
        MuxError::UnservedPayloadProtocol { .. } => true,
        MuxError::UnexpectedFirstPartyFrame { payload_protocol } => {
            *payload_protocol == CONTROL_PAYLOAD_PROTOCOL
        }
        _ => false,
    };
    let Ok(Some(decoded)) = try_decode_framed_ref(message) else { return Err(error.into()) };
    let frame = decoded.frame;
    if of_protocol && frame.kind == i32::from(FrameKind::Cancel) {
        return match frame.envelope_version {
            got if strict && got != PROTOCOL_VERSION => Err(FrameViolation::EnvelopeVersion { got }.into()),
            _ => Ok(frame),
        };
    }
    if let MuxError::UnservedPayloadProtocol { .. } = error {
        refuse(&frame, RefusalReason::UnservedProtocol, &error, output);
    }
    Err(error.into())
}
