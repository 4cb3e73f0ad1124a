//! The processes that were started for a root, as the kernel lists them.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The variable that tells a daemon its root. Its children inherit it.
const VARIABLE: &[u8] = b"RUNNING_PROCESS_SERVICE_ROOT=";
/// Looks at all processes until none is left: one that is about to end may just have forked another one.
const LOOKS: usize = 100;
/// Looks at a process in the middle of `execve`, which takes microseconds on an idle machine, and the pause between two.
const EXEC_LOOKS: usize = 200;
const EXEC_PAUSE: Duration = Duration::from_millis(1);
/// Fields of `/proc/PID/stat`.
const SESSION: usize = 6;
const ENVIRONMENT_END: usize = 51;
/// Longest wait for the end of a process that was killed.
const END_TIMEOUT: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Returns the daemons that were started for `root`: the processes that lead a session, as every daemon does.
pub(super) fn daemons(root: &Path) -> io::Result<Option<Vec<u32>>> {
    let processes = of_root(root)?;
    Ok(Some(processes.into_iter().filter(|pid| leads_session(*pid)).collect()))
}

/// Kills all processes that were started for `root`, and returns them.
pub(super) fn kill(root: &Path) -> io::Result<Vec<u32>> {
    let mut killed = Vec::new();
    for _ in 0..LOOKS {
        let left = of_root(root)?;
        if left.is_empty() {
            break;
        }
        for pid in left {
            let Some(process) = open(pid)? else { continue };
            // The number may have become another process's before it was opened.
            if is_of_root(pid, root) && pidfd_send_signal(&process, Signal::KILL).is_ok() {
                poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&END_TIMEOUT))?;
                killed.push(pid);
            }
        }
    }
    Ok(killed)
}

fn of_root(root: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(pid.filter(|pid| is_of_root(*pid, root)));
    }
    Ok(found)
}

/// Returns whether the process has the root in its environment. One that has ended, or that is another user's, has not.
fn is_of_root(pid: u32, root: &Path) -> bool {
    let root = root.as_os_str().as_bytes();
    environment(pid).split(|byte| *byte == 0).any(|variable| variable.strip_prefix(VARIABLE) == Some(root))
}

/// Returns the environment of the process; nothing for one that has ended, that is another user's, or that has none.
///
/// A process in the middle of `execve` has its program already but no environment yet. The kernel does not tell when it has one,
/// and nothing but `execve` itself takes place in between, so it is looked at again.
fn environment(pid: u32) -> Vec<u8> {
    for _ in 0..EXEC_LOOKS {
        // Before the environment: what is complete here is complete there.
        let complete = stat_field(pid, ENVIRONMENT_END).is_none_or(|end| end != "0");
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let has_program = || std::fs::read_link(format!("/proc/{pid}/exe")).is_ok();
        if complete || !environment.is_empty() || !has_program() {
            return environment;
        }
        std::thread::sleep(EXEC_PAUSE);
    }
    Vec::new()
}

fn leads_session(pid: u32) -> bool {
    stat_field(pid, SESSION).is_some_and(|session| session == pid.to_string())
}

/// Returns a field of `/proc/PID/stat`, counted as in proc(5).
fn stat_field(pid: u32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command is the second field, in parentheses, and may contain anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.trim_end().split(' ').nth(number - 3).map(str::to_owned)
}

fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => Ok(Some(process)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn a_process_with_the_root_in_its_environment_is_found_and_killed_and_no_other() {
        let root = Path::new("/tmp/rp-no-such-root");
        let sleep = |root: &str| {
            let mut command = Command::new("sleep");
            command.arg("60").env("RUNNING_PROCESS_SERVICE_ROOT", root).spawn().unwrap()
        };
        let mut other = sleep("/tmp/rp-no-such-root2");
        // `spawn` returns in the middle of `execve`: one of many is met there.
        for _ in 0..50 {
            let mut brief = sleep("/tmp/rp-no-such-root");
            assert_eq!(of_root(root).unwrap(), [brief.id()]);
            brief.kill().unwrap();
            brief.wait().unwrap();
        }
        let mut ours = sleep("/tmp/rp-no-such-root");
        assert_eq!(of_root(root).unwrap(), [ours.id()]);
        assert_eq!(daemons(root).unwrap(), Some(Vec::new()), "it leads no session");
        assert_eq!(kill(root).unwrap(), [ours.id()]);
        assert_eq!(ours.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
