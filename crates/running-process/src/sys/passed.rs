//! Descriptors that a service manager passed to this process, by the protocol of `sd_listen_fds(3)`.

#![allow(unsafe_code)]

use std::env;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::not_passed::NotPassed;

const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_FDS: &str = "LISTEN_FDS";
/// The number of the first descriptor that is passed (`SD_LISTEN_FDS_START` in `sd_listen_fds(3)`).
const FIRST: RawFd = 3;

/// The descriptors that have an owner in this process, with the path that each was taken for. Numbers stay here for
/// good: once its owner has closed a descriptor, its number means another one.
static TAKEN: Mutex<Vec<(RawFd, PathBuf)>> = Mutex::new(Vec::new());

/// The descriptors that were passed to this process. While this value lives no other thread has one.
#[derive(Debug)]
pub(crate) struct PassedDescriptors {
    taken: MutexGuard<'static, Vec<(RawFd, PathBuf)>>,
    numbers: Range<RawFd>,
}

/// The state of an announced number.
#[derive(Debug)]
pub(crate) enum Passed<'a> {
    /// A descriptor that has not been taken yet.
    Free(BorrowedFd<'a>),
    /// A descriptor that has been [taken](PassedDescriptors::take) for this path.
    Taken(&'a Path),
    /// No descriptor has this number.
    NotOpen,
    /// A descriptor that is close-on-exec, so it did not come with the program. Code of this process has opened it
    /// under this number, or has taken what was passed and marked it so, as `sd_listen_fds(3)` does.
    CloseOnExec,
}

impl PassedDescriptors {
    /// Reads what the environment announces to this process.
    pub(crate) fn to_this_process() -> Result<Self, NotPassed> {
        let (listen_pid, listen_fds) = (env::var_os(LISTEN_PID), env::var_os(LISTEN_FDS));
        let numbers = announced(listen_pid.as_deref(), listen_fds.as_deref(), std::process::id())?;
        Ok(Self { taken: TAKEN.lock().unwrap_or_else(PoisonError::into_inner), numbers })
    }

    /// Returns the announced numbers, at least one. There may be far more than are open.
    pub(crate) fn numbers(&self) -> Range<RawFd> {
        self.numbers.clone()
    }

    /// Returns the state of `number`, one of [`numbers`](Self::numbers).
    pub(crate) fn get(&self, number: RawFd) -> Passed<'_> {
        assert!(self.numbers.contains(&number), "descriptor {number} was not passed");
        if let Some((_, path)) = self.taken.iter().find(|(taken, _)| *taken == number) {
            return Passed::Taken(path);
        }
        // SAFETY: the call takes a number, which need not be a descriptor, and changes nothing.
        match unsafe { libc::fcntl(number, libc::F_GETFD) } {
            flags if flags < 0 => Passed::NotOpen,
            flags if flags & libc::FD_CLOEXEC != 0 => Passed::CloseOnExec,
            // SAFETY: the descriptor is open, and stays so while it is borrowed, because nothing else owns it. The
            // environment that this program was started with gives the number to this very process. The program did
            // start with the descriptor, or it would be close-on-exec, as everything is that Rust's library or this
            // one opens. Neither has it been taken since: not by this module, whose list is locked, nor by other code
            // that marks what it takes, as the protocol's own library does.
            _ => Passed::Free(unsafe { BorrowedFd::borrow_raw(number) }),
        }
    }

    /// Gives the descriptor `number` to the caller, if it is free, and records `path` for later callers.
    pub(crate) fn take(mut self, number: RawFd, path: PathBuf) -> Option<OwnedFd> {
        let Passed::Free(descriptor) = self.get(number) else { return None };
        // SAFETY: the descriptor is open and has no owner, as argued in `get`. It gets one here, and no second one: the
        // list is locked from before `get` until the number is on it, from which it is never removed.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor.as_raw_fd()) };
        self.taken.push((number, path));
        Some(owned)
    }
}

