//! Lock files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_OPEN_REPARSE_POINT, FILE_SHARE_READ, FILE_SHARE_WRITE,
};

use super::super::error::BindError;

/// Returns `true`: no error here says that the file system has no locks.
pub(in crate::transport) fn has_locks(_: &io::Error) -> bool {
    true
}

/// Opens the lock file at `path`, and makes it if there is none. While it is open it can neither be removed nor moved.
pub(in crate::transport) fn open_lock(path: &Path) -> Result<File, BindError> {
    let file = options().create(true).truncate(false).open(path);
    let file = file.map_err(|error| lock_error(path, error))?;
    check(&file, path).map(|()| file)
}

/// Opens the lock file at `path`, if there is one.
pub(in crate::transport) fn find_lock(path: &Path) -> Result<Option<File>, BindError> {
    match options().open(path) {
        Ok(file) => check(&file, path).map(|()| Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(lock_error(path, error)),
    }
}

/// Checks that `file` may be a lock file.
#[allow(dead_code, reason = "the system passes no lock to a child")]
pub(in crate::transport) fn adopt_lock(file: &File, path: &Path) -> Result<(), BindError> {
    check(file, path)
}

/// Returns `true`: the file at `path` cannot be replaced while it is open.
#[expect(clippy::unnecessary_wraps, reason = "as on the other systems")]
pub(in crate::transport) fn is_lock_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE).custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
    options
}

/// Checks that it is a regular file, and no link to one.
fn check(file: &File, path: &Path) -> Result<(), BindError> {
    let found = file.metadata().map_err(|error| lock_error(path, error))?;
    if found.file_type().is_file() {
        return Ok(());
    }
    Err(BindError::NotALock { path: path.to_string_lossy().into_owned() })
}

fn lock_error(path: &Path, error: io::Error) -> BindError {
    let path = path.to_string_lossy().into_owned();
    match error.kind() {
        io::ErrorKind::NotFound => BindError::NoDirectory { path },
        io::ErrorKind::PermissionDenied => BindError::PermissionDenied { path, source: Arc::new(error) },
        _ => BindError::Io { path, source: Arc::new(error) },
    }
}
