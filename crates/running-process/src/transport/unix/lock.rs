//! The lock beside a socket. The process that holds it, and no other one, may replace or remove the socket.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Stat, fchmod, fstat};
use rustix::io::Errno;

use super::super::error::{BindError, LockFault};
use super::bind_error::bind_error;
use super::directory::{Directory, bits, mode_of, type_of};
use crate::sys::{LockHolder, lock_holder, own_user};

/// Read and write for the owner.
pub(super) const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// Takes the lock on the file `NAME.lock` in the directory of the socket `path`.
///
/// The lock ends with the process, however that ends. The file stays behind for good: if it were removed, one process
/// could hold the lock on the removed file and another on its successor.
pub(super) fn take(directory: &Directory, name: &OsStr, path: &str) -> Result<File, BindError> {
    let lock_path = format!("{path}.lock");
    let mut lock_name = OsString::from(name);
    lock_name.push(".lock");
    let file = open(directory, &lock_name, path, &lock_path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(match lock_holder(&file) {
            LockHolder::Child { pid } => BindError::HeldByChild { path: path.to_owned(), pid: Some(pid) },
            LockHolder::Owner | LockHolder::Unknown => BindError::InUse { path: path.to_owned() },
        }),
        Err(TryLockError::Error(error)) => Err(BindError::Io { path: lock_path, source: Arc::new(error) }),
    }
}

fn open(directory: &Directory, name: &OsStr, path: &str, lock_path: &str) -> Result<File, BindError> {
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
        Err(error) => match directory.look_at(name) {
            Ok(Some(found)) => {
                check(&found, lock_path)?;
                if error != Errno::ACCESS {
                    return Err(io(error));
                }
                let fault = LockFault::Unusable { mode: mode_of(&found) };
                Err(BindError::Lock { path: lock_path.to_owned(), fault })
            }
            _ => Err(bind_error(path, error)),
        },
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
