//! macOS and FreeBSD: processes by fork(2).

#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::event::kqueue::{Event, EventFilter, EventFlags, ProcessEvents, kevent, kqueue};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd, retry_on_intr};
use rustix::process::Pid;

use super::failure::{Failure, Step};

/// The highest number of a signal.
pub(super) const LAST_SIGNAL: c_int = if cfg!(target_os = "macos") { 31 } else { 128 };
/// A number above those that the daemon gets.
const ABOVE: RawFd = 4;
/// Bytes of the message with a failure: the step in the upper half of an integer, the system's error in the lower one.
const MESSAGE: usize = 8;

/// Forks this process. Returns `None` in the new one.
///
/// # Safety
///
/// The new process does nothing but system calls, because it has only one of the threads.
pub(super) unsafe fn fork() -> io::Result<Option<libc::pid_t>> {
    // SAFETY: the caller vouches for it.
    match unsafe { libc::fork() } {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// No stack: a forked process has that of its parent.
pub(super) struct Stack;

impl Stack {
    pub(super) fn new() -> Self {
        Self
    }
}

/// Waits until the child `pid` has ended, and removes it. Does nothing if other code of this process has, or if the system does
/// because SIGCHLD is ignored.
pub(super) fn reap(pid: libc::pid_t) {
    // SAFETY: a null pointer means that the status is not wanted.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// A child that [`start`] has started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: Pid,
}

/// Starts a child that does what `execute` does: it executes another program, or returns why it could not. The descriptor that
/// `execute` gets stays open until then, and is close-on-exec.
///
/// # Safety
///
/// This process has no other thread. `execute` does nothing but system calls. All signals are blocked.
pub(super) unsafe fn start<F>(_stack: &Stack, _flags: c_int, execute: F) -> Result<Started, Failure>
where
    F: Fn(Option<RawFd>) -> Failure,
{
    let (reader, writer) = pipe().map_err(|errno| Failure { step: Step::Descriptors, errno })?;
    // SAFETY: the new process does nothing but system calls.
    match unsafe { libc::fork() } {
        0 => {
            let Failure { step, errno } = execute(Some(writer.as_raw_fd()));
            let both = i64::from(step as c_int) << 32 | i64::from(errno);
            let _parent_gone = rustix::io::write(&writer, &both.to_ne_bytes());
            // SAFETY: the call has no precondition, and runs nothing of this program.
            unsafe { libc::_exit(127) }
        }
        pid if pid > 0 => {
            drop(writer);
            let Some(pid) = Pid::from_raw(pid) else { return Err(Failure::last(Step::Fork)) };
            let mut message = [0; MESSAGE];
            // The system closes the other end when it executes the program.
            match retry_on_intr(|| rustix::io::read(&reader, &mut message)) {
                Ok(MESSAGE) => {
                    reap(pid.as_raw_nonzero().get());
                    let both = i64::from_ne_bytes(message);
                    let [step, errno] =
                        [both >> 32, both & 0xffff_ffff].map(|half| c_int::try_from(half).unwrap_or(0));
                    Err(Failure { step: Step::from_number(step), errno })
                }
                _ => Ok(Started { pid }),
            }
        }
        _ => Err(Failure::last(Step::Fork)),
    }
}

/// Returns both ends of a pipe, close-on-exec and above the numbers that the daemon gets.
fn pipe() -> Result<(OwnedFd, OwnedFd), c_int> {
    let ends = || {
        let (reader, writer) = rustix::pipe::pipe()?;
        fcntl_setfd(&reader, FdFlags::CLOEXEC)?;
        let above = fcntl_dupfd_cloexec(&writer, ABOVE)?;
        Ok((reader, above))
    };
    ends().map_err(|error: rustix::io::Errno| error.raw_os_error())
}

/// Gives `signal` its default effect. Does nothing for a number that is no signal.
///
/// # Safety
///
/// No thread and no handler of this process depends on the effect.
pub(super) unsafe fn default_signal(signal: c_int) {
    // SAFETY: the caller vouches for it.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Closes the descriptors from `first` to `last`.
///
/// # Safety
///
/// Nothing in this process uses one of them.
#[cfg(target_os = "freebsd")]
pub(super) unsafe fn close_range(first: c_uint, last: c_uint) {
    // SAFETY: the caller vouches for it.
    unsafe { libc::close_range(first, last, 0) };
}

/// Closes the descriptors from `first` to `last`.
///
/// # Safety
///
/// Nothing in this process uses one of them.
#[cfg(target_os = "macos")]
pub(super) unsafe fn close_range(first: c_uint, last: c_uint) {
    // A limit above this one is taken for unlimited, of which the system allows far fewer than so many descriptors.
    const BOUND: u64 = 1 << 16;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let count = c_uint::try_from(limit.unwrap_or(BOUND).min(BOUND)).unwrap_or(last);
    for number in first..=last.min(count) {
        // SAFETY: the caller vouches for it. A number that is not open gives an error.
        unsafe { libc::close(number.cast_signed()) };
    }
}

/// Returns a descriptor that becomes readable when the child `pid` of this process has ended; `None` if it has.
pub(super) fn watch(pid: Pid) -> Option<OwnedFd> {
    let queue = kqueue().ok()?;
    let filter = EventFilter::Proc { pid, flags: ProcessEvents::EXIT };
    let exit = Event::new(filter, EventFlags::ADD, ptr::null_mut());
    let taken: &mut [Event] = &mut [];
    // SAFETY: the filter names a process, not a descriptor that would have to outlive the queue.
    unsafe { kevent(&queue, &[exit], taken, None) }.ok()?;
    Some(queue)
}
