//! Payloads that are files.

mod error;
#[cfg(unix)]
#[path = "file_payload/unix.rs"]
mod imp;
#[cfg(not(unix))]
#[path = "file_payload/unsupported.rs"]
mod imp;

pub use error::FilePayloadError;

use super::proto::payload::Payload;
use crate::broker::protocol::FramingError;
use std::fs::File;

impl Payload {
    /// Returns the payload that is the content of `file`, from its first byte to its last.
    ///
    /// A client that takes descriptors gets the file itself, open for reading only, however large it is: see
    /// [`Reply`](crate::broker::backend_sdk::Reply). For any other client the server reads the file when it answers, and sends the bytes; a file
    /// that does not fit a frame is refused with
    /// [`AnswerTooLarge`](crate::broker::protocol::RefusalReason::AnswerTooLarge). So does a client whose request is a file: it sends the bytes.
    ///
    /// Both sides see what is written to the file later, so an artifact is complete before it is an answer, and is replaced by a rename. A
    /// client gets the offset of `file` as well, and may move it: this library reads by position.
    ///
    /// # Errors
    ///
    /// [`FilePayloadError`]. A file that was opened for writing is opened again, for reading only.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux opens a file again through `/proc/self/fd`. Other systems have no such way, and the file must have been opened for
    /// reading only. On Windows the file is read at once, and must fit a frame.
    pub fn from_file(file: File) -> Result<Self, FilePayloadError> {
        imp::payload(file)
    }
}

/// Returns the number of bytes to [read](read_file) if `payload` is a file; otherwise `None`.
///
/// # Errors
///
/// The file does not fit a frame, or the system does not tell.
pub(super) fn unread_length(payload: &Payload) -> Result<Option<usize>, FramingError> {
    imp::unread_length(payload)
}

/// Returns the payload that is the first `length` bytes of the file that `payload` is.
///
/// # Errors
///
/// The file has become shorter, or cannot be read.
pub(super) fn read_file(payload: &Payload, length: usize) -> Result<Payload, FramingError> {
    imp::read(payload, length)
}

/// Returns the payload with the bytes instead of the file, if it is one.
///
/// # Errors
///
/// The file does not fit a frame, or cannot be read.
pub(super) fn bytes_of_file(payload: Payload) -> Result<Payload, FramingError> {
    match unread_length(&payload)? {
        Some(length) => read_file(&payload, length),
        None => Ok(payload),
    }
}
