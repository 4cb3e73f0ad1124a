//! Files that are open for reading only.

use rustix::fs::{CWD, Mode, OFlags, fcntl_getfl, openat};
use rustix::io::retry_on_intr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Returns `file` if it is open for reading only, or the same file opened again so.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] where the system has no way to open it again; otherwise the error of the system.
pub(crate) fn read_only(file: File) -> io::Result<File> {
    let flags = fcntl_getfl(&file)?;
    if flags & OFlags::RWMODE == OFlags::RDONLY && !is_path_only(flags) {
        return Ok(file);
    }
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    Ok(retry_on_intr(|| openat(CWD, &path, flags, Mode::empty()))?.into())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_path_only(flags: OFlags) -> bool {
    flags.contains(OFlags::PATH)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_path_only(_: OFlags) -> bool {
    false
}
