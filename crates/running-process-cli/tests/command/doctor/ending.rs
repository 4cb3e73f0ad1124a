//! Things whose end ends a daemon.

use super::machine::{Machine, is_root, pid_of};
use crate::common::service::{await_ready, await_that};
use crate::common::terminal::Terminal;
use std::fs;
use std::process::{Child, Command, Stdio};

/// A daemon that is ended with the test.
struct ByHand(Child);

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_that_was_started_in_a_terminal_ends_with_it() {
    let machine = Machine::new();
    let file = machine.cache("");
    let terminal = Terminal::open(80, 24);
    let mut setsid = Command::new("setsid");
    setsid.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_running-process"), "serve", "--service", &file]);
    setsid.env("RUNNING_PROCESS_DIR", machine.services.root());
    let _daemon = ByHand(terminal.spawn(setsid.stdin(terminal.end())));
    await_that("identity file", || machine.place("identity.json").exists());
    await_that("daemon", || machine.services.run(&["status", "--file", &file]).status == 0);
    let finding = machine.finds("ends_with_terminal");
    assert!(finding["what"].as_str().unwrap().contains("the terminal /dev/pts/"), "{finding}");
    let by_hand = pid_of(&finding);
    machine.follow(&finding);
    machine.lacks("ends_with_terminal");
    assert_ne!(pid_of(&machine.services.json(0, &["status", "--file", &file])), by_hand);
}

#[test]
fn a_daemon_in_a_container_ends_with_it() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let file = machine.cache("");
    let mut unshare = Command::new("unshare");
    let script = "\"$0\" start --file \"$1\" >&2; \"$0\" doctor --json --file \"$1\"";
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script]);
    unshare.args([env!("CARGO_BIN_EXE_running-process"), &file]);
    unshare.env("RUNNING_PROCESS_DIR", machine.services.root());
    let finished = crate::common::finish(&mut unshare);
    let finding = finished.objects().into_iter().find(|object| object["id"] == "ends_with_container");
    assert_eq!(finding.expect("a finding")["severity"], "note");
}

/// A control group of the unified hierarchy, removed with the test.
struct Group(std::path::PathBuf);

impl Group {
    /// Makes the group `path`; `None` if this system has no unified hierarchy that can be written.
    fn new(path: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let root = roots
            .iter()
            .find(|root| fs::exists(format!("{root}/cgroup.procs")).is_ok_and(|exists| exists))?;
        let path = std::path::Path::new(root).join(path);
        fs::create_dir_all(&path).ok()?;
        Some(Self(path))
    }

    /// Returns a shell that enters the group and then runs `script`.
    fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        let enter = format!("echo $$ > '{}/cgroup.procs' || exit 9; {script}", self.0.display());
        shell.args(["-c", &enter]).stdin(Stdio::null());
        shell
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It cannot be removed before its last process is gone; its parents only if they are empty.
        let watchdog = std::time::Instant::now() + crate::common::WATCHDOG;
        while fs::remove_dir(&self.0).is_err() && std::time::Instant::now() < watchdog {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        for parent in self.0.ancestors().skip(1).take(4) {
            let _ = fs::remove_dir(parent);
        }
    }
}

#[test]
fn a_daemon_in_a_session_a_user_manager_or_a_shared_group_ends_with_it() {
    if !is_root() {
        return;
    }
    for (path, id, is_shared) in [
        ("session-1.scope", "ends_with_session", false),
        ("user@0.service/app.slice", "ends_with_user_manager", false),
        ("build", "ends_with_group", true),
    ] {
        let machine = Machine::new();
        let Some(group) = Group::new(&format!("{}.slice/{path}", machine.name)) else {
            eprintln!("skipped: no unified control groups that can be written");
            return;
        };
        let file = machine.cache("");
        let executable = env!("CARGO_BIN_EXE_running-process");
        let mut start = group.shell(&format!("exec '{executable}' start --json --file '{file}'"));
        let started = crate::common::finish(start.env("RUNNING_PROCESS_DIR", machine.services.root()));
        assert_eq!(started.status, 0, "{started:?}");
        await_ready(&started.objects()[0]);
        let finding = machine.finds_by(id, |machine| {
            let doctor = machine.doctor();
            if !is_shared {
                return doctor;
            }
            // This command shares the group.
            let mut shared = group.shell(&format!("exec '{executable}' \"$@\""));
            shared.arg("sh").args(doctor.get_args());
            shared.envs(doctor.get_envs().filter_map(|(name, value)| Some((name, value?))));
            shared
        });
        let pid = pid_of(&machine.services.json(0, &["status", "--file", &file]));
        assert_eq!(pid_of(&finding), pid);
        assert_eq!(machine.services.run(&["stop", "--file", &file]).status, 0);
    }
}
