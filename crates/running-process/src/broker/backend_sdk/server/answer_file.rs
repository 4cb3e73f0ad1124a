//! Answers that are files, for clients that take no descriptors.

use super::handler::HandlerError;
use crate::broker::backend_sdk::file_payload::bytes_of_file;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::{FramingError, Refusal, RefusalReason};

/// Returns the payload of an event as [`sendable`] does that of an answer.
///
/// # Errors
///
/// The file does not fit a frame, or cannot be read.
pub(super) fn sendable_event(payload: Payload, accepted_descriptors: usize) -> Result<Payload, FramingError> {
    if accepted_descriptors > 0 || payload.descriptor_count() == 0 {
        Ok(payload)
    } else {
        bytes_of_file(payload)
    }
}

/// Returns the payload of an answer as a client can be sent it that takes so many descriptors: of a file, the bytes if it takes none.
///
/// # Errors
///
/// The file does not fit a frame, or cannot be read.
pub(super) fn sendable(payload: Payload, accepted_descriptors: usize) -> Result<Payload, HandlerError> {
    match sendable_event(payload, accepted_descriptors) {
        Ok(payload) => Ok(payload),
        Err(error @ FramingError::FrameTooLarge { .. }) => {
            let text = format!("{error}: a client that takes descriptors gets a file of any size");
            Err(HandlerError::Refused(Refusal::new(RefusalReason::AnswerTooLarge, text)))
        }
        Err(error) => Err(error.into()),
    }
}
