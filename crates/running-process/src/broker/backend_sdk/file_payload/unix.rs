//! Files that are passed.

use super::error::FilePayloadError;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::{FramingError, MAX_FRAME_BYTES};
use crate::sys::read_only;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub(super) fn payload(file: File) -> Result<Payload, FilePayloadError> {
    if !file.metadata()?.is_file() {
        return Err(FilePayloadError::NotRegular);
    }
    Ok(Payload::of_file(read_only(file).map_err(FilePayloadError::Writable)?.into()))
}

pub(super) fn bytes(payload: Payload) -> Result<Payload, FramingError> {
    let Some(file) = payload.file() else { return Ok(payload) };
    let file = File::from(file.try_clone().map_err(FramingError::Io)?);
    let length = file.metadata().map_err(FramingError::Io)?.len();
    let body_length = usize::try_from(length).unwrap_or(usize::MAX);
    if body_length > MAX_FRAME_BYTES {
        return Err(FramingError::FrameTooLarge { body_length, cap: MAX_FRAME_BYTES });
    }
    let mut bytes = vec![0; body_length];
    file.read_exact_at(&mut bytes, 0).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FramingError::UnexpectedEof { context: "a file that was cut short" },
        _ => FramingError::Io(error),
    })?;
    Ok(bytes.into())
}
