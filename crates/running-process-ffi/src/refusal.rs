//! Refusals: responses that say why a request is not served.

use crate::boundary::{Bytes, guard, put, value};
use crate::frame::{RpFrame, encode_around};
use crate::status::Status;
use prost::Message;
use running_process::broker::protocol::{self, FrameRef, RefusalReason};

/// The most bytes of a refusal, without the trace context of the request and the message.
pub const REFUSAL_OVERHEAD: usize = 128;

/// The reasons of refusals.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No capacity now. The request has not run.
    Overloaded = 1,
    /// The deadline of the request passed before it was answered.
    DeadlinePassed = 2,
    /// The request was cancelled.
    Cancelled = 3,
    /// The payload protocol is not served. The request has not run.
    UnservedProtocol = 4,
    /// The encoding of the payload cannot be decoded. The request has not run.
    BadEncoding = 5,
    /// This user or process is not served. The request has not run.
    NotAuthorized = 6,
    /// The handler failed.
    HandlerFailed = 7,
    /// The daemon is ending. The request has not run.
    ShuttingDown = 8,
    /// The answer does not fit a frame. The request has run.
    AnswerTooLarge = 9,
}

/// A refusal.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RpRefusal {
    /// A `rp_reason`.
    pub reason: i32,
    /// 1 if `retry_after_ms` is a hint, else 0.
    pub has_retry_after: u8,
    /// The same request may be served after so many milliseconds.
    pub retry_after_ms: u32,
    /// One line for people, in UTF-8, not NUL-terminated; may be empty.
    pub message: Bytes,
}

/// Writes the frame that refuses `request`, and stores its length. `RP_REFUSAL_OVERHEAD`, the length of the message and that of
/// the request's trace context are always enough.
///
/// # Safety
///
/// `request` and `refusal` point to values whose pointers are those of readable bytes; the request's payload is not read. `out`
/// points to `capacity` writable bytes apart from them, and may be null if `capacity` is 0. `length` points to memory that may be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_refusal_encode(
    request: *const RpFrame,
    refusal: *const RpRefusal,
    out: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> Status {
    guard(|| {
        // SAFETY: the caller's promise.
        let (request, refusal) = unsafe { (value(request)?, value(refusal)?) };
        // SAFETY: the caller's promise, and the payload is left out.
        let request = unsafe { RpFrame { payload: Bytes::EMPTY, ..*request }.borrow() }?;
        // SAFETY: the caller's promise.
        let message = unsafe { refusal.message.text() }?;
        match RefusalReason::try_from(refusal.reason) {
            Ok(RefusalReason::Unspecified) | Err(_) => return Err(Status::InvalidArgument),
            Ok(_) => {}
        }
        let payload = protocol::Refusal {
            reason: refusal.reason,
            message: message.to_owned(),
            retry_after_ms: (refusal.has_retry_after != 0).then_some(refusal.retry_after_ms),
        }
        .encode_to_vec();
        let (around, at) = encode_around(&FrameRef::refusal_of(&request, &payload))?;
        let (before, behind) = around.split_at(at);
        // SAFETY: the caller's promise.
        unsafe { put(&[before, &payload, behind], out, capacity, length) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn no_refusal_is_longer_than_stated() {
        let text = "x".repeat(1 << 20);
        let long = Bytes::of(text.as_bytes());
        let request = RpFrame { request_id: u64::MAX, traceparent: long, tracestate: long, ..RpFrame::EMPTY };
        let refusal = RpRefusal { reason: 9, has_retry_after: 1, retry_after_ms: u32::MAX, message: long };
        let mut length = 0;
        // SAFETY: the values are whole, and nothing is written.
        let status = unsafe {
            rp_refusal_encode(&raw const request, &raw const refusal, ptr::null_mut(), 0, &raw mut length)
        };
        assert_eq!(status, Status::BufferTooSmall);
        let overhead = length - 3 * text.len();
        assert!(overhead <= REFUSAL_OVERHEAD, "{overhead} bytes");
    }
}
