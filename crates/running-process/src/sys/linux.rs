//! Linux: pidfd and `/proc`.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{OwnImage, wait_ready};

pub(super) fn boot_id() -> io::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

pub(super) fn own_image() -> io::Result<OwnImage> {
    // Opened rather than resolved: the link leads to the running image whatever stands at its path by now.
    let file = File::open("/proc/self/exe")?;
    let path = original_path(fs::read_link("/proc/self/exe")?, &file.metadata()?);
    Ok(OwnImage { path, file })
}

pub(super) fn process_image(process: &ProcessHandle) -> io::Result<PathBuf> {
    let image = process.number_in_proc().and_then(|number| {
        let link = format!("/proc/{number}/exe");
        Ok(original_path(fs::read_link(&link)?, &fs::metadata(&link)?))
    });
    // Alive after the reads: the number meant this process all the time.
    if process.has_exited()? {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the process has exited"));
    }
    match image {
        // A missing entry of a living process is a hidden one (`hidepid` in proc(5)), or it runs no image.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "/proc does not show the image of this process",
        )),
        image => image,
    }
}

/// The path at which the running image `image` once stood, from what the kernel's link says.
///
/// The kernel marks a link to an image that has been removed or replaced with " (deleted)". A file may also bear
/// such a name; then it is the running image itself that stands there.
fn original_path(link: PathBuf, image: &fs::Metadata) -> PathBuf {
    const MARK: &[u8] = b" (deleted)";
    let Some(stripped) = link.as_os_str().as_bytes().strip_suffix(MARK) else { return link };
    let stands_there = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (image.dev(), image.ino()))
    };
    if stands_there(&link) { link } else { PathBuf::from(std::ffi::OsString::from_vec(stripped.to_vec())) }
}

#[derive(Debug)]
pub(super) struct ProcessHandle {
    pid: u32,
    pidfd: OwnedFd,
}

impl ProcessHandle {
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(Self { pid, pidfd })),
            // Kernels differ in what they say of a number that is a thread, not a process.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(Errno::NOSYS) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "pidfd_open needs Linux 5.3 or later"))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn has_exited(&self) -> io::Result<bool> {
        self.wait_exit(Some(Instant::now()))
    }

    pub(super) fn wait_exit(&self, deadline: Option<Instant>) -> io::Result<bool> {
        wait_ready(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], deadline)
    }

    pub(super) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// The number under which `/proc` shows this process. It differs from [`pid`](Self::pid) if `/proc` belongs to
    /// another pid namespace than this process; a number of one must not be looked up in the other.
    fn number_in_proc(&self) -> io::Result<u32> {
        // "Pid:" in the information about a pidfd, pidfd_open(2): not positive if there is no such number.
        let information = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.pidfd.as_raw_fd()))?;
        let number = information.lines().find_map(|line| line.strip_prefix("Pid:"));
        number
            .and_then(|number| number.trim().parse().ok())
            .filter(|number| *number != 0)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "/proc does not show this process"))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
