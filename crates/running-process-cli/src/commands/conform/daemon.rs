//! The daemon that COMMAND starts, and its end.

use super::command::{Places, prepared, private_directory, signals, spawned};
use super::connection;
use super::trial::Target;
use crate::cli::ConformArgs;
use crate::failure::Failure;
use crate::text::safe;
use running_process::broker::backend_sdk::OnTermination;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The pause between two looks at a daemon that starts or ends.
const PAUSE: Duration = Duration::from_millis(5);
/// Longest time between the request to end and the kill.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of the log that are shown.
const MAX_LOG: usize = 2048;

/// The daemon and its children, which are in a process group of their own. Dropping it kills them.
pub(super) struct Daemon {
    group: Group,
    target: Target,
    directory: TempDir,
    interrupted: Arc<AtomicBool>,
    /// `None` where this system has no signals to wait for.
    _signals: Option<OnTermination>,
}

/// The end of a daemon.
#[derive(Debug)]
pub(super) struct Ending {
    /// The exit status of a daemon that ended before it was asked to.
    pub(super) early: Option<ExitStatus>,
    /// The end of its log.
    pub(super) log: String,
    pub(super) is_interrupted: bool,
}

struct Group {
    child: Child,
    pid: Pid,
    has_ended: bool,
}

impl Daemon {
    /// Starts the daemon and waits until it accepts connections, or a signal asks this process to end.
    pub(super) fn start(arguments: &ConformArgs) -> Result<Self, Failure> {
        let directory = private_directory()?;
        let socket = arguments.socket.clone().unwrap_or_else(|| directory.path().join("socket"));
        let identity =
            arguments.identity_file.clone().unwrap_or_else(|| directory.path().join("identity.json"));
        if connection::open(&socket).is_ok() {
            let error = format!("a daemon already serves {}", socket.display());
            return Err(Failure::undecided(error)
                .kind("in_use")
                .hint("leave COMMAND out to judge that daemon"));
        }
        let interrupted = Arc::new(AtomicBool::new(false));
        let signals = signals(&interrupted)?;
        let target = Target { identity_file: Some(identity.clone()), ..Target::new(arguments, socket) };
        let places = Places { socket: &target.socket, identity_file: &identity, protocol: target.protocol };
        let group = Group::spawn(&arguments.command, &places, directory.path())?;
        let mut daemon = Self { group, target, directory, interrupted, _signals: signals };
        daemon.wait_ready(writes_identity(&arguments.command))?;
        Ok(daemon)
    }

    pub(super) fn target(&self) -> Target {
        self.target.clone()
    }

    /// Returns whether a signal asks this process to end.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Ends the daemon: by SIGTERM, and what is left of its process group then by SIGKILL.
    pub(super) fn end(mut self) -> Result<Ending, Failure> {
        let is_running = self.group.is_running()?;
        let status = self.group.end()?;
        let early = if is_running { None } else { Some(status) };
        Ok(Ending { early, log: self.log(), is_interrupted: self.is_interrupted() })
    }

    fn wait_ready(&mut self, writes_identity: bool) -> Result<(), Failure> {
        let until = Instant::now() + self.target.timeout;
        let has_identity = || self.target.identity_file.as_ref().is_some_and(|file| file.exists());
        while connection::open(&self.target.socket).is_err() || writes_identity && !has_identity() {
            if !self.group.is_running()? {
                let status = self.group.end()?;
                return Err(self.not_ready(&format!("the daemon ended ({status}) before it served")));
            }
            if self.is_interrupted() {
                break;
            }
            if Instant::now() > until {
                let missing = if has_identity() || !writes_identity {
                    format!("does not accept connections at {}", self.target.socket.display())
                } else {
                    "has not written its identity file".to_owned()
                };
                let waited = self.target.timeout;
                return Err(self
                    .not_ready(&format!("the daemon {missing} after {waited:?}"))
                    .hint("tell it the path: {socket} in its arguments, or RUNNING_PROCESS_CONFORM_SOCKET"));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn not_ready(&self, error: &str) -> Failure {
        let log = self.log();
        let log = if log.is_empty() {
            "it printed nothing".to_owned()
        } else {
            format!("it printed: {}", safe(log))
        };
        Failure::undecided(log).kind("start_failed").context(error)
    }

    /// Returns the end of what the daemon printed.
    fn log(&self) -> String {
        let log = std::fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(MAX_LOG)..]).trim().to_owned()
    }
}

impl Group {
    fn spawn(words: &[OsString], places: &Places<'_>, directory: &Path) -> Result<Self, Failure> {
        let log = File::create(directory.join("log"))?;
        let mut command = prepared(words, places);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = spawned(&mut command, words)?;
        let pid = Pid::from_child(&child);
        Ok(Self { child, pid, has_ended: false })
    }

    /// Returns whether the daemon runs. Its number stays its own until [`end`](Self::end).
    fn is_running(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options)?.is_none())
    }

    /// Ends all processes of the group.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.has_ended = true;
        self.signal(Signal::TERM)?;
        let until = Instant::now() + END_TIMEOUT;
        while self.is_running()? && Instant::now() < until {
            thread::sleep(PAUSE);
        }
        self.signal(Signal::KILL)?;
        self.child.wait()
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match kill_process_group(self.pid, signal) {
            // Nothing but the ended daemon is left.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.has_ended {
            // The command has failed, and says why.
            let _best_effort = self.end();
        }
    }
}

/// Returns whether the command is told the path of the identity file, which it then writes.
fn writes_identity(command: &[OsString]) -> bool {
    command.iter().any(|word| word.as_bytes().windows(10).any(|part| part == b"{identity}"))
}
