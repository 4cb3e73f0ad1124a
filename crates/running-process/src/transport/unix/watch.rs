//! The watch of a listener's name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, statat};

use super::super::instance_lock::HeldLock;
use super::directory::FileIdentity;
use crate::sys::NameWatch;

/// A watch that reports when the socket at a path is not the listener's any more. It makes no system call while nothing
/// happens there.
#[derive(Debug)]
pub(super) struct Watch {
    events: NameWatch,
    path: PathBuf,
    identity: FileIdentity,
    /// The lock of a service. Every change in its directory is reported, also if the socket is still there.
    lock: Option<HeldLock>,
    /// Changes from before the watch began have been checked.
    looked: AtomicBool,
    lost: AtomicBool,
}

impl Watch {
    /// Watches the socket at `path` with the identity `identity`. With `lock`, also the files that are removed from its directory.
    ///
    /// # Errors
    ///
    /// As [`NameWatch::new`].
    pub(super) fn new(path: PathBuf, identity: FileIdentity, lock: Option<HeldLock>) -> io::Result<Self> {
        let lock_path = lock.as_ref().map(HeldLock::path);
        let events = NameWatch::new(&path, lock_path.as_deref().and_then(Path::parent))?;
        let (looked, lost) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self { events, path, identity, lock, looked, lost })
    }

    /// Returns whether a change from before the watch may have been missed; `false` from the second call on.
    pub(super) fn is_new(&self) -> bool {
        !self.looked.load(Ordering::Relaxed) && !self.looked.swap(true, Ordering::Relaxed)
    }

    /// Returns whether the socket has gone from the path since the last call, or a file that is watched as well may have. Call it
    /// once the watch is readable.
    pub(super) fn is_lost(&self) -> bool {
        let changed = self.events.clear();
        let lost = find(&self.path) != Some(self.identity);
        if let Some(lock) = &self.lock {
            // The successor makes again what is missing.
            if !lock.is_owner() {
                return false;
            }
            return changed || lost || !lock.is_in_place();
        }
        !self.lost.swap(lost, Ordering::Relaxed) && lost
    }
}

pub(super) fn find(path: &Path) -> Option<FileIdentity> {
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok().map(|found| FileIdentity::of(&found))
}

/// Readable once the name may have changed.
impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}
