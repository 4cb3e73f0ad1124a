//! The processes that were started for a root, as the kernel lists them.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The variable that tells a daemon its root. Its children inherit it.
const VARIABLE: &[u8] = b"RUNNING_PROCESS_SERVICE_ROOT=";
/// Looks at all processes until none is left: one that is about to end may just have forked another one.
const LOOKS: usize = 100;
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
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let root = root.as_os_str().as_bytes();
    environment.split(|byte| *byte == 0).any(|variable| variable.strip_prefix(VARIABLE) == Some(root))
}

fn leads_session(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    // State, parent, process group, session.
    fields.split(' ').nth(3).is_some_and(|session| session == pid.to_string())
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
        let (mut ours, mut other) = (sleep("/tmp/rp-no-such-root"), sleep("/tmp/rp-no-such-root2"));
        assert_eq!(of_root(root).unwrap(), [ours.id()]);
        assert_eq!(daemons(root).unwrap(), Some(Vec::new()), "it leads no session");
        assert_eq!(kill(root).unwrap(), [ours.id()]);
        assert_eq!(ours.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
