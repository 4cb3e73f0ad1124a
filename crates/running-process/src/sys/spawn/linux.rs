//! Linux: processes by clone(2).

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::failure::{Failure, Step};

/// The highest number of a signal on every machine but MIPS.
pub(super) const LAST_SIGNAL: c_int = 64;
/// Bytes of the kernel's set of signals, with a bit for each.
const SIGNAL_SET: usize = 8;
/// Bytes of a [`Stack`].
const STACK: usize = 64 << 10;

/// Forks this process. Returns `None` in the new one.
///
/// The parent gets no signal when the new process ends, and only waits with `__WALL` or `__WCLONE` find it. So it remains
/// unnoticed by other code of the parent that handles SIGCHLD or waits for any child.
///
/// # Safety
///
/// The new process does nothing but system calls: its C library still has the state of the forking thread.
pub(super) unsafe fn fork() -> io::Result<Option<libc::pid_t>> {
    // No flags and no signal; no stack means that of the parent. The order of the arguments depends on the machine.
    const ZERO: c_long = 0;
    // SAFETY: this is fork(2), and the caller vouches for the new process.
    let forked = unsafe { libc::syscall(libc::SYS_clone, ZERO, ZERO, ZERO, ZERO, ZERO) };
    match forked {
        0 => Ok(None),
        pid => match libc::pid_t::try_from(pid) {
            Ok(pid) if pid > 0 => Ok(Some(pid)),
            _ => Err(io::Error::last_os_error()),
        },
    }
}

/// The stack of a process that shares the memory of this one. One process uses it at a time.
pub(super) struct Stack(Box<UnsafeCell<MaybeUninit<[u8; STACK]>>>);

impl Stack {
    pub(super) fn new() -> Self {
        // SAFETY: bytes that may be uninitialized need no initialization.
        Self(unsafe { Box::new_uninit().assume_init() })
    }

    fn end(&self) -> *mut c_void {
        // The first address after the bytes.
        self.0.get().wrapping_add(1).cast()
    }
}

/// Waits until the child `pid`, which [`fork`] made, has ended, and removes it.
pub(super) fn reap(pid: libc::pid_t) {
    // SAFETY: a null pointer means that the status is not wanted.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WALL) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// A child that [`start`] has started.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: Pid,
    /// The number of the pidfd, if it was asked for.
    pub(super) pidfd: RawFd,
}

/// Starts a child that does what `execute` does: it executes another program, or returns why it could not. The child needs no
/// descriptor for that. It shares the memory of this process until then, and this process waits meanwhile: a copy would cost time and serve nothing.
///
/// # Safety
///
/// No other thread of this process uses the stack. `execute` does nothing but system calls. All signals are blocked.
pub(super) unsafe fn start<F>(stack: &Stack, flags: c_int, execute: F) -> Result<Started, Failure>
where
    F: Fn(Option<RawFd>) -> Failure,
{
    let failed = (AtomicI32::new(0), AtomicI32::new(0));
    let body = || {
        let Failure { step, errno } = execute(None);
        failed.0.store(step as i32, Ordering::Relaxed);
        failed.1.store(errno, Ordering::Relaxed);
    };
    // SAFETY: the caller vouches for it.
    let started = unsafe { run_sharing_memory(stack, flags | libc::SIGCHLD, &body) }?;
    match failed.0.load(Ordering::Relaxed) {
        0 => Ok(started),
        step => {
            reap(started.pid.as_raw_nonzero().get());
            if flags & libc::CLONE_PIDFD != 0 {
                // SAFETY: the system has just made this descriptor for this call.
                unsafe { libc::close(started.pidfd) };
            }
            Err(Failure { step: Step::from_number(step), errno: failed.1.load(Ordering::Relaxed) })
        }
    }
}

