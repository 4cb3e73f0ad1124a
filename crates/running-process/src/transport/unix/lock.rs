//! Lock files. The process that holds the lock beside a socket, and no other one, may replace or remove the socket.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fchmod, fstat, statat};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use super::super::error::{BindError, LockFault};
use super::bind_error::bind_error;
use super::directory::{Directory, FileIdentity, bits, mode_of, type_of};
use crate::sys::own_user;

/// Read and write for the owner.
pub(super) const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// Returns whether an error of taking or asking for a lock leaves open that the file system has locks.
pub(in crate::transport) fn has_locks(error: &io::Error) -> bool {
    !matches!(Errno::from_io_error(error), Some(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS))
}

/// Opens the lock file at `path`, and makes it if there is none.
pub(in crate::transport) fn open_lock(path: &Path) -> Result<File, BindError> {
    let shown = &*path.to_string_lossy();
    let (directory, name) = checked_directory(path, shown)?;
    open(&directory, &name, shown, shown)
}

/// Opens the lock file at `path`, if there is one.
pub(in crate::transport) fn find_lock(path: &Path) -> Result<Option<File>, BindError> {
    let shown = &*path.to_string_lossy();
    let (directory, name) = match checked_directory(path, shown) {
        Err(BindError::NoDirectory { .. }) => return Ok(None),
        directory => directory?,
    };
    let io = |error: Errno| BindError::Io { path: shown.to_owned(), source: Arc::new(error.into()) };
    match directory.open_file(&name, OFlags::RDONLY, Mode::empty()) {
        Ok(file) => check(&fstat(&file).map_err(io)?, shown).map(|()| Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(unopened(&directory, &name, shown, shown, error)),
    }
}

/// Checks that `file` may be a lock file, and keeps children from inheriting it.
pub(in crate::transport) fn adopt_lock(file: &File, path: &Path) -> Result<(), BindError> {
    let shown = path.to_string_lossy();
    let io =
        |error: Errno| BindError::Io { path: shown.clone().into_owned(), source: Arc::new(error.into()) };
    fcntl_setfd(file, FdFlags::CLOEXEC).map_err(io)?;
    check(&fstat(file).map_err(io)?, &shown)
}

/// Returns whether `file` is the one at `path`.
///
/// # Errors
///
/// The system does not tell.
pub(in crate::transport) fn is_lock_at(file: &File, path: &Path) -> io::Result<bool> {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(FileIdentity::of(&fstat(file)?) == FileIdentity::of(&found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens the directory of `path`, in which no other user can replace files.
pub(super) fn checked_directory(path: &Path, shown: &str) -> Result<(Directory, OsString), BindError> {
    let (directory, name) = Directory::of(path).map_err(|error| bind_error(shown, error))?;
    match directory.check() {
        Ok(Ok(())) => Ok((directory, name)),
        Ok(Err(fault)) => Err(BindError::Directory { path: shown.to_owned(), fault }),
        Err(error) => Err(BindError::Io { path: shown.to_owned(), source: Arc::new(error) }),
    }
}

pub(super) fn open(
    directory: &Directory,
    name: &OsStr,
    path: &str,
    lock_path: &str,
) -> Result<File, BindError> {
    let opened = directory.open_file(name, OFlags::RDWR | OFlags::CREATE, OWNER_ONLY);
    let file = match opened {
        // A umask can make a file that its owner cannot write. Reading is enough to lock it.
        Err(Errno::ACCESS) => directory.open_file(name, OFlags::RDONLY, Mode::empty()).or(opened),
        opened => opened,
    };
    let io = |error: Errno| BindError::Io { path: lock_path.to_owned(), source: Arc::new(error.into()) };
    match file {
        Ok(file) => {
            let found = fstat(&file).map_err(io)?;
            check(&found, lock_path)?;
            if mode_of(&found) != bits(OWNER_ONLY) {
                // Through the descriptor: the file at the path may be another one by now.
                fchmod(&file, OWNER_ONLY).map_err(io)?;
            }
            Ok(file)
        }
        Err(error) => Err(unopened(directory, name, path, lock_path, error)),
    }
}

/// Returns the reason why opening the lock file failed with `error`.
fn unopened(directory: &Directory, name: &OsStr, path: &str, lock_path: &str, error: Errno) -> BindError {
    let Ok(Some(found)) = directory.look_at(name) else { return bind_error(path, error) };
    match check(&found, lock_path) {
        Err(fault) => fault,
        Ok(()) if error == Errno::ACCESS && mode_of(&found) & bits(OWNER_ONLY) != bits(OWNER_ONLY) => {
            let fault = LockFault::Unusable { mode: mode_of(&found) };
            BindError::Lock { path: lock_path.to_owned(), fault }
        }
        Ok(()) => BindError::Io { path: lock_path.to_owned(), source: Arc::new(error.into()) },
    }
}

/// Checks that it is a regular file of this user: any other owner could hold its lock for ever.
fn check(found: &Stat, lock_path: &str) -> Result<(), BindError> {
    if type_of(found) != FileType::RegularFile {
        return Err(BindError::NotALock { path: lock_path.to_owned() });
    }
    let fault = match own_user() {
        Ok(own) if found.st_uid == own => return Ok(()),
        Ok(_) => LockFault::ForeignOwner { owner: found.st_uid },
        Err(error) => LockFault::UnmappedUser { uid: error.uid },
    };
    Err(BindError::Lock { path: lock_path.to_owned(), fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_errors_show_that_the_file_system_has_no_locks() {
        for (errno, has) in
            [(Errno::NOLCK, false), (Errno::OPNOTSUPP, false), (Errno::IO, true), (Errno::MFILE, true)]
        {
            assert_eq!(has_locks(&errno.into()), has, "{errno}");
        }
        assert!(has_locks(&io::Error::other("not of the system")));
    }

    #[test]
    fn a_lock_file_that_its_owner_cannot_use_is_told_with_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("lock");
        std::fs::write(&path, "").unwrap();
        let (directory, name) = Directory::of(&path).unwrap();
        let why = |error| unopened(&directory, &name, "socket", "lock", error);
        let unusable = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            why(Errno::ACCESS)
        };
        for mode in [0, 0o200, 0o400, 0o177] {
            let told = unusable(mode);
            let is_told = matches!(&told, BindError::Lock { path, fault: LockFault::Unusable { mode: found } }
                if path == "lock" && *found == mode);
            assert!(is_told, "{mode:o}: {told:?}");
        }
        // The mode explains no other error, and a usable mode none at all.
        assert!(matches!(why(Errno::MFILE), BindError::Io { .. }));
        assert!(matches!(unusable(0o600), BindError::Io { .. }));
        assert!(matches!(unusable(0o644), BindError::Io { .. }));
    }
}
