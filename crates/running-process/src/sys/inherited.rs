//! A lock that the starter of this process took and passed on.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use rustix::io::{FdFlags, fcntl_setfd};

/// The numbers that have been taken. They stay here for good: once its owner has closed a descriptor, its number means
/// another one.
static TAKEN: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// Takes the descriptor `number`, which this program was started with, and makes it close-on-exec.
///
/// It must be the regular file of the device and the inode `expected`. Each number can be taken once in a process.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] if no such descriptor was passed: it is not open, close-on-exec (code of this process has
/// opened it, or has taken it), or taken; [`io::ErrorKind::InvalidData`] if it is another file, which stays as it is.
pub(crate) fn inherited_lock(number: i32, expected: (u64, u64)) -> io::Result<File> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let missing = |why| Err(io::Error::new(io::ErrorKind::NotFound, format!("descriptor {number} {why}")));
    if number <= 2 {
        return missing("is no descriptor that a lock is passed in");
    }
    if taken.contains(&number) {
        return missing("was taken already");
    }
    // SAFETY: the call takes a number, which need not be a descriptor, and changes nothing.
    match unsafe { libc::fcntl(number, libc::F_GETFD) } {
        flags if flags < 0 => return missing("is not open"),
        flags if flags & libc::FD_CLOEXEC != 0 => return missing("was not passed: it is close-on-exec"),
        _ => {}
    }
    // SAFETY: the descriptor is open. It was open when this program started, or it would be close-on-exec, as everything is that
    // Rust's library or this one opens. The caller was told by the starter that it is passed in this number, so nothing else
    // owns it, unless it was taken here, which the list excludes.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
    let found = file.metadata()?;
    if !found.is_file() || (found.dev(), found.ino()) != expected {
        let message = format!("descriptor {number} is another file than the lock");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    fcntl_setfd(&*file, FdFlags::CLOEXEC)?;
    taken.push(number);
    Ok(ManuallyDrop::into_inner(file))
}
