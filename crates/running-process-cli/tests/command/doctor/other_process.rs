//! Another process in the place of the daemon, or a daemon that does not answer.

use super::machine::{Machine, pid_of};
use crate::common::service::{await_that, ends, signal};
use crate::common::{Daemon, text};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::write_daemon_identity_file;
use running_process::broker::protocol::Endpoint;
use serde_json::Value;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;

#[test]
fn a_process_that_listens_without_an_identity_file_is_named_by_doctor_and_by_the_failed_start() {
    let (machine, file) = Machine::stopped();
    let listener = UnixListener::bind(machine.place("socket")).unwrap();
    let finding = machine.finds("foreign_listener");
    let pid = std::process::id();
    assert_eq!((pid_of(&finding), &finding["severity"]), (pid, &"error".into()));
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("; it runs `") && what.contains("; it is of user "), "{what}");
    let start = machine.services.run(&["start", "--file", &file]);
    start.fails_with(1, &[&format!("hint: process {pid} ("), "listens at its socket"]);
    drop(listener);
    machine.lacks("foreign_listener");
}

#[test]
fn another_process_at_the_socket_is_named_and_the_service_works_once_it_is_ended() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    // It would notice the loss of its socket's name.
    signal("STOP", pid);
    let mut other = Daemon::start();
    fs::rename(other.socket(), machine.place("socket")).unwrap();
    let finding = machine.finds("impostor");
    assert_eq!(pid_of(&finding), other.child.id());
    let stopped = machine.finds("stopped_by_signal");
    let order = format!("1. end process {}, which is in its place, 2. ", other.child.id());
    assert!(stopped["what"].as_str().unwrap().contains(&order), "{stopped}");
    let status = machine.services.run(&["status", "--file", &file]);
    status.fails_with(1, &["hint: ", &format!("go on: kill -CONT {pid}")]);
    machine.follow(&finding);
    other.child.wait().unwrap();
    signal("CONT", pid);
    await_that("socket", || machine.services.run(&["status", "--file", &file]).status == 0);
    machine.lacks("impostor");
}

#[test]
fn a_stopped_daemon_goes_on() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    signal("STOP", pid);
    let finding = machine.finds("stopped_by_signal");
    assert_eq!((pid_of(&finding), &finding["severity"]), (pid, &"error".into()));
    let hint = format!("hint: to let it go on: kill -CONT {pid}");
    let told = format!("process {pid} is stopped by a signal");
    let status = machine.services.run(&["status", "--deadline", "300ms", "--file", &file]);
    status.fails_with(2, &[&told, &hint]);
    let start = machine.services.run(&["start", "--deadline", "300ms", "--file", &file]);
    start.fails_with(2, &[&format!("(process {pid}, which is stopped by a signal)"), &hint]);
    machine.follow(&finding);
    machine.lacks("stopped_by_signal");
}

/// Makes the directory of the service, and an identity file in it that names this process at `endpoint`.
fn identify_this_process(machine: &Machine, endpoint: &Endpoint) {
    DirBuilder::new().recursive(true).mode(0o700).create(machine.place("")).unwrap();
    let identity = DaemonProcess::current_process(endpoint.clone(), None).unwrap();
    write_daemon_identity_file(&machine.place("identity.json"), &identity).unwrap();
}

#[test]
fn a_daemon_that_does_not_answer_is_busy_and_one_without_a_socket_cannot_be_reached() {
    let machine = Machine::new();
    machine.cache("");
    let endpoint = Endpoint::unix_socket(&machine.name, text(&machine.place("socket"))).unwrap();
    identify_this_process(&machine, &endpoint);
    let finding = machine.finds("socket_removed");
    assert_eq!(pid_of(&finding), std::process::id());
    let _never_accepts = UnixListener::bind(&endpoint.path).unwrap();
    let finding = machine.finds("busy");
    assert_eq!(pid_of(&finding), std::process::id());
    fs::remove_file(machine.place("identity.json")).unwrap();
}

#[test]
fn a_front_without_its_daemon_is_told_with_both_processes() {
    let machine = Machine::new();
    let (executable, path) =
        (env!("CARGO_BIN_EXE_running-process"), |name| machine.services.path(name).display().to_string());
    let front = format!(
        "[front]\ncommand = ['{executable}', 'serve', '--socket', '{}', '--identity', '{}']\nconnect = 'unix:{}'",
        path("behind"),
        path("behind.json"),
        path("behind"),
    );
    let file = machine.services.file(&machine.name, &front);
    let pid = machine.services.start(&file);
    machine.lacks("fronted_gone");
    let identity: Value = serde_json::from_slice(&fs::read(machine.place("identity.json")).unwrap()).unwrap();
    let behind = u32::try_from(identity["fronts"]["pid"].as_u64().unwrap()).unwrap();
    // It would end with the daemon behind it.
    signal("STOP", pid);
    signal("KILL", behind);
    ends(behind);
    let finding = machine.finds("fronted_gone");
    assert_eq!(pid_of(&finding), behind);
    assert_eq!(pid_of(&machine.finds("stopped_by_signal")), pid);
    signal("CONT", pid);
    ends(pid);
    machine.services.start(&file);
    machine.lacks("fronted_gone");
}
