//! macOS and FreeBSD: kqueue, sysctl and libproc.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::kqueue::{
    Event, EventFilter, EventFlags, ProcessEvents, UserDefinedFlags, UserFlags, kevent, kqueue,
};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};

use super::image::ProcessImage;
#[cfg(feature = "tokio")]
use super::readiness::readable;
use super::readiness::wait_ready;

pub(super) fn boot_id() -> io::Result<String> {
    const SYSTEM: &str = if cfg!(target_os = "macos") { "macos" } else { "freebsd" };
    let mut time = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut size = size_of::<libc::timeval>();
    let name: &CStr = c"kern.boottime";
    // SAFETY: `name` ends in NUL, the output buffer is `time`, exclusively borrowed and `size` bytes long, and no
    // new value is set.
    let result = unsafe {
        libc::sysctlbyname(name.as_ptr(), ptr::from_mut(&mut time).cast(), &raw mut size, ptr::null_mut(), 0)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if size != size_of::<libc::timeval>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "kern.boottime is not a timeval"));
    }
    Ok(format!("{SYSTEM}-boot-{}-{}", time.tv_sec, time.tv_usec))
}

pub(super) fn own_image() -> io::Result<ProcessImage> {
    open_image(std::env::current_exe()?)
}

fn open_image(path: PathBuf) -> io::Result<ProcessImage> {
    let file = File::open(&path)?;
    Ok(ProcessImage { path, file })
}

pub(super) fn own_start_time() -> io::Result<u64> {
    start_time_of(rustix::process::getpid())
}

/// Returns the time of day of a start time in microseconds since 1970.
pub(super) fn started_at(start_time: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(start_time))
}

// The portable surface has errors and a namespace here.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn own_pid_namespace() -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(target_os = "macos")]
fn image_of(pid: Pid) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;

    const CAPACITY: u32 = libc::PROC_PIDPATHINFO_MAXSIZE.cast_unsigned();
    let mut path = vec![0u8; CAPACITY as usize];
    // SAFETY: the buffer is exclusively borrowed and `CAPACITY` bytes long.
    let length =
        unsafe { libc::proc_pidpath(pid.as_raw_nonzero().get(), path.as_mut_ptr().cast(), CAPACITY) };
    match usize::try_from(length) {
        Ok(length) if length > 0 => {
            path.truncate(length);
            Ok(PathBuf::from(std::ffi::OsString::from_vec(path)))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(target_os = "freebsd")]
fn image_of(pid: Pid) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;

    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PATHNAME, pid.as_raw_nonzero().get()];
    let mut path = vec![0u8; libc::PATH_MAX.cast_unsigned() as usize];
    let mut size = path.len();
    // SAFETY: `name` has the length that is given, the output buffer is `path`, exclusively borrowed and `size`
    // bytes long, and no new value is set.
    let result = unsafe {
        libc::sysctl(name.as_ptr(), 4, path.as_mut_ptr().cast(), &raw mut size, ptr::null_mut(), 0)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // The size counts the NUL at the end. A size of zero means that the kernel no longer knows a name.
    path.truncate(size.saturating_sub(1));
    if path.is_empty() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel knows no path of the image"));
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(path)))
}

#[cfg(target_os = "macos")]
fn start_time_of(pid: Pid) -> io::Result<u64> {
    // SAFETY: a C struct of integers, the one of this flavor.
    let found: libc::proc_bsdinfo = unsafe { info_of(pid, libc::PROC_PIDTBSDINFO) }?;
    Ok(found.pbi_start_tvsec * 1_000_000 + found.pbi_start_tvusec)
}

#[cfg(target_os = "macos")]
fn resident_bytes_of(pid: Pid) -> io::Result<u64> {
    // SAFETY: a C struct of integers, the one of this flavor.
    let found: libc::proc_taskinfo = unsafe { info_of(pid, libc::PROC_PIDTASKINFO) }?;
    Ok(found.pti_resident_size)
}

