//! Files that cannot be payloads.

use std::io;

/// The reason why a file cannot be a payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilePayloadError {
    /// It is a directory, a pipe, a device, or anything else that is no regular file.
    #[error("it is not a regular file")]
    NotRegular,
    /// The system reports a length of 0 bytes for the file, and it has some. Files of `/proc` are so: read them, and send the bytes.
    #[error("the system does not report the length of the file")]
    NoLength,
    /// The file was opened for writing, and cannot be opened again for reading only.
    #[error("the file is open for writing, and cannot be opened again for reading only")]
    Writable(#[source] io::Error),
    /// The file is larger than a frame, and this system passes no descriptors.
    #[error("the file is {length} bytes, a frame without descriptors holds at most {limit}")]
    TooLarge {
        /// The length of the file, in bytes.
        length: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The system does not tell about the file, or does not read it.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
}
