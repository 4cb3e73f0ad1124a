//! Reading a file for its digests.

use super::key::FileKey;
use crate::broker::backend_lifecycle::identity::ExeDigests;
#[cfg(feature = "tokio")]
use crate::broker::runtime_clock::before;
use sha2::Digest;
use std::fs::File;
use std::io;
use std::time::Instant;

/// Number of bytes that are digested between two checks whether to go on: a few milliseconds without optimization, far
/// below one with it.
const CHUNK_BYTES: usize = 64 * 1024;

/// Maximum number of readings of a file of which only the name, links or permissions change meanwhile.
const ATTEMPTS: u32 = 3;

/// The digests of a file, and their cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digested {
    /// SHA-256 and BLAKE3.
    pub digests: ExeDigests,
    /// Number of bytes read; more than the size of the file if it was read again.
    #[cfg_attr(not(test), allow(dead_code, reason = "what reading costs"))]
    pub bytes_read: u64,
    /// The state of the file before and after it was read.
    #[cfg_attr(
        not(any(test, target_os = "linux", target_os = "android")),
        allow(dead_code, reason = "nothing is remembered elsewhere")
    )]
    pub(super) key: FileKey,
}

/// The reason why a file has no digests.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DigestError {
    /// It could not be read in time, or no caller waits for it any more.
    #[error("not digested in time")]
    TimedOut,
    /// It was written, cut or extended while it was read.
    #[error("changed while it was digested")]
    Changed,
    /// A directory, a FIFO, a device or a socket.
    #[error("not a regular file")]
    NotARegularFile,
    /// It could not be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
}

impl From<DigestError> for io::Error {
    fn from(error: DigestError) -> Self {
        let kind = match error {
            DigestError::Io(error) => return error,
            DigestError::TimedOut => io::ErrorKind::TimedOut,
            DigestError::Changed => io::ErrorKind::ResourceBusy,
            DigestError::NotARegularFile => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// Returns both digests of all that `file` contains, by reading it before `deadline`.
///
/// The cursor of `file` does not matter, and moves only on Windows. This exceeds `deadline` by at most the time of one
/// read of 64 KiB; a file system that hangs is not interrupted.
///
/// # Errors
///
/// See [`DigestError`].
pub(crate) fn digests_of(file: &File, deadline: Instant) -> Result<Digested, DigestError> {
    digests_while(file, &mut || Instant::now() < deadline)
}

/// Digests as [`digests_of`] does, on a thread of tokio's for blocking work. The reading ends with the file or at
/// `deadline`, also if the future is dropped.
///
/// # Errors
///
/// As [`digests_of`]. A file system that hangs does not hold the caller beyond `deadline`.
#[cfg(feature = "tokio")]
pub(crate) async fn digests_of_async(file: &File, deadline: Instant) -> Result<Digested, DigestError> {
    let file = file.try_clone()?;
    let reading = tokio::task::spawn_blocking(move || digests_of(&file, deadline));
    match before(deadline, reading).await {
        Some(Ok(digests)) => digests,
        // The runtime is being shut down.
        Some(Err(error)) => Err(DigestError::Io(io::Error::other(error))),
        None => Err(DigestError::TimedOut),
    }
}

/// Digests as [`digests_of`] does, unless `go_on`, which is called before each read, returns `false`.
///
/// # Errors
///
/// As [`digests_of`].
pub(crate) fn digests_while(file: &File, go_on: &mut dyn FnMut() -> bool) -> Result<Digested, DigestError> {
    let mut bytes_read = 0;
    let mut before = key_of(file)?;
    for _ in 0..ATTEMPTS {
        let digests = read_all(file, before.size, &mut bytes_read, go_on)?;
        let after = key_of(file)?;
        if after == before {
            return Ok(Digested { digests, bytes_read, key: before });
        }
        if !before.same_content_times(&after) {
            return Err(DigestError::Changed);
        }
        before = after;
    }
    Err(DigestError::Changed)
}

fn key_of(file: &File) -> Result<FileKey, DigestError> {
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok(FileKey::of(&metadata)) } else { Err(DigestError::NotARegularFile) }
}

/// Returns both digests of the `size` bytes of `file`, in one pass.
fn read_all(
    file: &File,
    size: u64,
    bytes_read: &mut u64,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<ExeDigests, DigestError> {
    let mut sha256 = sha2::Sha256::new();
    let mut blake3 = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    // Reads at most `size` bytes, so that a growing file is not followed.
    let mut position = 0;
    loop {
        if !go_on() {
            return Err(DigestError::TimedOut);
        }
        let length = match read_at(file, &mut chunk, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length?,
        };
        if length == 0 {
            break;
        }
        position += length as u64;
        *bytes_read += length as u64;
        if position > size {
            return Err(DigestError::Changed);
        }
        sha256.update(&chunk[..length]);
        blake3.update(&chunk[..length]);
    }
    if position != size {
        return Err(DigestError::Changed);
    }
    Ok(ExeDigests::Both { sha256: sha256.finalize().into(), blake3: blake3.finalize().into() })
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, position)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, position)
}

#[cfg(test)]
pub(super) mod tests;
