//! Notification that a file was removed, replaced or moved.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr;
use std::time::Duration;

use rustix::event::kqueue::{Event, EventFilter, EventFlags, VnodeEvents, kevent, kqueue};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

/// A descriptor that becomes readable when the name of a file may have changed: `EVFILT_VNODE` in kqueue(2).
#[derive(Debug)]
pub(crate) struct NameWatch {
    queue: OwnedFd,
    /// The system watches the directories while they are open.
    _directories: Vec<File>,
}

impl NameWatch {
    /// Watches the directory of `path`, since a socket cannot be opened. The system reports every name that comes or
    /// goes there, and in the directory `all`. It does not report that a directory further up was moved.
    ///
    /// # Errors
    ///
    /// A directory cannot be opened for reading.
    pub(crate) fn new(path: &Path, all: Option<&Path>) -> io::Result<Self> {
        let queue = kqueue()?;
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        let mut directories = Vec::new();
        for path in [path.parent(), all].into_iter().flatten() {
            let directory = File::open(path)?;
            let flags = VnodeEvents::WRITE | VnodeEvents::DELETE | VnodeEvents::RENAME | VnodeEvents::REVOKE;
            let watch = Event::new(
                EventFilter::Vnode { vnode: directory.as_raw_fd(), flags },
                EventFlags::ADD | EventFlags::CLEAR,
                ptr::null_mut(),
            );
            let taken: &mut [Event] = &mut [];
            // SAFETY: the descriptor is kept open for as long as the queue.
            unsafe { kevent(&queue, &[watch], taken, None) }?;
            directories.push(directory);
        }
        Ok(Self { queue, _directories: directories })
    }

    /// Makes the descriptor unreadable until the next change. Returns whether there was one.
    pub(crate) fn clear(&self) -> bool {
        let none = EventFilter::Vnode { vnode: -1, flags: VnodeEvents::empty() };
        let mut events = [Event::new(none, EventFlags::empty(), ptr::null_mut())];
        let mut changed = false;
        loop {
            // SAFETY: nothing is added, and what is taken refers to the descriptor that this value keeps open.
            match unsafe { kevent(&self.queue, &[], &mut events[..], Some(Duration::ZERO)) } {
                Ok(1..) => changed = true,
                Err(Errno::INTR) => {}
                _ => return changed,
            }
        }
    }
}

impl AsFd for NameWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
