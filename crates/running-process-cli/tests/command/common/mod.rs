//! Helpers of the tests: running the command with a watchdog, and daemons to run it on.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test code, of which each system uses its part"
)]

pub mod recording;
#[cfg(unix)]
pub mod server;
#[cfg(unix)]
pub mod service;
#[cfg(unix)]
pub mod terminal;
pub mod tmux;

#[cfg(unix)]
use signal_hook::{
    consts::{SIGHUP, SIGINT},
    flag::register_conditional_default,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
#[cfg(unix)]
use std::sync::{Arc, Once, atomic::AtomicBool};
use std::time::Duration;
use tempfile::TempDir;

/// Time after which a command counts as hanging.
pub const WATCHDOG: Duration = Duration::from_mins(1);

/// The exit status and the output of a command.
#[derive(Debug)]
pub struct Finished {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is text")
    }

    /// Returns the JSON objects on standard output, and checks the version of their schema.
    pub fn objects(&self) -> Vec<serde_json::Value> {
        let objects: Vec<serde_json::Value> =
            self.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        assert!(!objects.is_empty(), "nothing was printed; standard error: {}", self.stderr);
        assert!(objects.iter().all(|object| object["schema_version"] == 2), "{objects:?}");
        objects
    }

    #[track_caller]
    pub fn fails_with(&self, status: i32, words: &[&str]) -> &Self {
        assert_eq!(self.status, status, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {}", self.stderr);
        }
        self
    }
}

/// Creates the command in an environment that does not depend on that of the tests.
pub fn command() -> Command {
    #[cfg(unix)]
    reset_ignored_signals();
    let mut command = Command::new(env!("CARGO_BIN_EXE_running-process"));
    command.env_remove("RUNNING_PROCESS_DISABLE").env("LC_ALL", "C.UTF-8").env("TERM", "xterm");
    command.stdin(Stdio::null());
    command
}

/// Makes signals that the tests' process ignores have their default effect, as in the processes that it starts from now on.
///
/// A background job of a shell without job control ignores SIGINT, one under nohup SIGHUP. A process that is started inherits an
/// ignored signal, and not a handler.
#[cfg(unix)]
fn reset_ignored_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for signal in [SIGINT, SIGHUP] {
            register_conditional_default(signal, Arc::new(AtomicBool::new(true))).unwrap();
        }
    });
}

pub fn run(arguments: &[&str]) -> Finished {
    finish(command().args(arguments))
}

/// Runs the command with `input` on its standard input.
pub fn run_with_input(arguments: &[&str], input: &[u8]) -> Finished {
    finish_with_input(command().args(arguments), input)
}

/// Runs `command` with `input` on its standard input.
pub fn finish_with_input(command: &mut Command, input: &[u8]) -> Finished {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Fails if the command does not read all of it.
    std::thread::spawn(move || stdin.write_all(&input));
    collect(child)
}

pub fn finish(command: &mut Command) -> Finished {
    collect(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Sends the signal `name` to a process that the test has started. The shell has `kill` in every system.
pub fn kill(name: &str, pid: u32) {
    let kill = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()]).status();
    assert!(kill.expect("a shell").success(), "SIG{name} is sent to {pid}");
}

/// Waits for a command whose standard output does not go to the test.
pub fn collect_unread(mut child: Child) -> Finished {
    let (reader, _) = std::io::pipe().unwrap();
    collect_from(child.stderr.take().unwrap(), reader, child)
}

/// Waits for the end of a process and returns its exit status; `None` if a signal has ended it.
#[cfg(unix)]
pub fn wait(child: &mut Child) -> Option<i32> {
    let pid = rustix::process::Pid::from_child(child);
    let (ended, watchdog) = mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        let hangs = watchdog.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout);
        if hangs {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        hangs
    });
    let status = child.wait().unwrap();
    drop(ended);
    assert!(!guard.join().unwrap(), "the process hangs");
    status.code()
}

pub fn collect(mut child: Child) -> Finished {
    let stdout = child.stdout.take().unwrap();
    collect_from(child.stderr.take().unwrap(), stdout, child)
}

fn collect_from(
    stderr: impl Read + Send + 'static,
    stdout: impl Read + Send + 'static,
    mut child: Child,
) -> Finished {
    let stdout = read_aside(stdout);
    let stderr = read_aside(stderr);
    let end = |output: mpsc::Receiver<Vec<u8>>, child: &mut Child| {
        output.recv_timeout(WATCHDOG).unwrap_or_else(|_| {
            child.kill().unwrap();
            panic!("the command hangs");
        })
    };
    let stdout = end(stdout, &mut child);
    let stderr = end(stderr, &mut child);
    let status = child.wait().unwrap().code().expect("the command was not killed");
    Finished { status, stdout, stderr: String::from_utf8(stderr).unwrap() }
}

fn read_aside(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let _timed_out = sender.send(bytes);
    });
    receiver
}

/// A running `serve` in a private directory. It is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    pub child: Child,
    pub directory: TempDir,
    pub ready: String,
}

impl Daemon {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut child = command()
            .args(arguments)
            .arg("serve")
            .arg("--socket")
            .arg(endpoint_in(directory.path()))
            .arg("--identity")
            .arg(directory.path().join("cache.json"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
            let _timed_out = sender.send(line);
        });
        let ready = receiver.recv_timeout(WATCHDOG).expect("the daemon is ready in time");
        assert!(!ready.is_empty(), "the daemon has ended");
        Self { child, directory, ready }
    }

    pub fn socket(&self) -> PathBuf {
        endpoint_in(self.directory.path())
    }

    pub fn identity_file(&self) -> PathBuf {
        self.directory.path().join("cache.json")
    }

    /// Writes a changed copy of the identity file beside it and returns the copy's path.
    pub fn changed_identity_file(&self, name: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut identity = serde_json::from_slice(&std::fs::read(self.identity_file()).unwrap()).unwrap();
        change(&mut identity);
        let path = self.directory.path().join(name);
        std::fs::write(&path, identity.to_string()).unwrap();
        text(&path).to_owned()
    }

    /// Writes a copy of the identity file that names the test's own process, and returns its path.
    pub fn identity_file_of_another_process(&self) -> String {
        self.changed_identity_file("other.json", |identity| identity["pid"] = std::process::id().into())
    }
}

/// A socket in `directory`, or on Windows a pipe named after it, which no other test uses.
fn endpoint_in(directory: &Path) -> PathBuf {
    if cfg!(windows) {
        directory.file_name().expect("a temporary directory has a name").into()
    } else {
        directory.join("cache.sock")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have names in UTF-8")
}
