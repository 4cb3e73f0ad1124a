//! Programs under test as child processes, none of which can outlive its deadline.

pub mod front;
pub mod skip;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Far longer than any step takes on a slow machine: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

/// One build of the programs that speak the wire.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    Ours,
    /// Knows the command `client` only.
    OursOnTokio,
    Published(&'static str),
    /// A daemon whose own wire others made. It knows no commands.
    Legacy(&'static str),
}

impl Program {
    /// Returns whether `run.sh` has built it: `INTEROP_VERSIONS` names the published versions, without it all are there.
    pub fn is_wanted(self) -> bool {
        match (self, std::env::var("INTEROP_VERSIONS")) {
            (Program::Published(version), Ok(wanted)) => wanted.split(' ').any(|wanted| wanted == version),
            _ => true,
        }
    }

    pub fn path(self) -> PathBuf {
        let name = match self {
            Program::Ours => "ours".to_owned(),
            Program::OursOnTokio => "ours-tokio".to_owned(),
            Program::Published(version) => format!("peer-{}", version.replace('.', "-")),
            Program::Legacy(wire) => format!("legacy-{wire}"),
        };
        // `run.sh` builds every package into one directory.
        let path = Path::new(env!("CARGO_BIN_EXE_ours")).with_file_name(name);
        assert!(path.exists(), "{} is not built: run interop/run.sh", path.display());
        path
    }

    /// Runs to the end, with `input` on standard input.
    pub fn run(self, args: &[&Path], input: String) -> Report {
        let mut running = Running::spawn(Command::new(self.path()).args(args));
        let mut stdin = running.child.stdin.take().expect("standard input is piped");
        // A program that ends early closes the pipe; what it printed says why.
        let writer = thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
        running.read_until(|_| false);
        let report = running.end();
        writer.join().expect("the writer does not panic");
        report
    }

    pub fn client(self, identity_file: &Path) -> Report {
        self.run(&[Path::new("client"), identity_file], String::new())
    }
}

/// The output of a program, and whether it succeeded.
#[derive(Debug)]
pub struct Report {
    pub success: bool,
    pub lines: Vec<String>,
}

impl Report {
    /// Each step of the client worked: proof, three requests, and one that needs many reads.
    #[track_caller]
    pub fn assert_served(&self) {
        let expected = [
            "ok read",
            "ok probe",
            "alive true",
            "ok connect",
            "ok request",
            "reply pong:ping 0",
            "ok request",
            "reply pong:ping 1",
            "ok request",
            "reply pong:ping 2",
            "ok large",
        ];
        assert!(self.success && self.lines == expected, "{self:#?}");
    }

    #[track_caller]
    pub fn assert_failed_at(&self, step: &str) {
        let last = self.lines.last().map_or("", String::as_str);
        assert!(!self.success && last.starts_with(&format!("failed {step}: ")), "{self:#?}");
    }
}

/// A daemon that is ready, in a directory of its own.
pub struct Daemon {
    running: Running,
    directory: TempDir,
}

impl Daemon {
    pub fn start(program: Program) -> Daemon {
        Self::start_with(program, &[])
    }

    /// Starts the daemon with more arguments than those of every daemon.
    pub fn start_with(program: Program, more: &[&Path]) -> Daemon {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (socket, identity_file) =
            (directory.path().join("socket"), directory.path().join("identity.json"));
        let command = match program {
            Program::Legacy(_) => &[][..],
            _ => &[Path::new("daemon")],
        };
        let arguments = [command, &[&*socket, &*identity_file], more].concat();
        Daemon { running: Running::ready(Command::new(program.path()).args(arguments)), directory }
    }

    /// Another process of the same program takes over the socket's path while this daemon lives, and claims to be it.
    pub fn replaced_by_impostor(&self, program: Program) -> Running {
        std::fs::remove_file(self.socket()).expect("the socket exists");
        let mut replay = Command::new(program.path());
        Running::ready(replay.arg("replay").arg(self.socket()).arg(self.identity_file()))
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub fn identity_file(&self) -> PathBuf {
        self.directory.path().join("identity.json")
    }

    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// Returns the path of a changed copy of the identity file.
    pub fn altered_identity_file(&self, name: &str, alter: impl FnOnce(&mut serde_json::Value)) -> PathBuf {
        let text = std::fs::read(self.identity_file()).expect("the identity file is readable");
        let mut value = serde_json::from_slice(&text).expect("the identity file is JSON");
        alter(&mut value);
        let path = self.directory.path().join(name);
        std::fs::write(&path, value.to_string()).expect("the directory is writable");
        path
    }

    /// Tells the daemon to end, and returns its directory, to look at what is left.
    pub fn stop(self) -> TempDir {
        let report = self.running.end_with_input();
        assert!(report.success, "{report:#?}");
        self.directory
    }
}

/// A child process, and what it prints.
pub struct Running {
    child: Child,
    output: Receiver<String>,
    lines: Vec<String>,
    deadline: Instant,
}

impl Running {
    pub fn spawn(command: &mut Command) -> Running {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (lines, output) = channel();
        forward(child.stdout.take().expect("standard output is piped"), lines.clone());
        forward(child.stderr.take().expect("standard error is piped"), lines);
        Running { child, output, lines: Vec::new(), deadline: Instant::now() + DEADLINE }
    }

    /// Starts a daemon, and waits until it says that it is ready.
    pub fn ready(command: &mut Command) -> Running {
        let mut running = Running::spawn(command);
        let is_ready = running.read_until(|line| line.starts_with("ready"));
        assert!(is_ready, "{command:?} ended early: {:#?}", running.lines);
        running
    }

    /// Waits for the line that is wanted, and returns it.
    #[track_caller]
    pub fn line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        assert!(self.read_until(wanted), "the process ended early: {:#?}", self.lines);
        self.lines.last().expect("it was read").clone()
    }

    /// Writes a line to the standard input.
    #[track_caller]
    pub fn write_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("standard input is piped");
        writeln!(input, "{line}").expect("the process reads its input");
    }

    /// Ends the standard input, and waits for the end of the process.
    pub fn end_with_input(mut self) -> Report {
        self.child.stdin = None;
        self.read_until(|_| false);
        self.end()
    }

    /// Reads up to the line that is wanted; `false` if the output ended before.
    fn read_until(&mut self, wanted: impl Fn(&str) -> bool) -> bool {
        loop {
            match self.output.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.lines.push(line);
                    if self.lines.last().is_some_and(|line| wanted(line)) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {
                    self.child.kill().expect("the child can be killed");
                    panic!("no end within {DEADLINE:?}, after {:#?}", self.lines);
                }
            }
        }
    }

    /// The child closed its outputs, which these programs do only by ending.
    fn end(mut self) -> Report {
        let status = self.child.wait().expect("the child can be waited for");
        Report { success: status.success(), lines: std::mem::take(&mut self.lines) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when the child has been waited for, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(pipe: impl Read + Send + 'static, lines: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}
