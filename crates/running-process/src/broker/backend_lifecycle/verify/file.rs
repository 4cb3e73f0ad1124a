//! Whether two files are one, and whether one stands at a path.

use crate::sys::ProcessImage;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

/// Whether the image is what stands at `path` now.
#[cfg(unix)]
pub(super) fn stands_at(image: &ProcessImage, path: &Path) -> bool {
    image.file.metadata().is_ok_and(|running| is_at(&running, path))
}

/// Whether the file is what stands at `path` now.
#[cfg(unix)]
pub(super) fn is_at(file: &Metadata, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|standing| (standing.dev(), standing.ino()) == (file.dev(), file.ino()))
}

/// No system but Linux leads to the image of a process.
#[cfg(not(unix))]
pub(super) fn is_at(_file: &Metadata, _path: &Path) -> bool {
    false
}

/// Whether the image is what stands at `path` now: the image was opened by its path, so it is if that is the same.
#[cfg(not(unix))]
pub(super) fn stands_at(image: &ProcessImage, path: &Path) -> bool {
    image.path == path
}

/// Whether two open files are one.
#[cfg(unix)]
pub(super) fn is_same(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

#[cfg(not(unix))]
pub(super) fn is_same(_one: &File, _other: &File) -> io::Result<bool> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system does not tell whether two files are one"))
}
