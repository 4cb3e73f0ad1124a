//! The new process until it executes the daemon's program.

#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_char};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use super::child;
use super::descriptors::close_from;
use super::failure::{Failure, Step};
use super::plan::SpawnPlan;

/// The number of the daemon's descriptor for the lock.
const LOCK: RawFd = 3;
/// The file mode creation mask of a daemon.
const MASK: libc::mode_t = 0o022;

/// A plan in the form that the system takes, so that the new process need not allocate memory.
#[derive(Debug)]
pub(super) struct Prepared {
    program: CString,
    /// The strings that the two arrays point to.
    _strings: Vec<CString>,
    /// Ends in a null pointer, as does the next.
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    directory: CString,
    input: OwnedFd,
    log: OwnedFd,
    lock: Option<OwnedFd>,
}

impl Prepared {
    pub(super) fn new(plan: &SpawnPlan<'_>) -> io::Result<Self> {
        let program = terminated(plan.program.as_os_str())?;
        let mut strings = Vec::with_capacity(plan.arguments.len() + plan.environment.len());
        for argument in plan.arguments {
            strings.push(terminated(argument)?);
        }
        for (name, value) in plan.environment {
            strings.push(variable(name, value)?);
        }
        let (arguments, environment) = strings.split_at(plan.arguments.len());
        let pointers = |strings: &[CString]| strings.iter().map(|string| string.as_ptr()).collect::<Vec<_>>();
        let mut arguments = pointers(arguments);
        arguments.insert(0, program.as_ptr());
        arguments.push(ptr::null());
        let mut environment = pointers(environment);
        environment.push(ptr::null());
        Ok(Self {
            program,
            _strings: strings,
            arguments,
            environment,
            directory: terminated(plan.directory.as_os_str())?,
            input: above_lock(&std::fs::File::open("/dev/null")?)?,
            log: above_lock(plan.log)?,
            lock: plan.lock.map(above_lock).transpose()?,
        })
    }

    /// Returns the numbers of all descriptors.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [&self.input, &self.log].into_iter().chain(&self.lock).map(AsRawFd::as_raw_fd)
    }

    /// Makes this process the daemon, and returns only if that fails. The descriptor `kept` stays open until the program is
    /// executed.
    ///
    /// # Safety
    ///
    /// This process is a new one with no other thread, and it ends if this returns. `kept` is above the numbers that the daemon
    /// gets, and close-on-exec. All signals are blocked. It may be a fork
    /// of a process with threads, or share the memory of a process that waits: all calls here are system calls, apart from the
    /// number of the last error there is no state, and nothing allocates memory.
    pub(super) unsafe fn execute(&self, kept: Option<RawFd>) -> Failure {
        // A new process leads no group, so this cannot fail.
        // SAFETY: the call has no precondition.
        unsafe { libc::setsid() };
        let moves = [(&self.input, 0), (&self.log, 1), (&self.log, 2)];
        for (from, to) in moves.into_iter().chain(self.lock.iter().map(|lock| (lock, LOCK))) {
            // SAFETY: the caller vouches that no other code in this process uses the number `to`.
            if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
                return Failure::last(Step::Descriptors);
            }
        }
        let first_unused = if self.lock.is_some() { LOCK + 1 } else { LOCK };
        // SAFETY: nothing uses a descriptor from here on, as above.
        unsafe { close_from(first_unused, kept) };
        // SAFETY: the call has no precondition.
        unsafe { libc::umask(MASK) };
        // SAFETY: the path ends in NUL.
        if unsafe { libc::chdir(self.directory.as_ptr()) } < 0 {
            return Failure::last(Step::Directory);
        }
        // SAFETY: this process has no other thread, and no handler runs while all signals are blocked.
        unsafe { reset_signals() };
        // SAFETY: the strings end in NUL and the arrays in a null pointer, and all of them live in `self`.
        unsafe { libc::execve(self.program.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr()) };
        Failure::last(Step::Execute)
    }
}

/// Returns a copy of `file` whose number is above that of the lock. So no copy is overwritten before it was used.
fn above_lock(file: &impl AsFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(file, LOCK + 1)?)
}

fn terminated(string: &OsStr) -> io::Result<CString> {
    CString::new(string.as_bytes())
        .map_err(|_| invalid(format!("\"{}\" contains a NUL byte", string.display())))
}

fn variable(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(invalid(format!("\"{}\" is no name of an environment variable", name.display())));
    }
    let mut both = name.to_owned();
    both.push("=");
    both.push(value);
    terminated(&both)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Gives every signal its default effect, then unblocks them all.
///
/// # Safety
///
/// No other thread and no handler depends on the effect of a signal.
unsafe fn reset_signals() {
    for signal in 1..=child::LAST_SIGNAL {
        // SAFETY: the caller vouches for it.
        unsafe { child::default_signal(signal) };
    }
    let mut none = MaybeUninit::uninit();
    // SAFETY: the first call initializes the set that the second reads.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}
