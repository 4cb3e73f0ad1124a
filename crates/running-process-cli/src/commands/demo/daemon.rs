//! The demo's daemon: this executable with the command `serve`, in a private directory.

use crate::commands::identity_file;
use crate::failure::Failure;
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Timeout of start and end, each of which takes the daemon milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Daemon {
    /// `None` if the daemon is to outlive the demo.
    child: Option<Child>,
    directory: TempDir,
    pub(super) identity_file: PathBuf,
    pub(super) started_in: Duration,
}

impl Daemon {
    /// Starts the daemon and waits until it is ready.
    pub(super) fn start() -> Result<Self, Failure> {
        let directory =
            tempfile::Builder::new().prefix("running-process-demo-").tempdir().map_err(|error| {
                Failure::undecided(error)
                    .context("no private directory can be created")
                    .hint("set TMPDIR to a directory that you can write")
            })?;
        let identity_file = directory.path().join("cache.json");
        let log = directory.path().join("cache.log");
        let socket = if cfg!(windows) {
            format!("running-process-demo-{}", std::process::id()).into()
        } else {
            directory.path().join("cache.sock").into_os_string()
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg("--socket").arg(&socket).arg("--identity").arg(&identity_file);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        #[cfg(unix)]
        {
            // With --keep, Ctrl-C at the terminal must not end the daemon.
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let started = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|error| Failure::undecided(error).context("the daemon cannot be started"))?;
        let stdout = child.stdout.take();
        let mut daemon = Self { child: Some(child), directory, identity_file, started_in: Duration::ZERO };
        match stdout.and_then(first_line) {
            Some(line) if line.starts_with("ready") => {
                daemon.started_in = started.elapsed();
                Ok(daemon)
            }
            _ => {
                let mut messages = String::new();
                File::open(&log)?.read_to_string(&mut messages)?;
                Err(Failure::undecided(format!(
                    "the daemon did not start; its messages: {}",
                    messages.trim()
                )))
            }
        }
    }

    /// Returns the directory of the daemon's files, in which its log is left.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Reads the daemon's identity file.
    pub(super) fn identity(&self) -> Result<DaemonProcess, Failure> {
        identity_file::read(&self.identity_file)
    }

    /// Stops the daemon, waits for its end, checks that it has removed its files, and returns the time that this took.
    pub(super) fn stop(mut self, identity: &DaemonProcess) -> Result<Duration, Failure> {
        let started = Instant::now();
        let handle = BackendHandle::probe_with_service("demo", "", &identity.ipc_endpoint, identity)
            .map_err(Failure::negative)?;
        let ended = handle.shutdown(TIMEOUT);
        if let Some(mut child) = self.child.take() {
            if cfg!(windows) {
                child.kill()?;
            } else {
                ended.map_err(Failure::negative)?;
            }
            child.wait()?;
        }
        let took = started.elapsed();
        for left in [self.identity_file.as_path(), identity.ipc_endpoint.path.as_ref()] {
            if !cfg!(windows) && left.exists() {
                return Err(Failure::negative(format!(
                    "the daemon ended and left {} behind",
                    left.display()
                )));
            }
        }
        Ok(took)
    }

    /// Lets the daemon and its directory outlive this process.
    pub(super) fn leave_running(mut self) {
        self.child = None;
        self.directory.disable_cleanup(true);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The demo has failed and must not leave a process behind.
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Returns the first line, unless it takes too long or the process ends before.
fn first_line(stdout: ChildStdout) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if BufReader::new(stdout).read_line(&mut line).is_ok() {
            // An error means that the receiver has timed out.
            let _timed_out = sender.send(line);
        }
    });
    receiver.recv_timeout(TIMEOUT).ok()
}