/// Starts a child that runs `body` in the memory of this process and then exits. Returns when it has exited or executes another
/// program.
///
/// The C library's number of the last error is that of the calling thread, which waits.
///
/// # Safety
///
/// As for [`start`].
pub(super) unsafe fn run_sharing_memory<F: Fn()>(
    stack: &Stack,
    flags: c_int,
    body: &F,
) -> Result<Started, Failure> {
    let argument = ptr::from_ref(body).cast_mut().cast();
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK;
    let mut pidfd = -1;
    // SAFETY: the new process runs the function on the stack, which grows down from its end, is aligned by the C library and
    // used for nothing else. It and `body` live until the call returns, and then the new process no longer uses this memory.
    let pid = unsafe { libc::clone(run::<F>, stack.end(), flags, argument, &raw mut pidfd) };
    if pid < 0 {
        return Err(Failure::last(Step::Fork));
    }
    let Some(pid) = Pid::from_raw(pid) else { return Err(Failure::last(Step::Fork)) };
    Ok(Started { pid, pidfd })
}

extern "C" fn run<F: Fn()>(body: *mut c_void) -> c_int {
    // SAFETY: `run_sharing_memory` passes such a value, which lives until this process has ended or executed another program.
    let body = unsafe { &*body.cast_const().cast::<F>() };
    body();
    // SAFETY: the call has no precondition, and runs nothing of this program.
    unsafe { libc::_exit(127) }
}

/// Gives `signal` its default effect. Does nothing for a number that is no signal.
///
/// # Safety
///
/// No thread and no handler of this process depends on the effect.
pub(super) unsafe fn default_signal(signal: c_int) {
    // The kernel's own structure, whose size depends on the machine: all zeros are the default effect. The C library's call
    // refuses the signals that the library uses itself.
    let zeros = [0_u64; 32];
    // SAFETY: the array is longer than the structure, and the old action is not wanted.
    unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, zeros.as_ptr(), ptr::null_mut::<c_void>(), SIGNAL_SET);
    }
}

/// Closes the descriptors from `first` to `last`.
///
/// # Safety
///
/// Nothing in this process uses one of them.
pub(super) unsafe fn close_range(first: c_uint, last: c_uint) {
    const NO_FLAGS: c_uint = 0;
    // SAFETY: the caller vouches for it.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, NO_FLAGS) } == 0 {
        return;
    }
    // Before Linux 5.9, or a sandbox forbids the call.
    let each = |number: c_uint| {
        if (first..=last).contains(&number) {
            // SAFETY: the caller vouches for it. A number that is not open gives an error.
            unsafe { libc::close(number.cast_signed()) };
        }
    };
    if listed(each).is_none() {
        (0..highest()).for_each(each);
    }
}

/// Calls `each` with the number of every descriptor; returns `None` if `/proc` does not list them.
fn listed(each: impl Fn(c_uint)) -> Option<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty()).ok()?;
    let own = directory.as_raw_fd().cast_unsigned();
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.ok()?;
        let name = entry.file_name().to_bytes();
        if let Some(number) = str::from_utf8(name).ok().and_then(|name| name.parse().ok())
            && number != own
        {
            each(number);
        }
    }
    Some(())
}

/// Returns a number above those of all descriptors, as far as the limit tells.
fn highest() -> c_uint {
    const BOUND: u64 = 1 << 20;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    c_uint::try_from(limit.unwrap_or(BOUND).min(BOUND)).unwrap_or(c_uint::MAX)
}

/// Returns a descriptor that becomes readable when the child `pid` of this process has ended; `None` if it has.
pub(super) fn watch(pid: Pid) -> Option<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs::File;

    use super::*;

    #[test]
    fn the_descriptors_are_listed_where_a_sandbox_forbids_to_close_a_range() {
        let file = File::open("/dev/null").unwrap();
        let number = file.as_raw_fd().cast_unsigned();
        let found = RefCell::new(Vec::new());
        listed(|number| found.borrow_mut().push(number)).unwrap();
        let found = found.into_inner();
        assert!(found.contains(&number) && found.iter().all(|number| *number < highest()), "{found:?}");
    }
}
