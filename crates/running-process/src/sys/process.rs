//! Questions about processes.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use super::image::ProcessImage;
use super::imp;

/// Returns an identifier of the current boot of this machine, in the form that the published peers use.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] where the system has no such identifier; otherwise the error of reading it.
pub(crate) fn boot_id() -> io::Result<String> {
    imp::boot_id()
}

/// Opens the executable image of this process.
///
/// # Platform-specific behavior
///
/// As for [`ProcessHandle::open_image`].
///
/// # Errors
///
/// The error of finding or opening the image.
pub(crate) fn own_image() -> io::Result<ProcessImage> {
    imp::own_image()
}

/// Returns the time at which the kernel started this process: clock ticks since boot on Linux, microseconds since the
/// Unix epoch on macOS and FreeBSD, 100 nanoseconds since 1601 on Windows.
///
/// # Platform-specific behavior
///
/// It never changes while the process lives, except on FreeBSD, where it moves with the wall clock when that is set.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] where the system cannot tell; otherwise the error of the system.
pub(crate) fn own_start_time() -> io::Result<u64> {
    imp::own_start_time()
}

/// Returns the time of day of a [start time](ProcessHandle::start_time); `None` if the system's clocks do not tell.
///
/// # Platform-specific behavior
///
/// Linux counts from the boot, and the wall clock may have been set since.
pub(crate) fn started_at(start_time: u64) -> Option<SystemTime> {
    imp::started_at(start_time)
}

/// Returns the inode of the pid namespace of this process; `None` on systems that have none.
///
/// # Errors
///
/// The error of the system.
pub(crate) fn own_pid_namespace() -> io::Result<Option<u64>> {
    imp::own_pid_namespace()
}

/// Returns the path of the image that `process` runs, as the operating system tells it.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] if the process has exited, and only then; [`io::ErrorKind::PermissionDenied`] if this
/// user may not know; [`io::ErrorKind::Unsupported`] where the system cannot tell.
pub(crate) fn process_image(process: &ProcessHandle) -> io::Result<PathBuf> {
    process.0.image_path()
}

/// A reference to one process. It still means that process when its id is given to another one.
///
/// # Platform-specific behavior
///
/// Linux uses a pidfd, Windows a process handle. macOS and FreeBSD watch the process with a kqueue filter that is bound
/// to it at [`open`](Self::open). Only signals go by number there, after a check that the process has not exited. In
/// between the process could exit, be reaped by its parent and have its id given away; these systems offer no call
/// without this window.
#[derive(Debug)]
pub(crate) struct ProcessHandle(pub(super) imp::ProcessHandle);

impl ProcessHandle {
    /// Opens a handle to the process `pid`; returns `None` if there is none. `0` and ids above [`i32::MAX`] name no
    /// process.
    ///
    /// A zombie can be opened (except on macOS, where it counts as gone) and has exited.
    ///
    /// # Errors
    ///
    /// The error of the system, other than "no such process".
    pub(crate) fn open(pid: u32) -> io::Result<Option<Self>> {
        if pid == 0 || i32::try_from(pid).is_err() {
            return Ok(None);
        }
        Ok(imp::ProcessHandle::open(pid)?.map(Self))
    }

