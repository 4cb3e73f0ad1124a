use super::watched;
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output};
use std::thread;

/// Returns the name of a test in the current module, for a process of its own.
macro_rules! test_name {
    ($test:literal) => {
        concat!(module_path!(), "::", $test).split_once("::").unwrap().1
    };
}
pub(crate) use test_name;

/// Returns the command that runs one test of this binary, which is marked as ignored.
pub(crate) fn test_command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--test-threads=1", "--nocapture"]);
    command
}

/// Runs one test of this binary, which is marked as ignored, in a process of its own.
pub(crate) fn in_child_process(test: &str, prepare: impl FnOnce(&mut Command)) {
    let mut command = test_command(test);
    prepare(&mut command);
    let Output { status, stdout, stderr } = watched(move || command.output().unwrap());
    let stdout = String::from_utf8_lossy(&stdout);
    let ran = status.success() && stdout.contains("1 passed");
    assert!(ran, "{status}\n{stdout}\n{}", String::from_utf8_lossy(&stderr));
}

/// Ends this process once its standard input ends, as it does when the parent process has ended.
pub(crate) fn end_with_parent() {
    thread::spawn(|| {
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// A process that is killed when this is dropped.
pub(crate) struct ChildProcess(Child);

impl ChildProcess {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(mut self) -> ExitStatus {
        watched(move || self.0.wait().unwrap())
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Both fail if the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the value of a line of `/proc/PID/status`, see `proc_pid_status(5)`.
#[cfg(target_os = "linux")]
pub(crate) fn process_status(process: impl std::fmt::Display, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap().trim().to_owned()
}

/// Returns one of the sizes in `/proc/PID/status`, in bytes.
#[cfg(target_os = "linux")]
pub(crate) fn process_memory(process: impl std::fmt::Display, name: &str) -> usize {
    let size = process_status(process, name);
    size.strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1024
}
