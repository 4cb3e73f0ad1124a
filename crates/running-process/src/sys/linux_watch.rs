//! Notification that a file was removed, replaced or moved.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::{Errno, read};

/// A descriptor that becomes readable when the name of a file may have changed: inotify(7).
#[derive(Debug)]
pub(crate) struct NameWatch(OwnedFd);

impl NameWatch {
    /// Watches the file at `path` and its directory. Events of other files there are not reported, so nothing wakes
    /// while the name stays. The kernel does not report that a directory further up was moved. In the directory `all`, each
    /// file is reported that is removed or moved.
    ///
    /// # Errors
    ///
    /// The file is not there, or the user has as many watches as allowed.
    pub(crate) fn new(path: &Path, all: Option<&Path>) -> io::Result<Self> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Removing the name of a file that is still in use reports no deletion, but a change of the number of names, an
        // attribute.
        let own = WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        add_watch(&inotify, path, own | WatchFlags::DONT_FOLLOW)?;
        if let Some(directory) = path.parent() {
            add_watch(&inotify, directory, WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF)?;
        }
        if let Some(directory) = all {
            let files = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
            add_watch(&inotify, directory, files | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF)?;
        }
        Ok(Self(inotify))
    }

    /// Makes the descriptor unreadable until the next change. Returns whether there was one.
    pub(crate) fn clear(&self) -> bool {
        let mut events = [0; 4096];
        let mut changed = false;
        loop {
            match read(&self.0, &mut events) {
                Ok(1..) => changed = true,
                Err(Errno::INTR) => {}
                _ => return changed,
            }
        }
    }
}

impl AsFd for NameWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
