//! Writing by position.

use std::fs::File;
use std::io;

/// Writes all of `bytes` from the byte at `offset` of `target` on.
#[cfg(unix)]
pub(super) fn write_all_at(target: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(target, bytes, offset)
}

/// Writes all of `bytes` from the byte at `offset` of `target` on.
#[cfg(windows)]
pub(super) fn write_all_at(target: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(target, bytes, offset)?;
        (bytes, offset) = (&bytes[written..], offset + written as u64);
    }
    Ok(())
}
