//! Child processes that end with their test.

use crate::{TEST_TIMEOUT, soon, watched};
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_sdk::{ConnectError, LocalStream, try_read_daemon_identity_file};
use running_process::broker::protocol::Endpoint;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// A daemon in a process of its own, with a unique socket and identity file.
#[derive(Debug)]
pub struct Daemon {
    /// The process.
    pub child: Child,
    /// The endpoint: a socket's path, or a pipe's bare name.
    pub socket: String,
    /// Its identity file.
    pub identity_file: PathBuf,
    /// The first line that it printed.
    pub ready: String,
    /// A directory for its other files.
    pub directory: TempDir,
}

impl Daemon {
    /// Starts the command that `command` returns for a socket and an identity file, and waits for its first line.
    pub fn start(command: impl FnOnce(&OsStr, &OsStr) -> Command) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), command)
    }

    /// Starts a daemon as [`start`](Self::start) does, in a directory of the caller's.
    ///
    /// # Panics
    ///
    /// The daemon does not start.
    pub fn start_in(directory: TempDir, command: impl FnOnce(&OsStr, &OsStr) -> Command) -> Self {
        let socket = if cfg!(windows) {
            directory.path().file_name().unwrap().to_str().unwrap().to_owned()
        } else {
            directory.path().join("s").to_str().unwrap().to_owned()
        };
        let identity_file = directory.path().join("identity.json");
        let mut command = command(socket.as_ref(), identity_file.as_ref());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let ready = watched(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            // A thread reads what it prints later.
            std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
            line
        });
        assert!(!ready.is_empty(), "{command:?} did not get ready: {:?}", child.wait());
        Self { child, socket, identity_file, ready, directory }
    }

    /// Starts the daemon whose legacy wire is [`wire`](crate::wire). It ends when its standard input does.
    #[must_use]
    pub fn length_prefixed(program: &str) -> Self {
        Self::start(|socket, identity_file| {
            let mut command = Command::new(program);
            command.args([socket, identity_file]);
            command
        })
    }

    /// Starts the command's cache, `running-process serve`. Its program is beside `own`, a program of this package.
    #[must_use]
    pub fn cache(own: &str) -> Self {
        Self::start(|socket, identity_file| {
            let mut command = Command::new(sibling(own, "running-process"));
            command.arg("serve").arg("--socket").arg(socket).arg("--identity").arg(identity_file);
            command
        })
    }

    /// Returns the identity in its identity file.
    #[must_use]
    pub fn identity(&self) -> DaemonProcess {
        try_read_daemon_identity_file(&self.identity_file)
            .unwrap()
            .expect("the daemon writes its identity file")
    }

    /// Returns the endpoint in its identity file.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.identity().ipc_endpoint
    }

    /// Connects to it.
    #[must_use]
    pub fn connect(&self) -> LocalStream {
        connect(&self.socket)
    }

    /// Returns a handle to it.
    #[must_use]
    pub fn handle(&self) -> BackendHandle {
        let identity = self.identity();
        BackendHandle::probe_with_service("test", "1", &identity.ipc_endpoint, &identity).unwrap()
    }

    /// Ends its standard input, by which it ends, and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.wait()
    }

    /// Waits for it to end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = soon();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon still runs after {TEST_TIMEOUT:?}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects to `socket`. Where the backlog is short, as on Windows, it may take more than one attempt.
#[must_use]
pub fn connect(socket: &str) -> LocalStream {
    let deadline = soon();
    loop {
        match LocalStream::connect(socket) {
            Err(ConnectError::BacklogFull { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            connected => return connected.unwrap(),
        }
    }
}

/// Writes and reads within [`TEST_TIMEOUT`].
pub trait StreamExt {
    /// Writes all of `bytes`.
    fn send(&self, bytes: &[u8]);
    /// Reads exactly `length` bytes.
    fn receive(&self, length: usize) -> Vec<u8>;
    /// Reads until the end of the stream, or until the peer is gone.
    fn receive_all(&self) -> Vec<u8>;
}

impl StreamExt for LocalStream {
    #[track_caller]
    fn send(&self, bytes: &[u8]) {
        self.write_all_deadline(bytes, Some(soon())).unwrap();
    }

    #[track_caller]
    fn receive(&self, length: usize) -> Vec<u8> {
        let mut all = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.read_deadline(&mut all[filled..], Some(soon())).unwrap() {
                0 => panic!("the stream ended after {filled} of {length} bytes"),
                received => filled += received,
            }
        }
        all
    }

    #[track_caller]
    fn receive_all(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut bytes = vec![0; 64 * 1024];
        loop {
            match self.read_deadline(&mut bytes, Some(soon())) {
                Ok(0) => return all,
                Ok(length) => all.extend_from_slice(&bytes[..length]),
                // The peer closed without having read everything.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
                Err(error) => panic!("{error} after {} bytes", all.len()),
            }
        }
    }
}

/// Runs `command` with `input` on its standard input, and fails if it hangs.
#[must_use]
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program may leave its input unread.
    let feeding = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &input));
    let output = watched(move || child.wait_with_output().unwrap());
    let _ = feeding.join();
    output
}

/// Returns whether `tool` runs with `arguments`; otherwise prints that a test is skipped.
#[must_use]
pub fn installed(tool: &str, arguments: &[&str]) -> bool {
    let found =
        Command::new(tool).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

/// Returns the program `name` of another package of this workspace, which is beside `own`, a program of this one.
///
/// # Panics
///
/// It has not been built.
#[must_use]
pub fn sibling(own: &str, name: &str) -> PathBuf {
    let path = Path::new(own).with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing: build it with `cargo test --workspace`", path.display());
    path
}
