//! The faults that a system call can have, by its manual page.

use super::trace::Call;
use rustix::io::Errno;
use std::path::Path;
use std::{fmt, io};

/// The errors of calls in sections 2 and 7 of the manual, of those that a test can make: the caller's own mistakes are left out.
///
/// Calls are left out whose failure strace cannot make up. A call that it lets fail is not executed: a `close` would leave the
/// descriptor open and a `futex` would wake no thread, which happens on no system. A Rust program without memory ends, so `mmap` is left
/// out; the stack of a thread fails as its `clone` does.
const ERRORS: &[(&str, &[Errno])] = &[
    ("accept4", &[Errno::INTR, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::CONNABORTED, Errno::PERM]),
    ("bind", &[Errno::ACCESS, Errno::NOSPC, Errno::NOMEM, Errno::ROFS]),
    ("chmod", &[Errno::PERM, Errno::IO, Errno::ROFS]),
    ("clock_nanosleep", &[Errno::INTR]),
    ("clone", &[Errno::AGAIN, Errno::NOMEM]),
    ("clone3", &[Errno::AGAIN, Errno::NOMEM]),
    ("connect", &[Errno::INTR, Errno::ACCESS, Errno::PERM]),
    ("copy_file_range", &[Errno::INTR, Errno::IO, Errno::NOMEM, Errno::NOSPC]),
    ("epoll_create1", &[Errno::MFILE, Errno::NFILE, Errno::NOMEM]),
    ("epoll_ctl", &[Errno::NOMEM, Errno::NOSPC]),
    ("epoll_pwait", &[Errno::INTR]),
    ("epoll_wait", &[Errno::INTR]),
    ("eventfd2", &[Errno::MFILE, Errno::NFILE, Errno::NOMEM]),
    ("fchmod", &[Errno::ACCESS, Errno::PERM, Errno::IO]),
    ("fcntl", &[Errno::MFILE]),
    ("fdatasync", &[Errno::INTR, Errno::IO, Errno::NOSPC]),
    ("flock", &[Errno::INTR, Errno::NOLCK]),
    ("fstat", &[Errno::NOMEM]),
    ("fstatfs", &[Errno::INTR, Errno::IO, Errno::NOMEM]),
    ("fsync", &[Errno::INTR, Errno::IO, Errno::NOSPC]),
    ("ftruncate", &[Errno::INTR, Errno::IO, Errno::PERM]),
    ("getrandom", &[Errno::INTR]),
    ("getsockname", &[Errno::NOBUFS]),
    ("getsockopt", &[Errno::MFILE, Errno::NOMEM]),
    ("inotify_add_watch", &[Errno::NOSPC, Errno::NOMEM, Errno::ACCESS]),
    ("inotify_init1", &[Errno::MFILE, Errno::NFILE, Errno::NOMEM]),
    ("kill", &[Errno::PERM]),
    ("mkdir", &[Errno::ACCESS, Errno::NOSPC, Errno::NOMEM, Errno::PERM, Errno::ROFS]),
    ("newfstatat", &[Errno::NOMEM, Errno::ACCESS]),
    (
        "openat",
        &[
            Errno::INTR,
            Errno::MFILE,
            Errno::NFILE,
            Errno::ACCESS,
            Errno::NOSPC,
            Errno::NOMEM,
            Errno::PERM,
            Errno::ROFS,
        ],
    ),
    ("pidfd_open", &[Errno::MFILE, Errno::NFILE, Errno::NOMEM]),
    ("pidfd_send_signal", &[Errno::PERM]),
    ("pipe2", &[Errno::MFILE, Errno::NFILE]),
    ("poll", &[Errno::INTR, Errno::NOMEM]),
    ("ppoll", &[Errno::INTR, Errno::NOMEM]),
    ("pread64", &[Errno::INTR, Errno::IO]),
    ("read", &[Errno::INTR, Errno::IO]),
    ("readlink", &[Errno::ACCESS, Errno::IO, Errno::NOMEM]),
    ("recvfrom", &[Errno::INTR, Errno::NOMEM]),
    ("recvmsg", &[Errno::INTR, Errno::NOMEM]),
    ("rename", &[Errno::ACCESS, Errno::NOSPC, Errno::NOMEM, Errno::PERM, Errno::ROFS]),
    ("renameat", &[Errno::ACCESS, Errno::NOSPC, Errno::NOMEM, Errno::PERM, Errno::ROFS]),
    ("sendfile", &[Errno::INTR, Errno::IO, Errno::NOMEM]),
    ("sendmsg", &[Errno::INTR, Errno::NOBUFS, Errno::NOMEM]),
    ("sendto", &[Errno::INTR, Errno::NOBUFS, Errno::NOMEM]),
    ("setsockopt", &[Errno::NOMEM]),
    ("socket", &[Errno::MFILE, Errno::NFILE, Errno::ACCESS, Errno::NOMEM]),
    ("socketpair", &[Errno::MFILE, Errno::NFILE, Errno::NOMEM]),
    ("splice", &[Errno::INTR, Errno::NOMEM]),
    ("statx", &[Errno::ACCESS, Errno::NOMEM]),
    ("timerfd_create", &[Errno::MFILE, Errno::NFILE, Errno::NOMEM]),
    ("unlink", &[Errno::ACCESS, Errno::PERM, Errno::IO, Errno::ROFS]),
    ("unlinkat", &[Errno::ACCESS, Errno::PERM, Errno::IO, Errno::ROFS]),
    ("wait4", &[Errno::INTR]),
    ("waitid", &[Errno::INTR]),
    ("write", &[Errno::INTR, Errno::NOSPC, Errno::IO]),
];

