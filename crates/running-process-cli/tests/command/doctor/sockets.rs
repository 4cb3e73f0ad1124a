//! Daemons that no name leads to any more.

use super::machine::{Diagnosis, Machine, pid_of};
use crate::common::service::{await_ready, ends, signal};
use crate::common::{Daemon, finish};
use std::fs;
use std::os::unix::net::UnixListener;

#[test]
fn a_daemon_whose_directory_was_moved_away_is_ended_only_if_it_is_named() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    machine.lacks("vanished_directory");
    fs::rename(machine.services.root(), machine.services.path("moved")).unwrap();
    let finding = machine.finds("vanished_directory");
    assert_eq!(pid_of(&finding), pid);
    assert_eq!(finding["path"], machine.place("socket").display().to_string());
    // Neither without a name nor by that of another process.
    let other = Daemon::start();
    for end in [None, Some(other.child.id())] {
        let mut doctor = machine.doctor();
        doctor.arg("--fix").args(end.map(|pid| format!("--end={pid}")));
        let diagnosis = Diagnosis::of(&mut doctor);
        assert!(diagnosis.changes.iter().all(|change| change["event"] != "change"), "{diagnosis:#?}");
        assert!(diagnosis.findings.iter().any(|finding| finding["id"] == "vanished_directory"));
    }
    machine.follow(&finding);
    ends(pid);
    machine.lacks("vanished_directory");
    machine.services.start(&file);
}

#[test]
fn a_daemon_whose_socket_was_replaced_is_ended_by_handle() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    // It would make its socket again.
    signal("STOP", pid);
    fs::remove_file(machine.place("socket")).unwrap();
    let finding = machine.finds("stopped_by_signal");
    assert_eq!(pid_of(&finding), pid);
    // Once it goes on, it makes its socket again.
    machine.lacks("unreachable_daemon");
    let fixed = Diagnosis::of(machine.doctor().args(["--fix", "--end", &pid.to_string()]));
    let ended = fixed.changes.iter().find(|change| change["change"] == "end").expect("a change");
    assert_eq!(ended["pid"], pid);
    ends(pid);
    machine.services.start(&file);
    machine.lacks("unreachable_daemon");
}

#[test]
fn a_process_whose_socket_has_lost_its_path_is_told_with_what_it_runs() {
    let (machine, _) = Machine::stopped();
    let _listener = UnixListener::bind(machine.place("socket")).unwrap();
    fs::remove_file(machine.place("socket")).unwrap();
    let finding = machine.finds("unreachable_daemon");
    assert_eq!(pid_of(&finding), std::process::id());
    assert!(finding["what"].as_str().unwrap().contains("; it is of user "), "{finding}");
}

#[test]
fn an_unreachable_daemon_of_another_root_is_a_note() {
    let machine = Machine::new();
    let (other, moved) = (machine.services.path("other"), machine.services.path("moved"));
    let mut start = machine.services.command(&["start", "--json", "--file", &machine.cache("")]);
    let started = finish(start.env("RUNNING_PROCESS_DIR", &other)).objects();
    await_ready(&started[0]);
    // It would make its files again.
    let pid = pid_of(&started[0]);
    signal("STOP", pid);
    fs::rename(&other, &moved).unwrap();
    let diagnosis = Diagnosis::of(&mut machine.services.command(&["doctor", "--json"]));
    let finding = diagnosis.findings.iter().find(|finding| pid_of(finding) == pid).unwrap();
    assert_eq!((&finding["id"], &finding["severity"]), (&"unreachable_elsewhere".into(), &"note".into()));
    assert!(finding["remedy"].is_null(), "{finding}");
    assert!(diagnosis.findings.iter().all(|finding| finding["severity"] == "note"), "{diagnosis:#?}");
    fs::rename(&moved, &other).unwrap();
    signal("CONT", pid);
    let mut stop = machine.services.command(&["stop", "--file", &machine.file()]);
    assert_eq!(finish(stop.env("RUNNING_PROCESS_DIR", &other)).status, 0);
}

#[test]
fn the_process_to_end_needs_a_fix() {
    let machine = Machine::new();
    let file = machine.cache("");
    let refused = finish(&mut machine.services.command(&["doctor", "--file", &file, "--end", "1"]));
    refused.fails_with(2, &["--fix"]);
    let other = machine.services.command(&["doctor", "--file", &file, "--fix", "--end", "1"]);
    let refused = finish(&mut { other });
    assert!(refused.status == 1 && refused.text().starts_with("not fixed --end: process 1 "), "{refused:?}");
}

#[test]
fn a_daemon_in_a_root_that_only_the_kernel_knows_is_a_second_place() {
    let machine = Machine::new();
    let file = machine.cache("");
    let mut start = machine.services.command(&["start", "--json", "--file", &file]);
    let started = finish(start.env("RUNNING_PROCESS_DIR", machine.services.path("other"))).objects();
    let finding = machine.finds("second_place");
    assert_eq!(finding["pid"], started[0]["pid"]);
    machine.follow(&finding);
    machine.lacks("second_place");
}
