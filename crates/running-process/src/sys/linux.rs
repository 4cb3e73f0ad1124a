//! Linux: pidfd and `/proc`.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, retry_on_intr};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::image::ProcessImage;
use super::linux_clock::time_since_boot;
#[cfg(feature = "tokio")]
use super::readiness::readable;
use super::readiness::{is_ready, wait_ready};

/// The file with the kernel's random boot id.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Type of the filesystem that pidfds live on (`PID_FS_MAGIC` in `linux/magic.h`).
const PID_FS_MAGIC: u64 = 0x5049_4446;
/// The flag of a process that is about to exit (`PF_EXITING` in `linux/sched.h`).
const EXITING: u64 = 4;

/// Reads the boot id, once: no process outlives its boot.
pub(super) fn boot_id() -> io::Result<String> {
    static OWN: OnceLock<String> = OnceLock::new();
    if let Some(id) = OWN.get() {
        return Ok(id.clone());
    }
    let id = read(BOOT_ID).map_err(without_proc)?;
    if id.trim_ascii().is_empty() {
        let masked = format!("{BOOT_ID} is empty: it is masked in this container or sandbox");
        return Err(io::Error::new(io::ErrorKind::InvalidData, masked));
    }
    Ok(OWN.get_or_init(|| String::from_utf8_lossy(&id).trim().to_owned()).clone())
}

/// Opens the image through the calling thread: `/proc/self` shows no image once the first thread has ended.
pub(super) fn own_image() -> io::Result<ProcessImage> {
    open_image("/proc/thread-self/exe").map_err(without_proc)
}

pub(super) fn own_start_time() -> io::Result<u64> {
    start_time(&read("/proc/self/stat").map_err(without_proc)?)
}

/// Returns the time of day of a start time in ticks since boot.
pub(super) fn started_at(start_time: u64) -> Option<SystemTime> {
    let since_boot = Duration::from_millis(start_time.checked_mul(1000 / clock_ticks_per_second())?);
    let running = Duration::from_nanos(time_since_boot()?.try_into().ok()?);
    SystemTime::now().checked_sub(running)?.checked_add(since_boot)
}

pub(super) fn own_pid_namespace() -> io::Result<Option<u64>> {
    pid_namespace("/proc/thread-self/ns/pid").map_err(without_proc)
}

/// Explains a missing entry of the caller itself: there is no `/proc`.
fn without_proc(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        io::Error::other("the proc file system is not mounted at /proc, where Linux tells what a process is")
    } else {
        error
    }
}

/// Returns the inode that `link` names, as in `pid:[4026531836]` (namespaces(7)). Following the link would create it
/// first.
fn pid_namespace(link: &str) -> io::Result<Option<u64>> {
    let named = fs::read_link(link)?;
    let inode = named.to_str().and_then(|name| name.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok());
    let malformed =
        || io::Error::new(io::ErrorKind::InvalidData, "a link to a pid namespace has another form");
    inode.map(Some).ok_or_else(malformed)
}

/// Returns the content of a small file in `/proc`, whose size is not known. The kernel generates all of it for the
/// first read, so a read that does not fill its buffer is the only one.
fn read(path: &str) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut content = Vec::with_capacity(512);
    retry_on_intr(|| rustix::io::read(&file, spare_capacity(&mut content)))?;
    if content.len() == content.capacity() {
        file.take(1 << 20).read_to_end(&mut content)?;
    }
    Ok(content)
}

/// Opens the image by its link, which leads to the running image whatever stands at its path by now.
fn open_image(link: &str) -> io::Result<ProcessImage> {
    let file = File::open(link)?;
    let path = original_path(fs::read_link(link)?, &file.metadata()?);
    Ok(ProcessImage { path, file })
}

/// Returns the start time from the content of `/proc/PID/stat`: field 22 in `proc_pid_stat(5)`. The second field is the
/// name of the program in parentheses, which may contain parentheses and spaces. No later field does.
fn start_time(stat: &[u8]) -> io::Result<u64> {
    number_in_stat(stat, 22)
}

/// Returns the kernel's flags of the process (`PF_*` in `linux/sched.h`) from the content of `/proc/PID/stat`: field 9.
fn flags(stat: &[u8]) -> io::Result<u64> {
    number_in_stat(stat, 9)
}

/// Returns the letter of the state from the content of `/proc/PID/stat`: field 3.
fn state(stat: &[u8]) -> Option<u8> {
    field_in_stat(stat, 3)?.first().copied()
}

fn number_in_stat(stat: &[u8], field: usize) -> io::Result<u64> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat lacks a field");
    let field = field_in_stat(stat, field).map(str::from_utf8);
    field.and_then(|field| field.ok()?.parse().ok()).ok_or_else(malformed)
}

fn field_in_stat(stat: &[u8], field: usize) -> Option<&[u8]> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat[name_end + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    // Parsing starts at the third field.
    fields.nth(field - 3)
}

