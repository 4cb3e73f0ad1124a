//! Files that are passed.

use super::error::FilePayloadError;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::{FramingError, MAX_FRAME_BYTES};
use crate::sys::read_only;
use rustix::buffer::spare_capacity;
use rustix::fs::fstat;
use rustix::io::{Errno, pread, retry_on_intr};
use std::fs::File;
use std::os::unix::fs::FileExt;

pub(super) fn payload(file: File) -> Result<Payload, FilePayloadError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FilePayloadError::NotRegular);
    }
    let file = read_only(file).map_err(FilePayloadError::Writable)?;
    if metadata.len() == 0 && file.read_at(&mut [0], 0)? > 0 {
        return Err(FilePayloadError::NoLength);
    }
    Ok(Payload::of_file(file.into()))
}

pub(super) fn unread_length(payload: &Payload) -> Result<Option<usize>, FramingError> {
    let Some(file) = payload.file() else { return Ok(None) };
    let length = fstat(file).map_err(system_error)?.st_size;
    let body_length = usize::try_from(length).unwrap_or(usize::MAX);
    if body_length > MAX_FRAME_BYTES {
        return Err(FramingError::FrameTooLarge { body_length, cap: MAX_FRAME_BYTES });
    }
    Ok(Some(body_length))
}

/// Reads through the descriptor of the payload: another one might be one too many.
pub(super) fn read(payload: &Payload, length: usize) -> Result<Payload, FramingError> {
    let Some(file) = payload.file() else { return Ok(payload.clone()) };
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let offset = bytes.len() as u64;
        if retry_on_intr(|| pread(file, spare_capacity(&mut bytes), offset)).map_err(system_error)? == 0 {
            return Err(FramingError::UnexpectedEof { context: "a file that was cut short" });
        }
    }
    bytes.truncate(length);
    Ok(bytes.into())
}

fn system_error(error: Errno) -> FramingError {
    FramingError::Io(error.into())
}
