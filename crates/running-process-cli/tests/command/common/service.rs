//! Services in a directory of the test's own.

use super::{Finished, collect, command, finish, kill, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A private directory with the files of services and all that they leave. All of their daemons are stopped when this is
/// dropped.
#[derive(Debug)]
pub struct Services {
    directory: TempDir,
}

impl Services {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the root of the services' directories.
    pub fn root(&self) -> PathBuf {
        self.path("services")
    }

    /// Writes the file of a service and returns its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(&format!("{name}.toml"));
        std::fs::write(&path, format!("name = '{name}'\n{content}\n")).unwrap();
        text(&path).to_owned()
    }

    /// Writes the file of a service whose daemon is `serve`, and returns its path.
    pub fn cache(&self, name: &str, more: &str) -> String {
        self.file(name, &format!("{}\n{more}", serve(&self.path(&format!("{name}.toml")))))
    }

    /// Returns the directory of files that are found by name.
    pub fn configuration(&self) -> PathBuf {
        self.path("configuration/running-process/services")
    }

    /// Writes a file that is found by the name `label`, and returns its path.
    pub fn configure(&self, label: &str, content: &str) -> PathBuf {
        std::fs::create_dir_all(self.configuration()).unwrap();
        let path = self.configuration().join(format!("{label}.toml"));
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes the file of a service that is found by its name, whose daemon is `serve`.
    pub fn configure_cache(&self, name: &str, more: &str) -> PathBuf {
        let command = serve(&self.configuration().join(format!("{name}.toml")));
        self.configure(name, &format!("name = '{name}'\n{command}\n{more}\n"))
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.with_directories(command());
        command.args(arguments);
        command
    }

    /// Makes a command use the services in this directory.
    pub fn with_directories(&self, mut command: Command) -> Command {
        command.env("RUNNING_PROCESS_DIR", self.root()).env("XDG_CONFIG_HOME", self.path("configuration"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments))
    }

    /// Runs the command with `--json`, checks its exit status and returns its one object.
    #[track_caller]
    pub fn json(&self, status: i32, arguments: &[&str]) -> Value {
        let finished = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(finished.status, status, "{arguments:?}: {finished:?}");
        let printed = if finished.stdout.is_empty() { &finished.stderr } else { finished.text() };
        assert_eq!(printed.lines().count(), 1, "{finished:?}");
        serde_json::from_str(printed).unwrap()
    }

    /// Runs the command with `--json`, checks its exit status and returns all objects, those on standard error last.
    #[track_caller]
    pub fn json_lines(&self, status: i32, arguments: &[&str]) -> Vec<Value> {
        let finished = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(finished.status, status, "{arguments:?}: {finished:?}");
        let lines = finished.text().lines().chain(finished.stderr.lines());
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Starts a service and returns the pid of its daemon, which has written to its log that it is ready.
    #[track_caller]
    pub fn start(&self, file: &str) -> u32 {
        let started = self.json(0, &["start", "--file", file]);
        await_ready(&started);
        pid(&started)
    }

    /// Starts so many clients at once and returns what they print with `--json`.
    pub fn start_at_once(&self, clients: usize, file: &str) -> Vec<Finished> {
        let spawn = |_| {
            let mut command = self.command(&["start", "--json", "--file", file]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let clients: Vec<Child> = (0..clients).map(spawn).collect();
        clients.into_iter().map(collect).collect()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let directories = [self.directory.path().to_owned(), self.configuration()];
        for entry in directories.iter().filter_map(|directory| std::fs::read_dir(directory).ok()).flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                stop(self, &path);
            }
        }
    }
}

/// Waits until the daemon that `start` names has written to its log that it is ready: clients reach it a moment before.
#[track_caller]
pub fn await_ready(started: &Value) {
    let log = Path::new(started["socket"].as_str().unwrap()).with_file_name("log");
    let ready = format!("ready: pid {} serves ", started["pid"]);
    await_that("line of a daemon that is ready", || {
        std::fs::read(&log).is_ok_and(|log| String::from_utf8_lossy(&log).contains(&ready))
    });
}

/// Waits until `is_so`.
#[track_caller]
pub fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let watchdog = std::time::Instant::now() + super::WATCHDOG;
    while !is_so() {
        assert!(std::time::Instant::now() < watchdog, "no {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Returns the command of a daemon that is `serve` with the service's file at `path`.
fn serve(path: &Path) -> String {
    format!(
        "command = ['{}', 'serve', '--service', '{}']",
        env!("CARGO_BIN_EXE_running-process"),
        path.display()
    )
}

fn stop(services: &Services, file: &Path) {
    services.run(&["stop", "--file", text(file), "--deadline", "3s"]);
}

#[track_caller]
pub fn pid(object: &Value) -> u32 {
    u32::try_from(object["pid"].as_u64().expect("a pid")).unwrap()
}

/// Sends a signal to a process that the test has started, and waits until STOP has stopped all of its threads.
pub fn signal(name: &str, pid: u32) {
    kill(name, pid);
    #[cfg(target_os = "linux")]
    if name == "STOP" {
        while !is_stopped(pid) {
            std::thread::yield_now();
        }
    }
}

#[cfg(target_os = "linux")]
fn is_stopped(pid: u32) -> bool {
    let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.all(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}

/// Waits until the process has ended.
#[cfg(target_os = "linux")]
pub fn ends(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
    let timeout = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    let mut handles = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut handles, Some(&timeout)), Ok(1), "the process does not end");
}
