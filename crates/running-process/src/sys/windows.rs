//! Windows: process handles.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr;
use std::time::{Duration, Instant, SystemTime};

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER, FILETIME, HANDLE};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetExitCodeProcess, GetProcessId, GetProcessTimes, OpenProcess, PROCESS_ACCESS_RIGHTS,
    PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, PROCESS_TERMINATE,
    QueryFullProcessImageNameW, TerminateProcess,
};

use super::image::ProcessImage;
#[cfg(feature = "tokio")]
use super::windows_async::signaled;
use super::windows_wait::wait_any;

/// Address of the member `BootId` of `KUSER_SHARED_DATA` in every process (`ntddk.h`).
const BOOT_ID_ADDRESS: usize = 0x7FFE_0000 + 0x2C4;
/// Longest path of an image in UTF-16 units, with the NUL.
const LONGEST_PATH: u32 = 32_768;

// The portable surface has errors here.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn boot_id() -> io::Result<String> {
    let counter = ptr::with_exposed_provenance::<u32>(BOOT_ID_ADDRESS);
    // SAFETY: the kernel maps this page, readable and at this address, into every process of every version of
    // Windows that Rust supports; the address is a multiple of four. Nothing in this process writes to it.
    let counter = unsafe { ptr::read_volatile(counter) };
    Ok(format!("windows-boot-{counter}"))
}

pub(super) fn own_image() -> io::Result<ProcessImage> {
    open_image(std::env::current_exe()?)
}

fn open_image(path: PathBuf) -> io::Result<ProcessImage> {
    let file = File::open(&path)?;
    Ok(ProcessImage { path, file })
}

pub(super) fn own_start_time() -> io::Result<u64> {
    // SAFETY: the call takes nothing. What it returns means this process, is never invalid and need not be closed.
    start_time_of(unsafe { GetCurrentProcess() })
}

/// Returns the time of day of a start time in 100 nanoseconds since 1601.
pub(super) fn started_at(start_time: u64) -> Option<SystemTime> {
    const FROM_1601_TO_1970: u64 = 134_774 * 86_400;
    let since_1601 = Duration::from_micros(start_time / 10);
    SystemTime::UNIX_EPOCH.checked_add(since_1601.checked_sub(Duration::from_secs(FROM_1601_TO_1970))?)
}

// The portable surface has errors and a namespace here.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn own_pid_namespace() -> io::Result<Option<u64>> {
    Ok(None)
}

/// Returns the time at which the process of an open handle started.
fn start_time_of(process: HANDLE) -> io::Result<u64> {
    let [mut created, mut exited, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: a handle that is not open gives an error; the four places are exclusively borrowed.
    let done = unsafe {
        GetProcessTimes(process, &raw mut created, &raw mut exited, &raw mut kernel, &raw mut user)
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(created.dwHighDateTime) << 32 | u64::from(created.dwLowDateTime))
}

/// A process and its id, which the system gives to no other process while the handle is open.
#[derive(Debug)]
pub(super) struct ProcessHandle {
    pid: u32,
    handle: OwnedHandle,
}

impl ProcessHandle {
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        let needed = PROCESS_SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION;
        let opened = match open_process(pid, needed | PROCESS_TERMINATE) {
            // A process of another user may be watched but not ended; `kill` then fails.
            Err(error) if is(&error, ERROR_ACCESS_DENIED) => open_process(pid, needed),
            opened => opened,
        };
        match opened {
            Ok(handle) => {
                // SAFETY: the handle is open.
                let found = unsafe { GetProcessId(handle.as_raw_handle()) };
                // The system ignores the low two bits of the requested id.
                Ok((found == pid).then_some(Self { pid, handle }))
            }
            Err(error) if is(&error, ERROR_INVALID_PARAMETER) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a handle to the process `pid` that owns `handle`.
    pub(super) fn from_handle(pid: u32, handle: OwnedHandle) -> Self {
        Self { pid, handle }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the exit code of a process that has exited.
    pub(super) fn exit_code(&self) -> io::Result<u32> {
        let mut code = 0;
        // SAFETY: the handle is open, and the place is exclusively borrowed.
        if unsafe { GetExitCodeProcess(self.handle.as_raw_handle(), &raw mut code) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(code)
    }

    /// Compares the ids, which no other process can have while both handles are open.
    // The portable surface has errors and other answers here.
    #[allow(clippy::unnecessary_wraps)]
    pub(super) fn known_same(&self, other: &Self) -> io::Result<Option<bool>> {
        Ok(Some(self.pid == other.pid))
    }

    pub(super) fn image_path(&self) -> io::Result<PathBuf> {
        self.with_handle(|process| {
            let mut path = vec![0u16; LONGEST_PATH as usize];
            let mut length = LONGEST_PATH;
            // SAFETY: the handle is open, and the buffer is exclusively borrowed and `length` units long.
            let done = unsafe {
                QueryFullProcessImageNameW(process, PROCESS_NAME_WIN32, path.as_mut_ptr(), &raw mut length)
            };
            if done == 0 {
                return Err(io::Error::last_os_error());
            }
            path.truncate(length as usize);
            Ok(PathBuf::from(std::ffi::OsString::from_wide(&path)))
        })
    }

    pub(super) fn open_image(&self) -> io::Result<ProcessImage> {
        let path = self.image_path()?;
        self.with_handle(|_| open_image(path))
    }

    pub(super) fn start_time(&self) -> io::Result<u64> {
        self.with_handle(start_time_of)
    }

    pub(super) fn resident_bytes(&self) -> io::Result<u64> {
        self.with_handle(|process| {
            let mut found = PROCESS_MEMORY_COUNTERS::default();
            let size = u32::try_from(size_of_val(&found)).unwrap_or_default();
            // SAFETY: the handle is open, and the place is exclusively borrowed and as long as is given.
            if unsafe { K32GetProcessMemoryInfo(process, &raw mut found, size) } == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(found.WorkingSetSize as u64)
        })
    }

    pub(super) fn pid_namespace(&self) -> io::Result<Option<u64>> {
        self.with_handle(|_| Ok(None))
    }

    /// Returns the result of `read` for the handle. The system also answers for processes that have exited.
    fn with_handle<T>(&self, read: impl FnOnce(HANDLE) -> io::Result<T>) -> io::Result<T> {
        let found = read(self.handle.as_raw_handle());
        if self.has_exited()? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the process has exited"));
        }
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "nothing stands where the system says that the image of this process is",
            )),
            found => found,
        }
    }

    pub(super) fn has_exited(&self) -> io::Result<bool> {
        self.wait_exit(Some(Instant::now()))
    }

    pub(super) fn wait_exit(&self, deadline: Option<Instant>) -> io::Result<bool> {
        Ok(wait_any(&[self.handle.as_handle()], deadline)?.is_some())
    }

    #[cfg(feature = "tokio")]
    pub(super) async fn exited(&self) -> io::Result<()> {
        signaled(self.handle.as_handle()).await
    }

    // The portable surface has a receiver here.
    #[allow(clippy::unused_self)]
    pub(super) fn terminate(&self) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "Windows has no way to ask a process to end: close its connection or kill it",
        ))
    }

    pub(super) fn kill(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        if unsafe { TerminateProcess(self.handle.as_raw_handle(), 1) } != 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if self.has_exited()? { Ok(()) } else { Err(error) }
    }
}

fn open_process(pid: u32, access: PROCESS_ACCESS_RIGHTS) -> io::Result<OwnedHandle> {
    // SAFETY: the call takes no pointers.
    let handle = unsafe { OpenProcess(access, 0, pid) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open and no other code owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn is(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == Some(code.cast_signed())
}
