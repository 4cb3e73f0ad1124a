//! Notification that a file was written to.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use rustix::event::kqueue::{Event, EventFilter, EventFlags, VnodeEvents, kevent, kqueue};
use rustix::io::{FdFlags, fcntl_setfd, retry_on_intr};

/// A wait for writes to a file: `EVFILT_VNODE` in kqueue(2).
#[derive(Debug)]
pub(crate) struct GrowthWatch {
    queue: OwnedFd,
    /// The system watches the file while this descriptor is open.
    _file: File,
}

impl GrowthWatch {
    /// Watches `file`.
    ///
    /// # Errors
    ///
    /// The process has no more descriptors.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let queue = kqueue()?;
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        let flags = VnodeEvents::WRITE | VnodeEvents::EXTEND | VnodeEvents::DELETE | VnodeEvents::RENAME;
        let watch = Event::new(
            EventFilter::Vnode { vnode: file.as_raw_fd(), flags },
            EventFlags::ADD | EventFlags::CLEAR,
            ptr::null_mut(),
        );
        let taken: &mut [Event] = &mut [];
        // SAFETY: the descriptor is kept open for as long as the queue.
        unsafe { kevent(&queue, &[watch], taken, None) }?;
        Ok(Self { queue, _file: file })
    }

    /// Watches `file` in the place of the file before.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub(crate) fn change_to(&mut self, file: &File) -> io::Result<()> {
        *self = Self::new(file)?;
        Ok(())
    }

    /// Blocks until the file was written to, removed or moved, since this returned the last time.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let none = EventFilter::Vnode { vnode: -1, flags: VnodeEvents::empty() };
        let mut events = [Event::new(none, EventFlags::empty(), ptr::null_mut())];
        // SAFETY: nothing is added, and what is taken refers to the descriptor that this value keeps open.
        retry_on_intr(|| unsafe { kevent(&self.queue, &[], &mut events[..], None) })?;
        Ok(())
    }
}
