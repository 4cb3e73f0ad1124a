//! The holder of a lock.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::fs::File;

/// The process that holds a lock which this process could not take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(dead_code, reason = "only Linux tells")]
pub(crate) enum LockHolder {
    /// The process that took it.
    Owner { pid: u32 },
    /// The owner has ended, or gave the lock away. These processes, at least one, have its open file: children that it
    /// forked, and processes that it passed the descriptor to.
    Inherited { pids: Vec<u32> },
    /// The system does not tell.
    Unknown,
}

impl LockHolder {
    /// Returns a process that holds the lock; `None` if the system does not tell.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pids().first().copied()
    }

    /// Returns the processes that hold the lock, as far as the system tells.
    pub(crate) fn pids(&self) -> &[u32] {
        match self {
            Self::Owner { pid } => std::slice::from_ref(pid),
            Self::Inherited { pids } => pids,
            Self::Unknown => &[],
        }
    }
}

/// Returns the process that holds the lock on `file`.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn lock_holder(_file: &File) -> LockHolder {
    LockHolder::Unknown
}