/// The calls that wait for input or for room on a descriptor that blocks or has a timeout: there they may find none, too.
const BLOCKING: [&str; 4] = ["recvfrom", "recvmsg", "sendto", "sendmsg"];

/// The counts that calls return instead of the whole. strace executes no such call, so only counts that need no effect are here:
/// the end of what is read. A `recvmsg` writes lengths as well, which strace does not.
const COUNTS: &[(&str, usize)] = &[("pread64", 0), ("read", 0), ("recvfrom", 0)];

/// The parts of a line of strace that mark calls of the program under test, or of the runtime of the language.
const PROGRAMS_OWN: [&str; 6] = ["write(1,", "write(1<", "write(2,", "write(2<", "read(0,", "read(0<"];
/// The beginning of a pipe in a line of strace.
const PIPE: &str = "<pipe:[";

/// The result that a call gets instead of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Error(Errno),
    Returns(usize),
}

impl fmt::Display for Effect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => formatter.write_str(&message(*error)),
            Self::Returns(count) => write!(formatter, "{count} bytes"),
        }
    }
}

/// Returns the words of the system for the error.
pub(super) fn message(error: Errno) -> String {
    let message = io::Error::from(error).to_string();
    message.split(" (os").next().unwrap().to_owned()
}

/// One fault of a call.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) call: Call,
    pub(super) effect: Effect,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at {}", self.effect, self.call)
    }
}

impl Fault {
    /// Returns the errors of `calls`.
    pub(super) fn errors_of(calls: &[Call]) -> Vec<Self> {
        let faults = |call: &Call| {
            let errors = ERRORS.iter().find(|(name, _)| *name == call.name).map_or(&[][..], |(_, of)| of);
            // A pipe is no device, and can only be interrupted.
            let of_pipe = call.line.contains(PIPE);
            let errors = errors.iter().filter(move |error| !of_pipe || **error == Errno::INTR);
            let call = call.clone();
            errors.map(move |&error| Self { call: call.clone(), effect: Effect::Error(error) })
        };
        calls.iter().filter(|call| has_answer(call)).flat_map(faults).collect()
    }

    /// Returns the errors and short counts of `calls`, and for a process whose calls `block` that nothing was there.
    pub(super) fn all_of(calls: &[Call], block: bool) -> Vec<Self> {
        let mut faults = Self::errors_of(calls);
        for call in calls.iter().filter(|call| has_answer(call) && !call.line.contains(PIPE)) {
            let counts = COUNTS.iter().filter(|(name, _)| *name == call.name);
            let counts = counts.map(|(_, count)| Effect::Returns(*count));
            let nothing = (block && BLOCKING.contains(&&*call.name)).then_some(Effect::Error(Errno::AGAIN));
            faults.extend(counts.chain(nothing).map(|effect| Self { call: call.clone(), effect }));
        }
        faults
    }

    /// Returns the words for strace that cause the fault, and record it in the file `log`.
    pub(super) fn inject(&self, log: &Path) -> Vec<String> {
        let what = match self.effect {
            Effect::Error(error) => format!("error={}", error.raw_os_error()),
            Effect::Returns(count) => format!("retval={count}"),
        };
        self.call.inject(&what, log)
    }

    /// Returns whether the caller has to repeat the call, so that no one notices.
    pub(super) fn is_repeated(&self) -> bool {
        matches!(self.effect, Effect::Error(Errno::INTR | Errno::AGAIN)) && !self.makes_thread()
    }

    /// Returns whether one of the texts names the cause. A count has none.
    pub(super) fn is_told_by(&self, texts: &[&str]) -> bool {
        let is_in = |error| texts.iter().any(|text| text.contains(&message(error)));
        match self.effect {
            // The C library has one error for all failures to make a thread.
            Effect::Error(_) if self.makes_thread() => is_in(Errno::AGAIN),
            Effect::Error(error) => is_in(error),
            Effect::Returns(_) => true,
        }
    }

    fn makes_thread(&self) -> bool {
        self.call.line.contains("CLONE_THREAD")
    }
}

/// Returns whether the library can do anything about a fault of the call.
fn has_answer(call: &Call) -> bool {
    let line = &call.line;
    match &*call.name {
        // To register takes memory, to change or to remove does not.
        "epoll_ctl" => line.contains("EPOLL_CTL_ADD"),
        // Duplicates only; flags of an open descriptor cannot fail.
        "fcntl" => line.contains("F_DUPFD"),
        _ => !PROGRAMS_OWN.iter().any(|own| line.starts_with(own)),
    }
}
