//! Daemons whose state cannot be told from here.

use super::machine::{Machine, is_root, pid_of};
use crate::common::Daemon;
use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::process::{Command, Stdio};

#[test]
fn a_daemon_in_another_pid_namespace_cannot_be_told() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let file = machine.cache("");
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--pid",
        "--mount",
        "--fork",
        "--kill-child",
        env!("CARGO_BIN_EXE_running-process"),
        "serve",
        "--service",
        &file,
    ]);
    unshare.env("RUNNING_PROCESS_DIR", machine.services.root()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut daemon = unshare.spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready: "), "{ready}");
    let finding = machine.finds("other_namespace");
    assert_eq!(pid_of(&finding), 1, "its number in its own namespace");
    let what = finding["what"].as_str().unwrap();
    assert!(what.ends_with(" is in other mount and pid namespaces"), "{what}");
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn a_daemon_that_may_not_be_examined_cannot_be_told() {
    const OTHER: u32 = 65534;
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    machine.cache("");
    let daemon = Daemon::start();
    // The daemon is root's, and the place of the service is the other user's.
    for path in [machine.services.path("."), daemon.directory.path().to_owned()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    DirBuilder::new().recursive(true).mode(0o700).create(machine.place("")).unwrap();
    fs::copy(daemon.identity_file(), machine.place("identity.json")).unwrap();
    let lock = File::create(machine.place("lock")).unwrap();
    lock.lock().unwrap();
    for path in
        [machine.services.root(), machine.place(""), machine.place("identity.json"), machine.place("lock")]
    {
        chown(path, Some(OTHER), Some(OTHER)).unwrap();
    }
    fs::set_permissions(machine.place("lock"), fs::Permissions::from_mode(0o600)).unwrap();
    let finding = machine.finds_by("not_inspectable", |machine| as_user(OTHER, &machine.doctor()));
    assert_eq!(pid_of(&finding), daemon.child.id());
    // Without the permission to connect, nothing at all can be told.
    fs::set_permissions(daemon.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    machine.finds_by("state_unknown", |machine| as_user(OTHER, &machine.doctor()));
}

/// Returns `command` as another user runs it.
fn as_user(user: u32, command: &Command) -> Command {
    let mut other = Command::new("setpriv");
    other.args([
        format!("--reuid={user}"),
        format!("--regid={user}"),
        "--clear-groups".to_owned(),
        "--".to_owned(),
    ]);
    other.arg(command.get_program()).args(command.get_args());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other.env("XDG_CACHE_HOME", "/nowhere");
    other
}

#[test]
fn a_caller_that_has_switched_probes_off_is_told() {
    let machine = Machine::new();
    machine.services.start(&machine.cache(""));
    let finding = machine.finds_by("probes_disabled", |machine| {
        let mut doctor = machine.doctor();
        doctor.env("RUNNING_PROCESS_DISABLE", "1");
        doctor
    });
    assert_eq!(finding["remedy"], "unset RUNNING_PROCESS_DISABLE");
}
