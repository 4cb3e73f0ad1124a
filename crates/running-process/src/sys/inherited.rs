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

/// Content of a descriptor that this program was started with.
#[derive(Debug)]
pub(crate) enum Inherited {
    /// The lock.
    Lock(File),
    /// Another file, which stays as it is.
    Other,
    /// Nothing: the descriptor is not open, is close-on-exec (code of this process has opened it, or has taken it), or was taken.
    Nothing,
}

/// Takes the descriptor `number`, which this program was started with, and makes it close-on-exec.
///
/// It must be the regular file of the device and the inode `expected`. Each number can be taken once in a process.
pub(crate) fn inherited_lock(number: i32, expected: (u64, u64)) -> io::Result<Inherited> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // A lock is passed behind the descriptors of input, output and errors.
    if number <= 2 || taken.contains(&number) {
        return Ok(Inherited::Nothing);
    }
    // SAFETY: the call takes a number, which need not be a descriptor, and changes nothing.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Ok(Inherited::Nothing);
    }
    // SAFETY: the descriptor is open. It was open when this program started, or it would be close-on-exec, as everything is that
    // Rust's library or this one opens. The caller was told by the starter that it is passed in this number, so nothing else
    // owns it, unless it was taken here, which the list excludes.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
    let found = file.metadata()?;
    if !found.is_file() || (found.dev(), found.ino()) != expected {
        return Ok(Inherited::Other);
    }
    fcntl_setfd(&*file, FdFlags::CLOEXEC)?;
    taken.push(number);
    Ok(Inherited::Lock(ManuallyDrop::into_inner(file)))
}
