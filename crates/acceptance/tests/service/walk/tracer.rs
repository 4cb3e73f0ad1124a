//! strace, attached to a process that runs.

use super::trace::STRACE;
use crate::harness::{await_that, has_ended};
use running_process_acceptance::watched;
use rustix::process::{Pid, Signal, kill_process};
use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Returns the words that start a program under strace with the words `tracer`. The tracer is a grandchild, so the child is the
/// program.
pub(super) fn traced(tracer: &[String]) -> Vec<String> {
    [&[STRACE.to_owned(), "-D".to_owned(), "-f".to_owned()], tracer].concat()
}

/// Lets the tracer of a program that was started so go.
pub(super) fn end_tracer(pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok());
    if let Some(tracer) = tracer.and_then(Pid::from_raw) {
        // It may have ended with the process.
        let _ = kill_process(tracer, Signal::KILL);
    }
}

/// strace, attached to a process that runs.
pub(super) struct Tracer {
    pid: u32,
    child: Child,
    log: PathBuf,
}

impl Tracer {
    /// Attaches to all threads of the process. `words` are those of a record or an injection into the file `log`.
    pub(super) fn attach(pid: u32, words: &[String], log: PathBuf) -> Self {
        let mut command = Command::new(STRACE);
        command.args(["-f", "-p", &pid.to_string()]).args(words);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let line = watched(move || {
            let mut line = String::new();
            errors.read_line(&mut line).unwrap();
            // It tells of each new thread.
            std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
            line
        });
        assert!(line.contains("attached"), "{line}");
        Self { pid, child, log }
    }

    /// Lets the process go, and returns the record.
    pub(super) fn detach(mut self) -> String {
        // It has ended already if the process has.
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let (pid, child) = (self.pid, RefCell::new(&mut self.child));
        // It may wait for more of a process that has ended, until the test has waited for that.
        await_that("end of strace", || child.borrow_mut().try_wait().unwrap().is_some() || has_ended(pid));
        let log = self.log.clone();
        drop(self);
        fs::read_to_string(log).unwrap()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns whether the record tells of a fault.
pub(super) fn was_injected(log: &Path) -> bool {
    fs::read_to_string(log).unwrap().contains("(INJECTED)")
}

/// Returns whether the record tells that the process was stopped.
pub(super) fn was_stopped(log: &Path) -> bool {
    // strace makes the file when it begins.
    fs::read_to_string(log).is_ok_and(|log| log.contains("stopped by SIGSTOP"))
}
