//! The holder of a lock.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::fs::File;

/// The process that holds a lock which this process could not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "only Linux tells")]
pub(crate) enum LockHolder {
    /// The process that took it.
    Owner,
    /// A child that the owner forked before it ended: it has the owner's open files.
    Child { pid: u32 },
    /// The system does not tell.
    Unknown,
}

/// Returns the process that holds the lock on `file`.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn lock_holder(_file: &File) -> LockHolder {
    LockHolder::Unknown
}
