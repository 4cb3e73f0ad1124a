//! Operations on files that several parts of a service need.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// Removes the file at `path`, if there is one.
pub(super) fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Returns options that open a file for this user alone, without following a link, waiting, or taking a terminal over.
#[cfg(unix)]
pub(super) fn private() -> OpenOptions {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(flags.bits().cast_signed());
    options
}

/// Returns options that open a file, which the access to its directory protects.
#[cfg(not(unix))]
pub(super) fn private() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_removed_is_told_and_a_missing_one_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        remove_if_present(&path).unwrap();
        fs::write(&path, "").unwrap();
        remove_if_present(&path).unwrap();
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        remove_if_present(&path).unwrap_err();
        assert!(path.exists());
    }
}
