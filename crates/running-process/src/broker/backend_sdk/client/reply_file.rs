//! A payload that is a file, read by position.

use super::write_at::write_all_at;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, fstat};
use rustix::io::{pread, retry_on_intr};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// The most bytes that are read at once, in bytes.
const CHUNK: usize = 1024 * 1024;

/// Checks that `file` is a regular file: of anything else a read may wait.
pub(super) fn check(file: &OwnedFd) -> io::Result<()> {
    if FileType::from_raw_mode(fstat(file)?.st_mode) == FileType::RegularFile {
        return Ok(());
    }
    let reason = "the daemon has sent something else as the file that is the payload";
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

pub(super) fn length(file: &OwnedFd) -> io::Result<u64> {
    Ok(u64::try_from(fstat(file)?.st_size).unwrap_or(0))
}

pub(super) fn read_at(file: &OwnedFd, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    Ok(retry_on_intr(|| pread(file, &mut *buf, offset))?)
}

pub(super) fn bytes(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let expected = usize::try_from(length(file)?).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    // One byte more, so that the end is found without more memory.
    bytes.try_reserve_exact(expected.saturating_add(1)).map_err(|_| io::ErrorKind::OutOfMemory)?;
    loop {
        let filled = bytes.len();
        if filled == bytes.capacity() {
            bytes.try_reserve(CHUNK).map_err(|_| io::ErrorKind::OutOfMemory)?;
        }
        if retry_on_intr(|| pread(file, spare_capacity(&mut bytes), filled as u64))? == 0 {
            return Ok(bytes);
        }
    }
}

pub(super) fn copy(file: &OwnedFd, target: &File) -> io::Result<u64> {
    if let Some(copied) = system_copy(file, target) {
        return Ok(copied);
    }
    let mut chunk = vec![0; CHUNK];
    let mut copied = 0;
    loop {
        let length = read_at(file, &mut chunk, copied)?;
        if length == 0 {
            return Ok(copied);
        }
        write_all_at(target, &chunk[..length], copied)?;
        copied += length as u64;
    }
}

/// Clones or copies inside the system. Returns `None` if it does not do that for these files.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn system_copy(file: &OwnedFd, target: &File) -> Option<u64> {
    use rustix::fs::{copy_file_range, ioctl_ficlone};
    if ioctl_ficlone(target, file).is_ok() {
        return length(file).ok();
    }
    let (mut from, mut to) = (0, 0);
    loop {
        let copied = copy_file_range(file, Some(&mut from), target, Some(&mut to), 1 << 30);
        match copied {
            // Some file systems return 0 instead of an error.
            Ok(0) if from == 0 => return None,
            Ok(0) => return Some(to),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Reading and writing begins anew, and meets the error if there is one.
            Err(_) => return None,
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn system_copy(_: &OwnedFd, _: &File) -> Option<u64> {
    None
}
