//! Files where no descriptors are passed: their bytes.

use super::error::FilePayloadError;
use crate::broker::backend_sdk::proto::payload::Payload;
use crate::broker::protocol::{FramingError, MAX_FRAME_BYTES};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

pub(super) fn payload(mut file: File) -> Result<Payload, FilePayloadError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FilePayloadError::NotRegular);
    }
    if metadata.len() > MAX_FRAME_BYTES as u64 {
        return Err(FilePayloadError::TooLarge { length: metadata.len(), limit: MAX_FRAME_BYTES });
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(metadata.len()).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[expect(clippy::unnecessary_wraps, reason = "a file may be unreadable on Unix")]
pub(super) fn unread_length(_: &Payload) -> Result<Option<usize>, FramingError> {
    Ok(None)
}

#[expect(clippy::unnecessary_wraps, reason = "a file may be unreadable on Unix")]
pub(super) fn read(payload: &Payload, _: usize) -> Result<Payload, FramingError> {
    Ok(payload.clone())
}