    /// Returns the process id that the handle was opened with.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Returns whether the process has exited. A zombie has: its parent has not waited for it yet.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn has_exited(&self) -> io::Result<bool> {
        self.0.has_exited()
    }

    /// Returns whether the process has exited or is about to, so that its connections may be closed already.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux reports a process that is about to exit: none of its threads runs the program any more. Elsewhere this is
    /// [`has_exited`](Self::has_exited).
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn is_ending(&self) -> io::Result<bool> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.0.is_ending();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        self.0.has_exited()
    }

    /// Returns whether a signal or a debugger has stopped the process.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if the process has exited; [`io::ErrorKind::Unsupported`] where this does not ask the system: only
    /// Linux tells; otherwise the error of the system.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        allow(clippy::unused_self, reason = "the system is not asked")
    )]
    pub(crate) fn is_stopped(&self) -> io::Result<bool> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.0.is_stopped();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Returns whether both handles mean one process: not two that had the same id, one after the other.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows, and Linux from 6.9, can answer for processes that have exited, too.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if both have the same id, have exited, and the system can no longer tell; otherwise
    /// the error of the system.
    pub(crate) fn is_same_process(&self, other: &Self) -> io::Result<bool> {
        if self.pid() != other.pid() {
            return Ok(false);
        }
        match self.0.known_same(&other.0)? {
            Some(same) => Ok(same),
            None => self.is_same_living_process(other),
        }
    }

    /// Compares handles with the same id by liveness: they mean one process if first `self` and then `other` is alive.
    /// Both were opened before the first check, so at that moment both processes had the id, and only one can have it.
    pub(super) fn is_same_living_process(&self, other: &Self) -> io::Result<bool> {
        let first_look = self.has_exited()?;
        match other.has_exited()? {
            false => Ok(!first_look),
            true if self.has_exited()? => {
                Err(io::Error::new(io::ErrorKind::NotFound, "both processes have exited"))
            }
            true => Ok(false),
        }
    }

    /// Returns the time at which the process started, in a unit of the system. Two processes that had the same id
    /// differ in it.
    ///
    /// # Platform-specific behavior
    ///
    /// On Linux clock ticks since boot (field 22 in `proc_pid_stat(5)`; a process in another time namespace may be told
    /// another number), on macOS and FreeBSD microseconds since 1970, on Windows the creation time as a `FILETIME`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if the process has exited, and only then; [`io::ErrorKind::PermissionDenied`] if
    /// this user may not know; [`io::ErrorKind::Unsupported`] where the system cannot tell.
    pub(crate) fn start_time(&self) -> io::Result<u64> {
        self.0.start_time()
    }

    /// Returns the bytes of memory that the process has resident: its pages in RAM, those that it shares with others
    /// included.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux counts in batches for each processor, so the number is off by some hundred KiB (`RssAnon` in
    /// `proc_pid_status(5)`). On Windows it is the working set.
    ///
    /// # Errors
    ///
    /// As for [`start_time`](Self::start_time).
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        self.0.resident_bytes()
    }

    /// Returns the metadata of the image that the process runs, without opening it. Returns `None` where the system
    /// does not lead to the running image itself.
    ///
    /// # Errors
    ///
    /// As for [`start_time`](Self::start_time).
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "only Linux leads to the image")
    )]
    pub(crate) fn image_metadata(&self) -> io::Result<Option<Metadata>> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.0.image_metadata().map(Some);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Ok(None)
    }

    /// [`image_metadata`](Self::image_metadata) in one system call. The answer counts only if the process has not exited
    /// after this.
    ///
    /// # Errors
    ///
    /// The error of the system, which means nothing if the process has exited.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "only Linux leads to the image")
    )]
    pub(crate) fn unguarded_image_metadata(&self) -> io::Result<Option<Metadata>> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.0.unguarded_image_metadata().map(Some);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Ok(None)
    }

    /// Returns the metadata of the file at `path` as the process itself looks it up, in its own mounts and below its
    /// own root directory; `None` if there is none.
    ///
    /// # Platform-specific behavior
    ///
    /// Only Linux (5.6 and later) lets another process look.
    ///
    /// # Errors
    ///
    /// As for [`start_time`](Self::start_time), or the path cannot be followed.
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android")),
        allow(clippy::unused_self, unused_variables, reason = "only Linux lets another process look")
    )]
    pub(crate) fn standing_at(&self, path: &Path) -> io::Result<Option<Metadata>> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.0.standing_at(path);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Opens the executable image that the process runs.
    ///
    /// # Platform-specific behavior
    ///
    /// On Linux this is the running image, also when its file was replaced or removed. Elsewhere it is the file that is
    /// now at the path that the system names.
    ///
    /// # Errors
    ///
    /// As for [`start_time`](Self::start_time); otherwise the error of opening the file.
    pub(crate) fn open_image(&self) -> io::Result<ProcessImage> {
        self.0.open_image()
    }

    /// Returns the pid namespace of the process, as a number that is unique at any one time; `None` on systems that
    /// have none.
    ///
    /// # Errors
    ///
    /// As for [`start_time`](Self::start_time).
    pub(crate) fn pid_namespace(&self) -> io::Result<Option<u64>> {
        self.0.pid_namespace()
    }

    /// Blocks until the process has exited, and returns `true`, or until `deadline`, and returns `false`.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn wait_exit(&self, deadline: Option<Instant>) -> io::Result<bool> {
        self.0.wait_exit(deadline)
    }

    /// Waits until the process has exited.
    ///
    /// # Errors
    ///
    /// The error of the system.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that drives I/O.
    #[cfg(feature = "tokio")]
    pub(crate) async fn exited(&self) -> io::Result<()> {
        self.0.exited().await
    }

    /// Asks the process to end: SIGTERM. Does nothing for a process that has ended.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] on Windows, which has no such request; otherwise the error of the system.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.0.terminate()
    }

    /// Ends the process at once: SIGKILL, or `TerminateProcess`. Does nothing for a process that has ended, and returns
    /// before the process has exited.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.0.kill()
    }
}
