//! Whether two files are one, and whether one stands at a path.

use crate::sys::ProcessImage;
use std::fs::File;
use std::io;
use std::path::Path;

/// Whether the image is what stands at `path` now.
#[cfg(unix)]
pub(super) fn stands_at(image: &ProcessImage, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(standing), Ok(running)) = (std::fs::metadata(path), image.file.metadata()) else { return false };
    (standing.dev(), standing.ino()) == (running.dev(), running.ino())
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