/// Returns the resident pages from the content of `/proc/PID/statm`: field 2 in `proc_pid_statm(5)`.
fn resident_pages(statm: &[u8]) -> io::Result<u64> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/statm lacks a field");
    let field = statm.split(u8::is_ascii_whitespace).nth(1).map(str::from_utf8);
    field.and_then(|field| field.ok()?.parse().ok()).ok_or_else(malformed)
}

/// Returns the original path of the running image `image`, from the text of the kernel's link.
///
/// The kernel appends " (deleted)" to the path of an image that was removed or replaced. A file may also bear such a
/// name; then that file is the running image itself.
fn original_path(link: PathBuf, image: &Metadata) -> PathBuf {
    const MARK: &[u8] = b" (deleted)";
    let Some(stripped) = link.as_os_str().as_bytes().strip_suffix(MARK) else { return link };
    let stands_there = |path: &Path| {
        fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (image.dev(), image.ino()))
    };
    if stands_there(&link) { link } else { PathBuf::from(std::ffi::OsString::from_vec(stripped.to_vec())) }
}

/// Returns what `read` finds in the directory of the process `number`, or in that of one of its threads.
///
/// The directory of a process is that of its first thread. Once that thread has ended, its directory shows neither
/// image nor file system, but those of the other threads do.
fn in_any_thread<T>(number: u32, read: impl Fn(&str) -> io::Result<T>) -> io::Result<T> {
    match read(&format!("/proc/{number}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            threads(number).find_map(|thread| read(&thread).ok()).ok_or(error)
        }
        found => found,
    }
}

/// Returns the directories of all threads of the process `number` except the first.
fn threads(number: u32) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{number}/task")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let others = names.filter(move |name| *name != number.to_string());
    others.map(move |name| format!("/proc/{number}/task/{name}"))
}

fn image_in(directory: &str) -> io::Result<Metadata> {
    fs::metadata(format!("{directory}/exe"))
}

#[derive(Debug)]
pub(super) struct ProcessHandle {
    pid: u32,
    pidfd: OwnedFd,
    /// The [number in `/proc`](Self::number_in_proc), once it was looked up.
    number: OnceLock<u32>,
    /// The [inode](Self::inode) of the pidfd, once it was looked up.
    inode: OnceLock<(u64, u64)>,
}

