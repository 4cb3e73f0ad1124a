//! Linux: the status of a process that is no child of this one.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

use super::plan::ProcessEnd;
use crate::sys::imp::ProcessHandle;
use crate::sys::readiness::wait_ready;

/// The first version of Linux that keeps the status (`PIDFD_INFO_EXIT` in `linux/pidfd.h`).
const FIRST_VERSION: (u32, u32) = (6, 15);
/// Longest wait for the parent of the process, which is the system's first process or another one that adopts.
const REAP_TIMEOUT: Duration = Duration::from_millis(100);

/// `struct pidfd_info` in `linux/pidfd.h`, as far as `PIDFD_INFO_SIZE_VER0`.
#[repr(C)]
struct PidfdInfo {
    mask: u64,
    _cgroup: u64,
    _numbers: [u32; 11],
    exit_code: i32,
}

/// The bit of [`PidfdInfo::mask`] for the status.
const PIDFD_INFO_EXIT: u64 = 1 << 3;
/// `PIDFD_GET_INFO` in `linux/pidfd.h`.
const PIDFD_GET_INFO: Opcode = opcode::read_write::<PidfdInfo>(0xff, 11);

/// Returns whether the kernel tells the status of a process to everyone who has a pidfd.
pub(super) fn is_told() -> bool {
    let release = rustix::system::uname();
    let mut numbers = release.release().to_bytes().split(|byte| !byte.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| str::from_utf8(number).ok()?.parse::<u32>().ok());
    next().zip(next()).is_some_and(|version| version >= FIRST_VERSION)
}

/// Returns how `process` ended, which has exited.
pub(super) fn end_of(process: &ProcessHandle) -> io::Result<ProcessEnd> {
    // Until the parent has waited for the process, as the first process of some containers never does, `/proc` has the status.
    // A status of zero may also mean that it is not shown.
    let in_proc = process.zombie_status();
    if in_proc.is_none_or(|status| status == 0) {
        // A process that was waited for is reported as a hang-up.
        let mut reaped = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::empty())];
        wait_ready(&mut reaped, Some(Instant::now() + REAP_TIMEOUT))?;
    }
    // If it was not waited for until now, the entry was that of this process.
    Ok(kept_status(process.as_fd()).or(in_proc).map_or(ProcessEnd::Unknown, from_wait_status))
}

/// Returns the status that the kernel has kept, if the process was waited for and a sandbox allows the request.
fn kept_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, _cgroup: 0, _numbers: [0; 11], exit_code: 0 };
    // SAFETY: the request reads and writes a structure of this type.
    let request = unsafe { Updater::<PIDFD_GET_INFO, PidfdInfo>::new(&mut info) };
    // SAFETY: the same.
    unsafe { ioctl(pidfd, request) }.ok()?;
    (info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

/// Returns the meaning of a status in the form of `waitpid(2)`.
fn from_wait_status(status: i32) -> ProcessEnd {
    match status & 0x7f {
        0 => ProcessEnd::Exited(status >> 8 & 0xff),
        signal => ProcessEnd::Signaled { signal, core: status & 0x80 != 0 },
    }
}
