//! Reading a file for its digests.

use super::hash::{self, Wanted};
use super::input::{DigestError, GoOn, Input};
use super::key::FileKey;
use crate::broker::backend_lifecycle::identity::ExeDigests;
#[cfg(feature = "tokio")]
use crate::broker::runtime_clock::before;
#[cfg(feature = "tokio")]
use crate::sys::background::Background;
use std::fs::File;
use std::time::Instant;

/// Maximum number of readings of a file of which only the name, links or permissions change meanwhile.
const ATTEMPTS: u32 = 3;

/// The digests of a file, and their cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digested {
    /// The digests that were wanted.
    pub digests: ExeDigests,
    /// Number of bytes read; more than the size of the file if it was read more than once.
    #[cfg_attr(not(test), allow(dead_code, reason = "what reading costs"))]
    pub bytes_read: u64,
    /// The state of the file before and after it was read.
    #[cfg_attr(
        not(any(test, target_os = "linux", target_os = "android")),
        allow(dead_code, reason = "nothing is remembered elsewhere")
    )]
    pub(super) key: FileKey,
}

/// Returns the `wanted` digests of all that `file` contains, by reading it before `deadline`.
///
/// The cursor of `file` does not matter, and moves only on Windows. This exceeds `deadline` by at most the time of one
/// read of 64 KiB; a file system that hangs is not interrupted. A large file is read by several threads.
///
/// # Errors
///
/// See [`DigestError`].
pub(crate) fn digests_of(file: &File, wanted: Wanted, deadline: Instant) -> Result<Digested, DigestError> {
    digests_while(file, wanted, &|| Instant::now() < deadline)
}

/// Digests as [`digests_of`] does, on a thread of its own. The reading ends with the file or at
/// `deadline`, also if the future is dropped.
///
/// # Errors
///
/// As [`digests_of`]. A file system that hangs does not hold the caller beyond `deadline`.
#[cfg(feature = "tokio")]
pub(crate) async fn digests_of_async(
    file: &File,
    wanted: Wanted,
    deadline: Instant,
) -> Result<Digested, DigestError> {
    let file = file.try_clone()?;
    let reading = Background::spawn(move || digests_of(&file, wanted, deadline))?;
    before(deadline, reading).await.unwrap_or(Err(DigestError::TimedOut))
}

/// Digests as [`digests_of`] does, unless `go_on`, which is called before each read, returns `false`.
///
/// # Errors
///
/// As [`digests_of`].
pub(crate) fn digests_while(file: &File, wanted: Wanted, go_on: &GoOn<'_>) -> Result<Digested, DigestError> {
    let mut before = key_of(file)?;
    let input = Input::new(file, go_on);
    for _ in 0..ATTEMPTS {
        let digests = hash::digests(&input, before.size, wanted)?;
        let after = key_of(file)?;
        if after == before {
            let bytes_read = input.bytes_read();
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

#[cfg(test)]
pub(super) mod tests;
