//! Questions about processes.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::image::ProcessImage;
use super::imp;

/// An identifier of the current boot of this machine, in the form that the published peers use.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] where the system has no such identifier; otherwise what reading it gave.
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
/// What finding or opening the image gave.
pub(crate) fn own_image() -> io::Result<ProcessImage> {
    imp::own_image()
}

/// When the kernel started this process: clock ticks since boot on Linux, microseconds since the Unix epoch on macOS and
/// FreeBSD, 100 nanoseconds since 1601 on Windows.
///
/// # Platform-specific behavior
///
/// It never changes while the process lives, except on FreeBSD, where it moves with the wall clock when that is set.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] where the system cannot say; otherwise what asking gave.
pub(crate) fn own_start_time() -> io::Result<u64> {
    imp::own_start_time()
}

/// The inode of the pid namespace of this process; `None` on systems that have none.
///
/// # Errors
///
/// What asking gave.
pub(crate) fn own_pid_namespace() -> io::Result<Option<u64>> {
    imp::own_pid_namespace()
}

/// The path of the image that `process` runs, as the operating system tells it.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] if the process has exited, and only then; [`io::ErrorKind::PermissionDenied`] if this
/// user may not know; [`io::ErrorKind::Unsupported`] where the system cannot say.
pub(crate) fn process_image(process: &ProcessHandle) -> io::Result<PathBuf> {
    process.0.image_path()
}

/// A reference to one process that stays with it: when the process is gone and its id is given to another one,
/// the handle still means the first.
///
/// # Platform-specific behavior
///
/// Linux uses a pidfd, Windows a process handle. macOS and FreeBSD watch the process with a kqueue filter that is
/// bound to it at [`open`](Self::open); only sending a signal goes by number there, after a check that the process
/// has not exited. Between the check and the signal the process could exit, be reaped by its parent and have its
/// id given away; the systems offer no call without this window.
#[derive(Debug)]
pub(crate) struct ProcessHandle(pub(super) imp::ProcessHandle);

impl ProcessHandle {
    /// Takes hold of the process `pid`; `None` if there is none. `0` and ids above [`i32::MAX`] name no process.
    ///
    /// A zombie can be opened (except on macOS, where it counts as gone) and has exited.
    ///
    /// # Errors
    ///
    /// What the system said, if that was not "no such process".
    pub(crate) fn open(pid: u32) -> io::Result<Option<Self>> {
        if pid == 0 || i32::try_from(pid).is_err() {
            return Ok(None);
        }
        Ok(imp::ProcessHandle::open(pid)?.map(Self))
    }

    /// The process id that the handle was opened with.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Whether the process has exited. A zombie, which its parent has not waited for yet, has.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn has_exited(&self) -> io::Result<bool> {
        self.0.has_exited()
    }

    /// Returns whether the process has exited or is about to, so that its connections may be closed already.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux tells of a process that is about to exit: none of its threads runs the program any more. Elsewhere this is
    /// [`has_exited`](Self::has_exited).
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn is_ending(&self) -> io::Result<bool> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.0.is_ending();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        self.0.has_exited()
    }

    /// Whether both handles mean one process: not two that had the same id, one after the other.
    ///
    /// # Platform-specific behavior
    ///
    /// On Windows and on Linux 6.9 and later the answer is also there for processes that have exited.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if both have the same id, have exited, and the system can no longer tell; otherwise
    /// what it said.
    pub(crate) fn is_same_process(&self, other: &Self) -> io::Result<bool> {
        if self.pid() != other.pid() {
            return Ok(false);
        }
        match self.0.known_same(&other.0)? {
            Some(same) => Ok(same),
            None => self.is_same_living_process(other),
        }
    }

    /// For handles with the same id. That first `self` and then `other` is seen alive is proof: both had been opened
    /// before the first look, so at that moment both processes had the id, and only one can.
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

    /// When the process started, in a unit of the system's own. Two processes that had the same id differ in it.
    ///
    /// # Platform-specific behavior
    ///
    /// On Linux clock ticks since boot (field 22 in `proc_pid_stat(5)`; a process in another time namespace may be told
    /// another number), on macOS and FreeBSD microseconds since 1970, on Windows the creation time as a `FILETIME`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] if the process has exited, and only then; [`io::ErrorKind::PermissionDenied`] if this
    /// user may not know; [`io::ErrorKind::Unsupported`] where the system cannot say.
    pub(crate) fn start_time(&self) -> io::Result<u64> {
        self.0.start_time()
    }

    /// What the file system says of the image that the process runs, without opening it; `None` where the system does not
    /// lead to the image that runs, whatever stands at its path by now.
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

    /// Returns what stands at `path` where the process itself looks it up, in its own mounts and below its own root
    /// directory; `None` if nothing does.
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
    /// On Linux this is the image that runs, also when its file was replaced or removed. Elsewhere it is what stands
    /// now at the path that the system names.
    ///
    /// # Errors
    ///
    /// As for [`start_time`](Self::start_time); otherwise what opening the file gave.
    pub(crate) fn open_image(&self) -> io::Result<ProcessImage> {
        self.0.open_image()
    }

    /// The pid namespace that the process runs in, as a number that is unique at any one time; `None` where there is no
    /// such thing.
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
    /// What the system said.
    pub(crate) fn wait_exit(&self, deadline: Option<Instant>) -> io::Result<bool> {
        self.0.wait_exit(deadline)
    }

    /// Waits until the process has exited.
    ///
    /// # Errors
    ///
    /// What the system said.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that drives I/O.
    #[cfg(feature = "tokio")]
    pub(crate) async fn exited(&self) -> io::Result<()> {
        self.0.exited().await
    }

    /// Asks the process to end: SIGTERM. For a process that is already gone this does nothing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] on Windows, which has no such request; otherwise what the system said.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        self.0.terminate()
    }

    /// Ends the process at once: SIGKILL, or `TerminateProcess`. For a process that is already gone this does
    /// nothing. It returns before the process has exited.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.0.kill()
    }
}
