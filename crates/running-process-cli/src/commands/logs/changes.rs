//! Waits for changes of the files in a directory.

use std::io;
use std::path::Path;
use std::time::Duration;

/// Time between two looks where the system reports no event.
const INTERVAL: Duration = Duration::from_millis(100);

/// The changes of the files in a directory.
///
/// Linux reports each as an event. Other systems, and Linux without a watch left, are looked at each [`INTERVAL`].
pub(super) struct Changes {
    #[cfg(target_os = "linux")]
    events: Option<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Changes {
    /// Begins to watch `directory`.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let kinds = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE;
        let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let watched = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).and_then(|events| {
            add_watch(&events, directory, kinds | gone | WatchFlags::ONLYDIR)?;
            Ok(events)
        });
        match watched.map_err(io::Error::from) {
            Ok(events) => Ok(Self { events: Some(events) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // The limit of watches is reached, or a sandbox has none.
            Err(_) => Ok(Self { events: None }),
        }
    }

    /// Waits until a file may have changed. Returns `false` if the reader of standard output has closed its end.
    pub(super) fn wait(&self) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let stdout = io::stdout();
        // Of standard output only the end is of interest, which is always reported.
        let mut polled = vec![PollFd::new(&stdout, PollFlags::empty())];
        polled.extend(self.events.as_ref().map(|events| PollFd::new(events, PollFlags::IN)));
        let interval = Timespec::try_from(INTERVAL).ok().filter(|_| self.events.is_none());
        rustix::io::retry_on_intr(|| poll(&mut polled, interval.as_ref()))?;
        let is_read = polled[0].revents().is_empty();
        if let Some(events) = &self.events {
            take(events)?;
        }
        Ok(is_read)
    }
}

/// Takes the events that have arrived.
#[cfg(target_os = "linux")]
fn take(events: &std::os::fd::OwnedFd) -> io::Result<()> {
    use rustix::fs::inotify::{ReadFlags, Reader};
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(events, &mut buffer);
    loop {
        let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
        match reader.next() {
            Ok(event) if event.events().intersects(gone) => {
                return Err(io::Error::other("the directory of the log was removed or moved"));
            }
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Changes {
    /// Begins to watch `directory`.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        directory.metadata().map(|_| Self {})
    }

    /// Waits until a file may have changed.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as on Linux")]
    pub(super) fn wait(&self) -> io::Result<bool> {
        std::thread::sleep(INTERVAL);
        Ok(true)
    }
}
