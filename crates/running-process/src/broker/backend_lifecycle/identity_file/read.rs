//! Reading an identity file.

use super::error::{IdentityFileError, MAX_IDENTITY_FILE_BYTES};
use super::location::Location;
#[cfg(unix)]
use super::owner::own_user;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Returns the identity in the file at `path`, or `None` for any reason, which [`try_read_daemon_identity_file`] returns.
#[must_use]
pub fn read_daemon_identity_file(path: &Path) -> Option<DaemonProcess> {
    try_read_daemon_identity_file(path).ok().flatten()
}

/// Returns the identity in the file at `path`, or `None` if there is no such file.
///
/// # Errors
///
/// The file cannot be opened or read, or other users could have written it: the error then carries an [`IdentityFileError`].
///
/// # Platform-specific behavior
///
/// On Windows ownership and access are not checked; the file is as trustworthy as the directory it is in.
pub fn try_read_daemon_identity_file(path: &Path) -> io::Result<Option<DaemonProcess>> {
    let file = match Location::of(path).and_then(|location| location.open()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(None) => return Ok(None),
        Ok(Some(file)) => file,
        Err(error) => return Err(error),
    };
    let length = check_trusted(&file)?;
    read_from(&file, length).map(Some)
}

/// Returns the identity in `file`, whose length was `length` bytes.
pub(super) fn read_from(file: &File, length: u64) -> io::Result<DaemonProcess> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    // With capacity left, one more read finds the end.
    let mut json = Vec::with_capacity(length.min(MAX_IDENTITY_FILE_BYTES) + 1);
    file.take(MAX_IDENTITY_FILE_BYTES as u64 + 1).read_to_end(&mut json)?;
    if json.len() > MAX_IDENTITY_FILE_BYTES {
        return Err(IdentityFileError::TooLarge.into());
    }
    // Editors put a byte order mark there, which a parser may ignore (RFC 8259, section 8.1).
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&json);
    Ok(serde_json::from_slice(json).map_err(IdentityFileError::Malformed)?)
}

/// Checks that no other user could have written the file, and returns its length in bytes.
pub(super) fn check_trusted(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(IdentityFileError::NotARegularFile.into());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let owner = metadata.uid();
        if !is_trusted(owner, own_user)? {
            return Err(IdentityFileError::ForeignOwner { owner }.into());
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(IdentityFileError::WritableByOthers { mode }.into());
        }
    }
    Ok(metadata.len())
}

/// Returns whether files of the user `owner` are trusted: those of root, and the own ones.
#[cfg(unix)]
fn is_trusted<E>(owner: u32, own: impl FnOnce() -> Result<u32, E>) -> Result<bool, E> {
    Ok(owner == 0 || owner == own()?)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_root_and_the_own_ones_are_trusted() {
        let trusts = |owner, own| is_trusted::<()>(owner, || Ok(own)).unwrap();
        for own in [0, 1000] {
            assert!(trusts(0, own) && trusts(own, own), "{own}");
            assert!(!trusts(1001, own), "{own}");
        }
        assert_eq!(is_trusted(0, || Err("unmapped")), Ok(true), "who asks does not matter");
        assert_eq!(is_trusted(1000, || Err("unmapped")), Err("unmapped"));
    }
}
