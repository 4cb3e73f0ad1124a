//! Processes of the program `peer`, genuine and hostile, and their endpoint.

use crate::{TEST_TIMEOUT, soon, watched};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::try_decode_framed;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use tempfile::TempDir;

/// The request of a caller to a proven daemon. No other process may ever receive it.
pub const SECRET: &[u8] = b"the caller's secret";
/// The start of every answer of the genuine daemon, unless it gets another one.
pub const TOKEN: &str = "genuine";

/// A process that prints what it receives, line by line, and ends when its standard input does.
#[derive(Debug)]
pub struct Peer {
    /// The process.
    pub child: Child,
    lines: Receiver<String>,
    /// A line that has been read already.
    first: Option<String>,
}

impl Peer {
    /// Starts `command` and waits until it is `ready`.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::piped())
    }

    /// Starts `command` with the listening socket `listener` as its standard input.
    pub fn start_on(command: &mut Command, listener: impl Into<OwnedFd>) -> Self {
        Self::start_with(command, Stdio::from(listener.into()))
    }

    fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        let mut peer = Self::spawn(command, stdin);
        let line = peer.line();
        assert_eq!(line.as_deref(), Some("ready"), "{command:?}");
        peer
    }

    /// Starts `command` and waits for nothing.
    pub fn spawn(command: &mut Command, stdin: Stdio) -> Self {
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                // The peer goes on when the receiver is gone.
                let _ = send.send(line.unwrap());
            }
        });
        Self { child, lines, first: None }
    }

    /// Returns its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the next line that it prints; `None` if it has ended.
    #[must_use]
    pub fn line(&mut self) -> Option<String> {
        if let Some(line) = self.first.take() {
            return Some(line);
        }
        match self.lines.recv_timeout(TEST_TIMEOUT) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line from {:?}", self.child),
        }
    }

    /// Waits `times` as long as usual until it prints a line or has ended.
    pub fn wait_longer(&mut self, times: u32) {
        match self.lines.recv_timeout(TEST_TIMEOUT * times) {
            Ok(line) => self.first = Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => {}
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line from {:?}", self.child),
        }
    }

    /// Returns all lines that it prints until it has ended.
    pub fn lines(&mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let lines = std::iter::from_fn(|| self.line()).collect();
        self.reap();
        lines
    }

    /// Lets an impostor end, and returns what it received, connection by connection.
    pub fn received(&mut self) -> Vec<Vec<u8>> {
        let bytes = |line: String| {
            let digits = line.strip_prefix("connection ").unwrap_or_else(|| panic!("{line:?}")).as_bytes();
            let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        };
        self.lines().into_iter().map(bytes).collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// Stops it, and waits until it has stopped.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        self.wait_stopped();
    }

    /// Waits until it has been stopped.
    pub fn wait_stopped(&self) {
        self.wait_for(WaitIdOptions::STOPPED);
    }

    /// Waits until it has ended, and leaves it a zombie.
    pub fn wait_zombie(&self) {
        self.wait_for(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }

    fn wait_for(&self, what: WaitIdOptions) {
        let id = self.id();
        watched(move || waitid(WaitId::Pid(id), what).unwrap());
    }

    fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Kills it; it stays a zombie.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait_zombie();
    }

    /// Waits until it has ended and is reaped.
    pub fn reap(&mut self) {
        self.wait_zombie();
        self.child.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with a socket's path and an identity file, and the program that listens there.
#[derive(Debug)]
pub struct TestEndpoint {
    /// Removed at the end.
    pub directory: TempDir,
    /// The program `peer`, or a copy of it.
    pub program: PathBuf,
    /// The path at which the genuine daemon listens, or is believed to.
    pub socket: PathBuf,
    /// The identity file of the daemon.
    pub identity_file: PathBuf,
}

impl TestEndpoint {
    /// Returns an endpoint for processes of `program`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [socket, identity_file] = ["s", "identity.json"].map(|name| directory.path().join(name));
        Self { program: program.into(), socket, identity_file, directory }
    }

    /// Returns an endpoint for a copy of `program`, which may be changed.
    #[must_use]
    pub fn with_copy(program: impl AsRef<Path>) -> Self {
        Self::with_large_copy(program, 0)
    }

    /// Returns an endpoint for a copy of `program` of at least `bytes`.
    #[must_use]
    pub fn with_large_copy(program: impl AsRef<Path>, bytes: u64) -> Self {
        let mut place = Self::new("");
        place.program = place.path("daemon");
        copy_program(program.as_ref(), &place.program, bytes);
        place
    }

    /// Returns a path in its directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a command that runs the program in the role `mode`.
    #[must_use]
    pub fn command(&self, mode: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(mode).args([&self.socket, &self.identity_file]);
        command
    }

    /// Starts the program in the role `mode`.
    #[must_use]
    pub fn start(&self, mode: &str) -> Peer {
        Peer::start(&mut self.command(mode))
    }

    /// Returns the identity in the identity file.
    #[must_use]
    pub fn identity(&self) -> DaemonProcess {
        let deadline = soon();
        let identity = try_read_daemon_identity_file(&self.identity_file).unwrap();
        assert!(std::time::Instant::now() < deadline, "an identity file is read at once");
        identity.expect("the daemon writes its identity file before it is ready")
    }
}

/// Copies a program, and makes it larger with a hole if it has less than `bytes`: it still runs.
///
/// Another process does that, so that no child that this one starts meanwhile can hold the copy open for writing, which
/// would keep it from being run.
///
/// # Panics
///
/// It cannot be copied.
pub fn copy_program(from: &Path, to: &Path, bytes: u64) {
    let mut copy = Command::new("sh");
    copy.args(["-c", r#"cp "$1" "$2" && truncate -s ">$3" "$2""#, "sh"]);
    copy.args([from, to]).arg(bytes.to_string());
    assert!(copy.status().unwrap().success(), "{copy:?}");
}

/// Returns whether `bytes` are empty, or exactly one challenge.
#[must_use]
pub fn only_a_probe(bytes: &[u8]) -> bool {
    bytes.is_empty()
        || try_decode_framed(bytes).unwrap().is_some_and(|decoded| {
            decoded.frame.payload_protocol == BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL
                && decoded.consumed == bytes.len()
        })
}