/// Returns what the kernel tells of a process.
///
/// # Safety
///
/// `T` is the C struct of `flavor`, and zeros are a value of it.
#[cfg(target_os = "macos")]
unsafe fn info_of<T>(pid: Pid, flavor: libc::c_int) -> io::Result<T> {
    let mut found = MaybeUninit::<T>::zeroed();
    let size = libc::c_int::try_from(size_of::<T>()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the buffer is exclusively borrowed and `size` bytes long.
    let length =
        unsafe { libc::proc_pidinfo(pid.as_raw_nonzero().get(), flavor, 0, found.as_mut_ptr().cast(), size) };
    if length != size {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just filled the struct, which is the one of `flavor`.
    Ok(unsafe { found.assume_init() })
}

#[cfg(target_os = "freebsd")]
fn start_time_of(pid: Pid) -> io::Result<u64> {
    let start = info_of(pid)?.ki_start;
    let (seconds, micros) = (u64::try_from(start.tv_sec), u64::try_from(start.tv_usec));
    match (seconds, micros) {
        (Ok(seconds), Ok(micros)) => Ok(seconds * 1_000_000 + micros),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the start time is before 1970")),
    }
}

#[cfg(target_os = "freebsd")]
fn resident_bytes_of(pid: Pid) -> io::Result<u64> {
    let pages = u64::try_from(info_of(pid)?.ki_rssize)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the resident set has a negative size"))?;
    Ok(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Returns what the kernel tells of a process.
#[cfg(target_os = "freebsd")]
fn info_of(pid: Pid) -> io::Result<libc::kinfo_proc> {
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid.as_raw_nonzero().get()];
    let mut found = MaybeUninit::<libc::kinfo_proc>::zeroed();
    let mut size = size_of::<libc::kinfo_proc>();
    // SAFETY: `name` has the length that is given, the output buffer is `found`, exclusively borrowed and `size` bytes
    // long, and no new value is set.
    let result = unsafe {
        libc::sysctl(name.as_ptr(), 4, found.as_mut_ptr().cast(), &raw mut size, ptr::null_mut(), 0)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if size != size_of::<libc::kinfo_proc>() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the kernel knows no such process"));
    }
    // SAFETY: a C struct of integers and pointers, which the kernel has just filled.
    Ok(unsafe { found.assume_init() })
}

/// A kqueue with one filter, bound to the process when the handle is opened.
///
/// The exit event is never taken out of the queue. So once the process has exited the queue stays readable, for every
/// thread that waits and for every later check.
#[derive(Debug)]
pub(super) struct ProcessHandle {
    number: Pid,
    queue: OwnedFd,
}

impl ProcessHandle {
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let queue = kqueue()?;
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        let watch = Event::new(
            EventFilter::Proc { pid: number, flags: ProcessEvents::EXIT },
            EventFlags::ADD,
            ptr::null_mut(),
        );
        let taken: &mut [Event] = &mut [];
        // SAFETY: the filter names a process, not a descriptor that would have to outlive the queue.
        match unsafe { kevent(&queue, &[watch], taken, None) } {
            Ok(_) => Ok(Some(Self { number, queue })),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.number.as_raw_nonzero().get().cast_unsigned()
    }

    /// Returns a handle to the child of another process that has exited and was not waited for: macOS opens none.
    pub(super) fn ended(pid: u32) -> io::Result<Self> {
        const ANY: isize = 1;
        let gone = || io::Error::new(io::ErrorKind::NotFound, "no process has this number");
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let queue = kqueue()?;
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        // An event that has happened, and is never taken out of the queue, in place of the exit.
        let event = |how, flags| {
            let user_flags = UserDefinedFlags::new(0);
            Event::new(EventFilter::User { ident: ANY, flags, user_flags }, how, ptr::null_mut())
        };
        let changes =
            [event(EventFlags::ADD, UserFlags::empty()), event(EventFlags::empty(), UserFlags::TRIGGER)];
        let taken: &mut [Event] = &mut [];
        // SAFETY: the filter names no descriptor that would have to outlive the queue.
        unsafe { kevent(&queue, &changes, taken, None) }?;
        Ok(Self { number, queue })
    }

    /// Returns the descriptor that is readable once the process has exited.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    /// Returns no answer: the system can only compare processes that live.
    // The portable surface has errors, a receiver and an answer here.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)]
    pub(super) fn known_same(&self, _other: &Self) -> io::Result<Option<bool>> {
        Ok(None)
    }

    pub(super) fn image_path(&self) -> io::Result<PathBuf> {
        self.with_number(image_of)
    }

    pub(super) fn open_image(&self) -> io::Result<ProcessImage> {
        self.with_number(|number| open_image(image_of(number)?))
    }

    pub(super) fn start_time(&self) -> io::Result<u64> {
        self.with_number(start_time_of)
    }

    pub(super) fn resident_bytes(&self) -> io::Result<u64> {
        self.with_number(resident_bytes_of)
    }

    pub(super) fn pid_namespace(&self) -> io::Result<Option<u64>> {
        self.with_number(|_| Ok(None))
    }

    /// Returns the result of `read` for the number of the process.
    fn with_number<T>(&self, read: impl FnOnce(Pid) -> io::Result<T>) -> io::Result<T> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the process has exited");
        if self.has_exited()? {
            return Err(gone());
        }
        let found = read(self.number);
        // The process is alive after the reads, so the number meant this process all the time.
        if self.has_exited()? {
            return Err(gone());
        }
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the system does not show what was asked about this process",
            )),
            found => found,
        }
    }

    pub(super) fn has_exited(&self) -> io::Result<bool> {
        self.wait_exit(Some(Instant::now()))
    }

    pub(super) fn wait_exit(&self, deadline: Option<Instant>) -> io::Result<bool> {
        wait_ready(&mut [PollFd::new(&self.queue, PollFlags::IN)], deadline)
    }

    /// Waits with a second queue that watches the first one.
    #[cfg(feature = "tokio")]
    pub(super) async fn exited(&self) -> io::Result<()> {
        readable(self.queue.as_fd()).await
    }

    pub(super) fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    pub(super) fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.has_exited()? {
            return Ok(());
        }
        match kill_process(self.number, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
