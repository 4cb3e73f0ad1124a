//! The watch of a listener's name.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, statat};

use super::directory::FileIdentity;
use crate::sys::NameWatch;

/// A watch that reports when the socket at a path is not the listener's any more. It makes no system call while nothing
/// happens there.
#[derive(Debug)]
pub(super) struct Watch {
    events: NameWatch,
    path: PathBuf,
    identity: FileIdentity,
    /// Changes from before the watch began have been checked.
    looked: AtomicBool,
    lost: AtomicBool,
}

impl Watch {
    /// Watches the socket at `path` with the identity `identity`. Returns `None` if the system cannot watch it.
    pub(super) fn new(path: PathBuf, identity: FileIdentity) -> Option<Self> {
        let events = NameWatch::new(&path).ok()?;
        Some(Self { events, path, identity, looked: AtomicBool::new(false), lost: AtomicBool::new(false) })
    }

    /// Returns whether a change from before the watch may have been missed; `false` from the second call on.
    pub(super) fn is_new(&self) -> bool {
        !self.looked.load(Ordering::Relaxed) && !self.looked.swap(true, Ordering::Relaxed)
    }

    /// Returns whether the socket has gone from the path since the last call. Call it once the watch is readable.
    pub(super) fn is_lost(&self) -> bool {
        self.events.clear();
        let lost = find(&self.path) != Some(self.identity);
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