impl ProcessHandle {
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(Self::from_pidfd(pid, pidfd))),
            // Kernels return different errors for the number of a thread that is no process.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(Errno::NOSYS) => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "pidfd_open needs Linux 5.3 or later"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns a handle to the process of `pidfd`, whose number in this process's pid namespace is `pid`.
    pub(super) fn from_pidfd(pid: u32, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, number: OnceLock::new(), inode: OnceLock::new() }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the descriptor that is readable once the process has exited.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(super) fn known_same(&self, other: &Self) -> io::Result<Option<bool>> {
        Ok(self.inode()?.zip(other.inode()?).map(|(inode, other)| inode == other))
    }

    /// Returns the inode of the pidfd, which identifies the process for as long as this boot lasts. Returns `None`
    /// before Linux 6.9, where all pidfds have one inode. It is looked up once.
    fn inode(&self) -> io::Result<Option<(u64, u64)>> {
        // All pidfds are on the same filesystem.
        static UNIQUE: OnceLock<bool> = OnceLock::new();
        if let Some(inode) = self.inode.get() {
            return Ok(Some(*inode));
        }
        let unique = match UNIQUE.get() {
            Some(unique) => *unique,
            None => {
                let filesystem = retry_on_intr(|| rustix::fs::fstatfs(&self.pidfd))?.f_type;
                // The type is signed on some machines; the value is positive there, too.
                *UNIQUE.get_or_init(|| u64::try_from(filesystem).is_ok_and(|magic| magic == PID_FS_MAGIC))
            }
        };
        if !unique {
            return Ok(None);
        }
        let found = rustix::fs::fstat(&self.pidfd)?;
        Ok(Some(*self.inode.get_or_init(|| (found.st_dev, found.st_ino))))
    }

    pub(super) fn image_path(&self) -> io::Result<PathBuf> {
        self.in_proc(|directory| {
            let link = format!("{directory}/exe");
            Ok(original_path(fs::read_link(&link)?, &fs::metadata(&link)?))
        })
    }

    pub(super) fn open_image(&self) -> io::Result<ProcessImage> {
        self.in_proc(|directory| open_image(&format!("{directory}/exe")))
    }

    pub(super) fn image_metadata(&self) -> io::Result<Metadata> {
        self.in_proc(image_in)
    }

    pub(super) fn unguarded_image_metadata(&self) -> io::Result<Metadata> {
        in_any_thread(self.number_in_proc()?, image_in)
    }

    pub(super) fn standing_at(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.in_proc(|directory| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let root = Path::new(directory).join("root");
            let root = retry_on_intr(|| openat(CWD, &root, flags, Mode::empty()))?;
            match retry_on_intr(|| openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)) {
                Ok(file) => File::from(file).metadata().map(Some),
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    pub(super) fn start_time(&self) -> io::Result<u64> {
        self.in_proc(|directory| start_time(&read(&format!("{directory}/stat"))?))
    }

    pub(super) fn resident_bytes(&self) -> io::Result<u64> {
        let pages = self.in_proc(|directory| resident_pages(&read(&format!("{directory}/statm"))?))?;
        Ok(pages.saturating_mul(page_size() as u64))
    }

    /// Returns whether a signal or a debugger has stopped the process: field 3 in `proc_pid_stat(5)`.
    pub(super) fn is_stopped(&self) -> io::Result<bool> {
        self.in_proc(|directory| Ok(matches!(state(&read(&format!("{directory}/stat"))?), Some(b'T' | b't'))))
    }

    pub(super) fn pid_namespace(&self) -> io::Result<Option<u64>> {
        self.in_proc(|directory| pid_namespace(&format!("{directory}/ns/pid")))
    }

    /// Returns the status of a process that has exited and was not waited for, in the form of `waitpid(2)`: field 52 in
    /// `proc_pid_stat(5)`. Returns `None` if `/proc` does not show it. Another process may have got the number if this one was
    /// waited for.
    pub(super) fn zombie_status(&self) -> Option<i32> {
        let stat = read(&format!("/proc/{}/stat", self.number_in_proc().ok()?)).ok()?;
        number_in_stat(&stat, 52).ok()?.try_into().ok()
    }

    /// Returns the device number of the terminal that controls the process: field 7 in `proc_pid_stat(5)`. Returns `None` if there
    /// is none, or the process ignores SIGHUP.
    pub(super) fn terminal(&self) -> io::Result<Option<u64>> {
        self.in_proc(|directory| {
            let terminal = number_in_stat(&read(&format!("{directory}/stat"))?, 7)?;
            let status = fs::read_to_string(format!("{directory}/status"))?;
            let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            let ignored =
                ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
            // SIGHUP is the first signal.
            Ok((terminal != 0 && ignored & 1 == 0).then_some(terminal))
        })
    }

    /// Returns the control groups of the process, a line for each hierarchy (`cgroups(7)`).
    pub(super) fn cgroups(&self) -> io::Result<String> {
        self.in_proc(|directory| fs::read_to_string(format!("{directory}/cgroup")))
    }

    /// Returns the result of `read` for the directory of the process in `/proc`.
    fn in_proc<T>(&self, read: impl Fn(&str) -> io::Result<T>) -> io::Result<T> {
        // Either the number is that of a live process, or there is none.
        let found = self.number_in_proc().and_then(|number| in_any_thread(number, read));
        // The process is alive after the reads, so the number meant this process all the time.
        if self.has_exited()? {
            return Err(gone());
        }
        match found {
            // A process drops its image shortly before it has exited. A missing entry of any other process is hidden
            // (`hidepid` in proc(5)), or the process never had an image.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.is_ending()? {
                    return Err(gone());
                }
                let hidden = "/proc does not show what was asked about this process";
                Err(io::Error::new(io::ErrorKind::PermissionDenied, hidden))
            }
            found => found,
        }
    }

    pub(super) fn is_ending(&self) -> io::Result<bool> {
        Ok(self.is_exiting() || self.has_exited()?)
    }

    /// Returns whether every thread is exiting, so that none will run the program again.
    fn is_exiting(&self) -> bool {
        let flags = |directory: &str| read(&format!("{directory}/stat")).and_then(|stat| flags(&stat));
        self.number_in_proc().is_ok_and(|number| {
            flags(&format!("/proc/{number}")).is_ok_and(|flags| flags & EXITING != 0)
                // A thread without an entry has ended since the listing.
                && threads(number).all(|thread| flags(&thread).map_or(true, |flags| flags & EXITING != 0))
        })
    }

    pub(super) fn has_exited(&self) -> io::Result<bool> {
        is_ready(&mut [PollFd::new(&self.pidfd, PollFlags::IN)])
    }

    pub(super) fn wait_exit(&self, deadline: Option<Instant>) -> io::Result<bool> {
        wait_ready(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], deadline)
    }

    #[cfg(feature = "tokio")]
    pub(super) async fn exited(&self) -> io::Result<()> {
        readable(self.pidfd.as_fd()).await
    }

    pub(super) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Returns the number under which `/proc` shows this process. It differs from [`pid`](Self::pid) if `/proc` belongs
    /// to another pid namespace than this process, and a number of one must not be looked up in the other. It is looked
    /// up once: a process keeps its number for as long as it lives.
    fn number_in_proc(&self) -> io::Result<u32> {
        if let Some(number) = self.number.get() {
            return Ok(*number);
        }
        // "Pid:" in the information about a pidfd, pidfd_open(2), is not positive if there is no such number.
        let information = read(&format!("/proc/thread-self/fdinfo/{}", self.pidfd.as_raw_fd()))?;
        let mut lines = information.split(|byte| *byte == b'\n');
        let number = lines.find_map(|line| line.strip_prefix(b"Pid:"));
        let number = number
            .and_then(|number| str::from_utf8(number).ok()?.trim().parse().ok())
            .filter(|number| *number != 0)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "/proc does not show this process"))?;
        Ok(*self.number.get_or_init(|| number))
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the process has exited")
}
