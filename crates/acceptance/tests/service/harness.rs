//! One service in a directory of its own, its clients and its daemons.

use running_process_acceptance::{TEST_TIMEOUT, soon, watched};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use std::fs::{self, DirBuilder};
use std::io::{BufRead, BufReader, PipeWriter, Read, pipe};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const PROBE: &str = env!("CARGO_BIN_EXE_service-probe");
const NAME: &str = "svc";

/// A service whose processes have a marker among their arguments. All of them end with this value.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) marker: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Returns a bench whose directory is in `parent`.
    pub(crate) fn below(parent: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::Builder::new().prefix("svc").tempdir_in(parent).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let random = directory.path().file_name().unwrap().to_str().unwrap();
        let marker = format!("marker-{}-{number}-{random}", std::process::id());
        Self { directory, marker }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the root of all services of this bench.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// Returns the directory of the service without a key.
    pub(crate) fn place(&self) -> PathBuf {
        self.root().join(NAME)
    }

    /// Returns a client without a command: the environment is empty but for what its libraries need.
    pub(crate) fn bare_client(&self, verb: &str, words: &[&str]) -> Command {
        let mut command = Command::new(PROBE);
        command.arg(verb).arg(format!("name={NAME}"));
        command.arg(format!("root={}", self.root().display()));
        command.arg(format!("set=XDG_CACHE_HOME={}", self.path("cache").display()));
        command.args(words).env("XDG_CACHE_HOME", self.path("cache")).stdin(Stdio::null());
        command
    }

    /// Returns a client that starts daemons by `plan`.
    pub(crate) fn client(&self, verb: &str, words: &[&str], plan: &str) -> Command {
        let mut command = self.bare_client(verb, words);
        command.arg("--").arg(PROBE).args(self.daemon_arguments(plan));
        command
    }

    /// Returns the arguments of a daemon.
    pub(crate) fn daemon_arguments(&self, plan: &str) -> [String; 4] {
        let events = self.path("events").to_str().unwrap().to_owned();
        ["daemon".to_owned(), self.marker.clone(), events, plan.to_owned()]
    }

    pub(crate) fn ensure(&self, words: &[&str], plan: &str) -> Value {
        result(&mut self.client("ensure", words, plan))
    }

    /// Returns the process id of the daemon, which must serve.
    #[track_caller]
    pub(crate) fn served(&self, words: &[&str], plan: &str) -> u32 {
        served_by(&self.ensure(words, plan))
    }

    /// Makes the directory of the service, as the library does.
    pub(crate) fn make_place(&self) {
        DirBuilder::new().mode(0o700).recursive(true).create(self.place()).unwrap();
    }

    /// Returns a client whose root is in its environment.
    pub(crate) fn plain_client(&self, verb: &str, plan: &str) -> Command {
        let mut command = Command::new(PROBE);
        command.arg(verb).arg(format!("name={NAME}"));
        command.arg(format!("set=XDG_CACHE_HOME={}", self.path("cache").display()));
        command.arg("--").arg(PROBE).args(self.daemon_arguments(plan));
        command.env("XDG_CACHE_HOME", self.path("cache")).stdin(Stdio::null());
        command
    }

    pub(crate) fn find(&self) -> Value {
        result(&mut self.bare_client("find", &[]))
    }

    pub(crate) fn stop(&self, words: &[&str]) -> Value {
        result(&mut self.bare_client("stop", words))
    }

    /// Stops the service, and checks that this daemon ended.
    #[track_caller]
    pub(crate) fn assert_stopped(&self, daemon: u32) {
        let stopped = self.stop(&[]);
        assert_eq!(stopped["stopped"], "Ended", "{stopped:#}");
        assert_eq!(stopped["pid"].as_u64(), Some(daemon.into()), "{stopped:#}");
        assert!(self.daemons().is_empty());
    }

    /// Returns the number of times that a daemon did `event`.
    pub(crate) fn events(&self, event: &str) -> usize {
        let events = fs::read_to_string(self.path("events")).unwrap_or_default();
        events.lines().filter(|line| line.split(' ').next() == Some(event)).count()
    }

    /// Waits until daemons have done `event` so many `times`, and returns the process of the last one.
    #[track_caller]
    pub(crate) fn await_event(&self, event: &str, times: usize) -> u32 {
        await_that(event, || self.events(event) >= times);
        let events = fs::read_to_string(self.path("events")).unwrap();
        let last = events.lines().rfind(|line| line.split(' ').next() == Some(event)).unwrap();
        last.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Returns all processes with the marker, as the kernel lists them. A zombie has no arguments.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            self.has(pid).then_some(pid)
        });
        pids.collect()
    }

    /// Returns the daemons.
    pub(crate) fn daemons(&self) -> Vec<u32> {
        let is_daemon = |pid: &u32| arguments(*pid).get(1).is_some_and(|verb| verb == b"daemon");
        self.processes().into_iter().filter(is_daemon).collect()
    }

    /// Returns the child that a daemon has left.
    #[track_caller]
    pub(crate) fn child(&self) -> u32 {
        let is_child = |pid: &u32| arguments(*pid).get(1).is_some_and(|verb| verb == b"keep");
        let children = || self.processes().into_iter().filter(is_child).collect::<Vec<_>>();
        // A program that begins has no arguments for a moment.
        await_that("one child", || children().len() == 1);
        children()[0]
    }

    /// Starts a process that takes the socket's name away from the daemon.
    pub(crate) fn impostor(&self) -> Running {
        let mut command = Command::new(PROBE);
        command.args(["impostor", &self.marker]).arg(self.place().join("socket"));
        let mut impostor = Running::start(&mut command);
        assert_eq!(impostor.line(), "ready\n");
        impostor
    }

    fn has(&self, pid: u32) -> bool {
        arguments(pid).iter().any(|argument| argument == self.marker.as_bytes())
    }

    /// Sends a signal to one of the processes, and waits for the effect of STOP and KILL.
    #[track_caller]
    pub(crate) fn signal(&self, pid: u32, signal: Signal) {
        assert!(self.signal_if_alive(pid, signal), "process {pid} is no process of this test");
    }

    /// Sends a signal as [`signal`](Self::signal) does, and returns whether the process was there.
    pub(crate) fn signal_if_alive(&self, pid: u32, signal: Signal) -> bool {
        let handle = pidfd_open(Pid::from_raw(pid.cast_signed()).unwrap(), PidfdFlags::empty());
        let Some(handle) = handle.ok().filter(|_| self.has(pid)) else { return false };
        if pidfd_send_signal(&handle, signal).is_err() {
            return false;
        }
        if signal == Signal::KILL {
            // Its arguments are gone before its descriptors are.
            let mut end = [PollFd::new(&handle, PollFlags::IN)];
            assert_eq!(poll(&mut end, Some(&Timespec::try_from(TEST_TIMEOUT).unwrap())), Ok(1));
        } else if signal == Signal::STOP {
            let has_stopped = || thread_states(pid).iter().all(|state| *state == b'T');
            await_that("stop of all threads", || has_stopped() || !self.has(pid));
            return self.has(pid);
        }
        true
    }

    /// Checks that at most one daemon ever served at a time.
    #[track_caller]
    pub(crate) fn assert_never_two(&self) {
        assert_eq!(self.events("second"), 0, "{:?}", fs::read_to_string(self.path("events")));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for _ in 0..100 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for pid in left {
                let handle = pidfd_open(Pid::from_raw(pid.cast_signed()).unwrap(), PidfdFlags::empty());
                if let Ok(handle) = handle
                    && self.has(pid)
                {
                    // It may have ended.
                    let _ = pidfd_send_signal(&handle, Signal::KILL);
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Returns the letter of the state of each thread.
fn thread_states(pid: u32) -> Vec<u8> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let state = |task: fs::DirEntry| {
        let stat = fs::read(task.path().join("stat")).ok()?;
        stat.get(stat.iter().rposition(|byte| *byte == b')')? + 2).copied()
    };
    tasks.filter_map(|task| state(task.ok()?)).collect()
}

fn arguments(pid: u32) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Waits until `is_so`.
#[track_caller]
pub(crate) fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let deadline = soon();
    while !is_so() {
        assert!(Instant::now() < deadline, "no {what} within {TEST_TIMEOUT:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a client, and returns its result.
#[track_caller]
pub(crate) fn result(command: &mut Command) -> Value {
    Running::start(command).result()
}

/// A client that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().map(BufReader::new);
        Self { child, output }
    }

    /// Returns the next line; empty at the end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut output = self.output.take().unwrap();
        let (line, output) = watched(move || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            (line, output)
        });
        self.output = Some(output);
        line
    }

    /// Returns the result of a client that goes on.
    #[track_caller]
    pub(crate) fn first_result(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Returns the result of a client that ends.
    #[track_caller]
    pub(crate) fn result(mut self) -> Value {
        let result = self.first_result();
        let mut rest = String::new();
        self.output.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        assert!(self.child.wait().unwrap().success());
        result
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients that are ready and wait for a common start.
pub(crate) struct Crowd {
    clients: Vec<Running>,
    start: PipeWriter,
}

impl Crowd {
    /// Starts the clients. Their words include `waits=1`.
    pub(crate) fn gather(commands: impl IntoIterator<Item = Command>) -> Self {
        let (input, start) = pipe().unwrap();
        let mut clients: Vec<_> = commands
            .into_iter()
            .map(|mut command| Running::start(command.stdin(input.try_clone().unwrap())))
            .collect();
        for client in &mut clients {
            assert_eq!(client.line(), "waits\n");
        }
        Self { clients, start }
    }

    /// Lets all of them begin, and returns them.
    pub(crate) fn release(self) -> Vec<Running> {
        drop(self.start);
        self.clients
    }
}

/// Returns the process that served the client, which is the daemon of the handle.
#[track_caller]
pub(crate) fn served_by(result: &Value) -> u32 {
    assert!(result["error"].is_null(), "{result:#}");
    let pid = result["pid"].as_u64().unwrap();
    assert_eq!(result["answer"].as_str(), Some(&*pid.to_string()), "{result:#}");
    pid.try_into().unwrap()
}

/// Checks a result of `find`.
#[track_caller]
pub(crate) fn assert_state(found: &Value, state: &str, pid: Option<u32>) {
    assert_eq!(found["state"].as_str(), Some(state), "{found:#}");
    if let Some(pid) = pid {
        assert_eq!(found["pid"].as_u64(), Some(pid.into()), "{found:#}");
    }
}

/// Returns whether this test may become other users; if not, prints that a part is skipped.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root has files of other users");
    }
    root
}

/// Returns the directory of remembered digests, which services share that are many: the first one reads the program.
pub(crate) fn cache() -> PathBuf {
    static CACHE: OnceLock<TempDir> = OnceLock::new();
    CACHE.get_or_init(|| tempfile::tempdir().unwrap()).path().to_owned()
}

/// Returns whether the child `pid` of this process has ended.
pub(crate) fn has_ended(pid: u32) -> bool {
    state_of(pid).is_none_or(|state| state == 'Z')
}

/// Returns the letter of `/proc` for the state of the process.
pub(crate) fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
