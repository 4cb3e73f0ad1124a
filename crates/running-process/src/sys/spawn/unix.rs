//! The starter's side.

#![allow(unsafe_code)]

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::RecvFlags;

use super::child;
use super::daemon::Prepared;
use super::failure::explained;
use super::launcher;
use super::lost::lost;
use super::plan::{ProcessEnd, SpawnPlan};
use super::report::Report;
use super::signals::with_all_blocked;
use crate::sys::process::ProcessHandle;
use crate::sys::readiness::wait_ready;

/// Longest wait for the launcher's message once the daemon has ended. The launcher sends it at once, unless it was stopped.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn spawn(plan: &SpawnPlan<'_>) -> io::Result<Spawned> {
    let prepared = Prepared::new(plan)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if super::linux_end::is_told() {
        let (pid, pidfd) = super::linux_direct::spawn(prepared)?;
        let process = ProcessHandle(crate::sys::imp::ProcessHandle::from_pidfd(pid, pidfd));
        return Ok(Spawned { process, launcher: None, end: None });
    }
    by_launcher(&prepared)
}

/// Starts the daemon as a child of a launcher.
pub(super) fn by_launcher(prepared: &Prepared) -> io::Result<Spawned> {
    let (report, theirs) = UnixStream::pair()?;
    let launcher = Launcher { pid: fork_launcher(prepared, &theirs)?, report };
    drop(theirs);
    match Report::read(&launcher.report)? {
        Some(Report::Started(pid)) => {
            let process = open(pid.cast_unsigned(), &launcher)?;
            Ok(Spawned { process, launcher: Some(launcher), end: None })
        }
        Some(Report::Failed(failure)) => Err(explained(failure)),
        Some(Report::Ended(_)) | None => Err(lost()),
    }
}

/// Opens the daemon. The launcher keeps its process id from being used again, so the launcher must live afterwards.
fn open(pid: u32, launcher: &Launcher) -> io::Result<ProcessHandle> {
    let opened = ProcessHandle::open(pid);
    if launcher.has_ended() {
        return Err(lost());
    }
    let opened = match opened {
        #[cfg(any(target_os = "macos", target_os = "freebsd"))]
        Ok(None) => crate::sys::imp::ProcessHandle::ended(pid).map(ProcessHandle),
        opened => opened.and_then(|process| process.ok_or_else(lost)),
    };
    opened.inspect_err(|_| {
        // Without a handle nobody could tell when it ends.
        if let Some(daemon) = rustix::process::Pid::from_raw(pid.cast_signed()) {
            let _ended = rustix::process::kill_process(daemon, rustix::process::Signal::KILL);
        }
    })
}

/// Forks the launcher and returns its process id.
fn fork_launcher(prepared: &Prepared, report: &UnixStream) -> io::Result<libc::pid_t> {
    let stack = child::Stack::new();
    with_all_blocked(|| {
        // SAFETY: the new process has one thread, and does what follows here.
        match unsafe { child::fork() }? {
            Some(launcher) => Ok(launcher),
            // SAFETY: this is the new process, and the signals are blocked.
            None => unsafe { launcher::run(prepared, &stack, report.as_raw_fd()) },
        }
    })
}

#[derive(Debug)]
pub(super) struct Spawned {
    process: ProcessHandle,
    /// The daemon's parent, where the system needs one.
    launcher: Option<Launcher>,
    end: Option<ProcessEnd>,
}

impl Spawned {
    pub(super) fn process(&self) -> &ProcessHandle {
        &self.process
    }

    pub(super) fn end(&mut self, deadline: Option<Instant>) -> io::Result<Option<ProcessEnd>> {
        if self.end.is_none() && self.process.wait_exit(deadline)? {
            self.end = Some(match &self.launcher {
                Some(launcher) => launcher.reported_end()?,
                None => self.told_end()?,
            });
        }
        Ok(self.end)
    }

    /// Returns what the system tells without a launcher.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn told_end(&self) -> io::Result<ProcessEnd> {
        super::linux_end::end_of(&self.process.0)
    }

    /// Returns that the system tells nothing. It needs a launcher.
    // The other system has errors and a receiver here.
    #[allow(clippy::unnecessary_wraps, clippy::unused_self)]
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn told_end(&self) -> io::Result<ProcessEnd> {
        Ok(ProcessEnd::Unknown)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.0.as_fd()
    }
}

/// The daemon's parent.
#[derive(Debug)]
struct Launcher {
    pid: libc::pid_t,
    report: UnixStream,
}

impl Launcher {
    /// Returns how the daemon ended, which has exited.
    fn reported_end(&self) -> io::Result<ProcessEnd> {
        let mut message = [PollFd::new(&self.report, PollFlags::IN)];
        let reported = wait_ready(&mut message, Some(Instant::now() + REPORT_TIMEOUT))?;
        let report = if reported { Report::read(&self.report)? } else { None };
        Ok(match report {
            Some(Report::Ended(end)) => end,
            _ => ProcessEnd::Unknown,
        })
    }

    fn has_ended(&self) -> bool {
        let mut next = [0];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(rustix::net::recv(&self.report, &mut next, flags), Ok((0, _)))
    }
}

/// Lets the launcher end, and removes the trace of it.
impl Drop for Launcher {
    fn drop(&mut self) {
        // Also when a process that this one forked has a copy of the descriptor.
        let _ended = self.report.shutdown(Shutdown::Both);
        child::reap(self.pid);
    }
}
