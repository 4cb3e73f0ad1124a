//! The daemon's parent, which reports its end.

#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, RawFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::retry_on_intr;
use rustix::net::SendFlags;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::child::{self, Stack, Started};
use super::daemon::Prepared;
use super::descriptors::close_all_but;
use super::plan::ProcessEnd;
use super::report::Report;

/// Starts the daemon and remains its parent until the starter closes the other end of the socket `report`, or ends.
///
/// # Safety
///
/// This process is a new one with no other thread. All signals are blocked. It may be a fork of a process with threads: all
/// calls here are system calls, and nothing allocates memory. `report` is a stream socket.
pub(super) unsafe fn run(prepared: &Prepared, stack: &Stack, report: RawFd) -> ! {
    // If the starter ignores the signal, the system does not keep the status of children.
    // SAFETY: this process has no other thread and no handler.
    unsafe { child::default_signal(libc::SIGCHLD) };
    // SAFETY: the new process runs nothing else, and the caller vouches for the rest.
    let execute = |kept| unsafe { prepared.execute(kept) };
    // SAFETY: the closure does nothing but system calls, and the caller vouches for this process.
    match unsafe { child::start(stack, 0, execute) } {
        Err(failure) => {
            // SAFETY: the socket is open.
            send(unsafe { BorrowedFd::borrow_raw(report) }, Report::Failed(failure));
        }
        Ok(Started { pid: daemon, .. }) => {
            // Nothing that the starter has open, and no directory, stays in use because of the launcher.
            // SAFETY: this process uses no other descriptor.
            unsafe { close_all_but(report) };
            let _stays = rustix::process::chdir(c"/");
            // SAFETY: the socket is open.
            let report = unsafe { BorrowedFd::borrow_raw(report) };
            if send(report, Report::Started(daemon.as_raw_nonzero().get())) {
                watch(daemon, report);
            }
        }
    }
    // SAFETY: the call has no precondition, and runs nothing of this program.
    unsafe { libc::_exit(0) }
}

/// Reports the daemon's end. Returns when the starter has closed its end of `report`. The daemon keeps its process id until
/// then, because it is never waited for.
fn watch(daemon: Pid, report: BorrowedFd<'_>) {
    if let Some(process) = child::watch(daemon) {
        let mut both = [PollFd::new(&process, PollFlags::IN), hang_up(report)];
        if retry_on_intr(|| rustix::event::poll(&mut both, None)).is_err() || !both[1].revents().is_empty() {
            return;
        }
    }
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let end = match retry_on_intr(|| waitid(WaitId::Pid(daemon), options)) {
        Ok(Some(status)) => end_of(&status),
        Ok(None) | Err(_) => ProcessEnd::Unknown,
    };
    if send(report, Report::Ended(end)) {
        let _closed = retry_on_intr(|| rustix::event::poll(&mut [hang_up(report)], None));
    }
}

/// The starter sends nothing, so its end is all that there is to read.
fn hang_up(report: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::from_borrowed_fd(report, PollFlags::IN)
}

fn end_of(status: &WaitIdStatus) -> ProcessEnd {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => ProcessEnd::Exited(status),
        (None, Some(signal)) => ProcessEnd::Signaled { signal, core: status.dumped() },
        (None, None) => ProcessEnd::Unknown,
    }
}

/// Returns whether the starter still reads.
fn send(report: BorrowedFd<'_>, message: Report) -> bool {
    let bytes = message.to_bytes();
    // A message fits into the buffer of the socket, so it is sent as a whole.
    retry_on_intr(|| rustix::net::send(report, &bytes, SendFlags::empty())).is_ok()
}
