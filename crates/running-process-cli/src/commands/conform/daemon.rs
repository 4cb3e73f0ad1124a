//! The daemon that COMMAND starts, and its end.

use super::connection;
use super::trial::Target;
use crate::cli::ConformArgs;
use crate::failure::Failure;
use crate::text::safe;
use running_process::broker::backend_sdk::OnTermination;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The variables that tell the daemon its places.
const SOCKET_VARIABLE: &str = "RUNNING_PROCESS_CONFORM_SOCKET";
const IDENTITY_VARIABLE: &str = "RUNNING_PROCESS_CONFORM_IDENTITY";
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
        let directory = private_directory().map_err(|error| {
            Failure::from(error).context("no private directory can be created").hint("make /tmp writable")
        })?;
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
        let group = Group::spawn(&arguments.command, &socket, &identity, directory.path())?;
        let target = Target { identity_file: Some(identity), ..Target::new(arguments, socket) };
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
    fn spawn(words: &[OsString], socket: &Path, identity: &Path, directory: &Path) -> Result<Self, Failure> {
        let replaced = |word: &OsString| {
            let word = replace(word.as_bytes(), b"{socket}", socket.as_os_str());
            OsString::from_vec(replace(&word, b"{identity}", identity.as_os_str()))
        };
        let words: Vec<OsString> = words.iter().map(replaced).collect();
        let log = File::create(directory.join("log"))?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env(SOCKET_VARIABLE, socket).env(IDENTITY_VARIABLE, identity);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().map_err(|error| {
            let program = PathBuf::from(&words[0]);
            Failure::undecided(error)
                .kind("no_program")
                .context(format!("{} cannot be run", program.display()))
        })?;
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

fn replace(word: &[u8], name: &[u8], value: &OsStr) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.windows(name.len()).position(|part| part == name) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(value.as_bytes());
        rest = &rest[at + name.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

fn signals(interrupted: &Arc<AtomicBool>) -> Result<Option<OnTermination>, Failure> {
    let flag = Arc::clone(interrupted);
    match OnTermination::new(move || flag.store(true, Ordering::Relaxed)) {
        Ok(signals) => Ok(Some(signals)),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(Failure::from(error).context("signals cannot be handled")),
    }
}

/// Makes a private directory with a short path, because a socket's path is short.
fn private_directory() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("rp-conform-").permissions(std::fs::Permissions::from_mode(0o700)).tempdir_in("/tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_in_an_argument_is_replaced() {
        let value = OsStr::new("/tmp/s");
        assert_eq!(replace(b"--at={socket}:{socket}", b"{socket}", value), b"--at=/tmp/s:/tmp/s");
        assert_eq!(replace(b"{socke}", b"{socket}", value), b"{socke}");
    }
}
