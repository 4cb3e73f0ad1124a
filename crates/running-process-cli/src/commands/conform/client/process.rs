//! One run of the client's COMMAND.

use crate::commands::conform::command::{Places, prepared, spawned};
use crate::failure::Failure;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The pause between two looks at a client that runs.
const PAUSE: Duration = Duration::from_millis(2);
/// Most bytes of standard error that are shown.
const MAX_ERROR: usize = 512;

/// The limits of each run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits<'a> {
    pub(super) timeout: Duration,
    /// Set when this process is asked to end.
    pub(super) interrupted: &'a AtomicBool,
}

/// The end of a run.
#[derive(Debug)]
pub(super) struct Run {
    /// The exit status; `None` if the client ran for too long and was killed.
    pub(super) status: Option<ExitStatus>,
    pub(super) stdout: Vec<u8>,
    /// The end of standard error.
    pub(super) stderr: String,
}

/// Runs COMMAND, with its files in `directory`, within `limits`. Its children do not outlive it.
pub(super) fn run(
    words: &[OsString],
    places: &Places<'_>,
    directory: &Path,
    limits: &Limits<'_>,
) -> Result<Run, Failure> {
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| directory.join(name));
    let mut command = prepared(words, places);
    command
        .stdin(Stdio::null())
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?)
        .process_group(0);
    let mut child = spawned(&mut command, words)?;
    let pid = Pid::from_child(&child);
    let ended = wait(pid, limits);
    // The client is not reaped yet, so the number of the group is its own. Fails if no process is left in it.
    let _killed = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    let error = std::fs::read(stderr)?;
    Ok(Run {
        status: ended?.then_some(status),
        stdout: std::fs::read(stdout)?,
        stderr: String::from_utf8_lossy(&error[error.len().saturating_sub(MAX_ERROR)..]).trim().to_owned(),
    })
}

/// Returns whether the process ends within the limits.
fn wait(pid: Pid, limits: &Limits<'_>) -> io::Result<bool> {
    let until = Instant::now() + limits.timeout;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), options)?.is_none() {
        if Instant::now() > until || limits.interrupted.load(Ordering::Relaxed) {
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
    Ok(true)
}