/// Returns the numbers that the two variables announce to the process `pid`.
fn announced(
    listen_pid: Option<&OsStr>,
    listen_fds: Option<&OsStr>,
    pid: u32,
) -> Result<Range<RawFd>, NotPassed> {
    let listen_pid = positive(LISTEN_PID, listen_pid)?;
    let count = positive(LISTEN_FDS, listen_fds)?;
    if listen_pid.cast_unsigned() != pid {
        return Err(NotPassed::OtherProcess { listen_pid: listen_pid.cast_unsigned(), pid });
    }
    Ok(FIRST..FIRST.saturating_add(count))
}

fn positive(variable: &'static str, value: Option<&OsStr>) -> Result<i32, NotPassed> {
    let value = value.ok_or(NotPassed::Unset { variable })?;
    let number = value.to_str().and_then(|digits| digits.parse().ok()).filter(|number| *number > 0);
    number.ok_or_else(|| NotPassed::Malformed { variable, value: value.to_string_lossy().into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_process;

    fn numbers(listen_pid: Option<&str>, listen_fds: Option<&str>) -> Result<Range<RawFd>, NotPassed> {
        announced(listen_pid.map(OsStr::new), listen_fds.map(OsStr::new), 7)
    }

    #[test]
    #[ignore = "started by the next test in a process of its own"]
    fn with_the_input_as_descriptor_three() {
        let own = std::fs::File::open(env::current_exe().unwrap()).unwrap();
        let passed = || PassedDescriptors::to_this_process().unwrap();
        assert_eq!(passed().numbers(), 3..1003);
        assert!(matches!(passed().get(own.as_raw_fd()), Passed::CloseOnExec));
        assert!(passed().take(own.as_raw_fd(), PathBuf::new()).is_none());
        assert!(matches!(passed().get(1002), Passed::NotOpen));
        assert!(matches!(passed().get(3), Passed::Free(_)));
        let taken = passed().take(3, PathBuf::from("input")).unwrap();
        assert_eq!(taken.as_raw_fd(), 3);
        let gone_for_good = || {
            assert!(matches!(passed().get(3), Passed::Taken(path) if path == Path::new("input")));
            assert!(passed().take(3, PathBuf::new()).is_none());
        };
        gone_for_good();
        drop(taken);
        gone_for_good();
    }

    #[test]
    fn a_descriptor_is_taken_once_and_never_one_that_was_not_passed() {
        let script = r#"LISTEN_PID=$$ LISTEN_FDS=1000 exec "$0" "$@" 3<&0"#;
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]).arg(env::current_exe().unwrap());
        shell.args(own_process::arguments(with_the_input_as_descriptor_three));
        let output = shell.stdin(std::process::Stdio::null()).output().unwrap();
        own_process::assert_passed(&output);
    }

    #[test]
    fn descriptors_are_announced_to_one_process_from_three_on() {
        assert_eq!(numbers(Some("7"), Some("1")), Ok(3..4));
        assert_eq!(numbers(Some("7"), Some("2")), Ok(3..5));
        assert_eq!(numbers(Some("7"), Some("2147483647")), Ok(3..i32::MAX));
        assert_eq!(numbers(Some("8"), Some("1")), Err(NotPassed::OtherProcess { listen_pid: 8, pid: 7 }));
    }

    #[test]
    fn without_both_variables_nothing_is_announced() {
        assert_eq!(numbers(None, Some("1")), Err(NotPassed::Unset { variable: LISTEN_PID }));
        assert_eq!(numbers(Some("7"), None), Err(NotPassed::Unset { variable: LISTEN_FDS }));
    }

    #[test]
    fn what_is_not_a_positive_number_announces_nothing() {
        for value in ["", "0", "-1", "1 ", "one", "2147483648"] {
            let malformed = |variable| Err(NotPassed::Malformed { variable, value: value.to_owned() });
            assert_eq!(numbers(Some("7"), Some(value)), malformed(LISTEN_FDS));
            assert_eq!(numbers(Some(value), Some("1")), malformed(LISTEN_PID));
        }
    }
}
