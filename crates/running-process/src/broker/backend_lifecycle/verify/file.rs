//! The identity of a file, and the location of a running image.

use super::proof::ImageState;
use crate::sys::{ProcessHandle, ProcessImage};
use std::fs::Metadata;
use std::path::Path;

/// A file by device and inode, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    /// Returns the identity of the file; `None` on systems without inodes.
    #[cfg(unix)]
    #[allow(clippy::unnecessary_wraps, reason = "other systems have none")]
    pub(crate) fn of(file: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self(file.dev(), file.ino()))
    }

    #[cfg(not(unix))]
    pub(crate) fn of(_file: &Metadata) -> Option<Self> {
        None
    }
}

/// Returns whether the file is at `path` now.
pub(super) fn is_at(file: Option<FileId>, path: &Path) -> bool {
    file.is_some() && std::fs::metadata(path).is_ok_and(|standing| FileId::of(&standing) == file)
}

/// Returns the location of the image of `process`, for programs and for people.
///
/// The recorded path is the daemon's. In another mount namespace, or below another root directory, it leads to another
/// file than the caller's. So an image that is not there for the caller is looked up as the daemon does.
pub(super) fn standing(
    image: &ProcessImage,
    file: Option<FileId>,
    process: &ProcessHandle,
    path: &Path,
) -> (ImageState, &'static str) {
    // Without inodes the image was opened by its path, so it is there.
    if is_at(file, path) || (file.is_none() && image.path == path) {
        return (ImageState::Unchanged, "stands at the recorded path");
    }
    match process.standing_at(path) {
        Ok(Some(found)) if FileId::of(&found) == file => {
            (ImageState::Unchanged, "stands at the recorded path where the daemon looks it up")
        }
        Ok(None) if had_no_name(path) => (ImageState::NotComparable, "has no name on disk"),
        Ok(_) => (ImageState::ReplacedOnDisk, "replaced on disk since it started"),
        Err(_) => (ImageState::NotComparable, "the recorded path cannot be followed from here"),
    }
}

/// Returns whether a recorded path, at which there is no file, is the kernel's name for an image without one. Such an
/// image was made in memory (`memfd_create`), or had been removed when the daemon made its identity.
fn had_no_name(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.starts_with("/memfd:") || path.ends_with(" (deleted)")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_file_is_at_its_own_path_only() {
        let directory = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        std::fs::write(&one, "").unwrap();
        std::fs::write(&other, "").unwrap();
        let file = FileId::of(&std::fs::metadata(&one).unwrap());
        assert!(is_at(file, &one) && !is_at(file, &other));
        assert!(!is_at(file, &directory.path().join("missing")));
        assert!(!is_at(None, &one), "a file without an identity is nowhere");
    }

    #[test]
    fn an_image_that_the_caller_finds_is_not_looked_up_by_a_daemon_that_has_ended() {
        let mut daemon = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = ProcessHandle::open(daemon.id()).unwrap().unwrap();
        let image = process.open_image().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert!(process.standing_at(&image.path).is_err(), "it cannot look up its image any more");
        let file = FileId::of(&image.file.metadata().unwrap());
        assert_eq!(standing(&image, file, &process, &image.path).0, ImageState::Unchanged);
    }
}
