//! Notification that a file was written to.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init, remove_watch};
use rustix::io::{read, retry_on_intr};

/// A wait for writes to a file: inotify(7).
#[derive(Debug)]
pub(crate) struct GrowthWatch {
    inotify: OwnedFd,
    watch: i32,
}

impl GrowthWatch {
    /// Watches `file`.
    ///
    /// # Errors
    ///
    /// The user has as many watches as allowed.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let inotify = init(CreateFlags::CLOEXEC)?;
        let watch = add(&inotify, file)?;
        Ok(Self { inotify, watch })
    }

    /// Watches `file` in the place of the file before.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub(crate) fn change_to(&mut self, file: &File) -> io::Result<()> {
        let watch = add(&self.inotify, file)?;
        if watch != self.watch {
            // It has ended if the file is gone.
            let _ = remove_watch(&self.inotify, self.watch);
        }
        self.watch = watch;
        Ok(())
    }

    /// Blocks until the file was written to, removed or moved, since this returned the last time.
    pub(crate) fn wait(&self) -> io::Result<()> {
        // Equal events in a row are one, so this takes all of them but for rare cases.
        let mut events = [0; 4096];
        retry_on_intr(|| read(&self.inotify, &mut events))?;
        Ok(())
    }
}

fn add(inotify: &OwnedFd, file: &File) -> io::Result<i32> {
    let events = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF;
    // The file at its path may be another one by now.
    Ok(add_watch(inotify, format!("/proc/self/fd/{}", file.as_raw_fd()), events)?)
}
