//! Answers that are files, for clients that take no descriptors.

use super::handler::HandlerError;
use crate::broker::backend_sdk::file_payload::{read_file, unread_length};
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::backend_sdk::proto::server_connection::SendEventError;
use crate::broker::protocol::{FramingError, Refusal, RefusalReason};

/// Returns the number of bytes to read from the file that `payload` is, for a client that takes so many descriptors; `None` if it can
/// be sent as it is.
pub(super) fn unread(payload: &Payload, accepted_descriptors: usize) -> Result<Option<usize>, FramingError> {
    if accepted_descriptors > 0 || payload.descriptor_count() == 0 {
        Ok(None)
    } else {
        unread_length(payload)
    }
}

/// Returns the payload of an event as [`sendable`] does that of an answer.
///
/// # Errors
///
/// The file does not fit a frame, or cannot be read, or `grant` refuses.
pub(super) fn sendable_event(
    payload: Payload,
    accepted_descriptors: usize,
    grant: impl FnOnce(usize) -> Result<(), SendEventError>,
) -> Result<Payload, SendEventError> {
    let Some(length) = unread(&payload, accepted_descriptors)? else { return Ok(payload) };
    grant(length)?;
    Ok(read_file(&payload, length)?)
}

/// Returns the payload of an answer as a client can be sent it that takes so many descriptors: of a file, the bytes if it takes none.
/// They are read once `grant` has granted the memory for so many.
///
/// # Errors
///
/// The file does not fit a frame, or cannot be read, or `grant` refuses.
#[inline]
pub(super) fn sendable(
    payload: Payload,
    accepted_descriptors: usize,
    grant: impl FnOnce(usize) -> Result<(), HandlerError>,
) -> Result<Payload, HandlerError> {
    if payload.descriptor_count() == 0 {
        return Ok(payload);
    }
    sendable_descriptors(payload, accepted_descriptors, grant)
}

/// Returns the payload as [`sendable`] does, if it has descriptors.
#[cold]
fn sendable_descriptors(
    payload: Payload,
    accepted_descriptors: usize,
    grant: impl FnOnce(usize) -> Result<(), HandlerError>,
) -> Result<Payload, HandlerError> {
    match unread_answer(&payload, accepted_descriptors)? {
        Some(length) => {
            grant(length)?;
            Ok(read_file(&payload, length)?)
        }
        None => Ok(payload),
    }
}

/// Returns the number of bytes that [`sendable`] has to read.
///
/// # Errors
///
/// As [`sendable`].
pub(super) fn unread_answer(
    payload: &Payload,
    accepted_descriptors: usize,
) -> Result<Option<usize>, HandlerError> {
    unread(payload, accepted_descriptors).map_err(|error| match error {
        FramingError::FrameTooLarge { .. } => {
            let text = format!("{error}: a client that takes descriptors gets a file of any size");
            HandlerError::Refused(Refusal::new(RefusalReason::AnswerTooLarge, text))
        }
        error => error.into(),
    })
}
