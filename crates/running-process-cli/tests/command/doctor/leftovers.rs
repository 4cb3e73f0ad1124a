//! The files and the lock of a daemon that has ended.

use super::machine::{Diagnosis, Machine, arguments, pid_of};
use crate::common::service::{ends, signal};
use serde_json::Value;
use std::fs::{self, File};
use std::time::{Duration, Instant};

#[test]
fn what_a_killed_daemon_left_is_removed_under_the_lock() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    machine.lacks("stale_files");
    signal("KILL", pid);
    ends(pid);
    let finding = machine.finds("stale_files");
    assert_eq!(pid_of(&finding), pid);
    let fixed = Diagnosis::of(machine.doctor().arg("--fix"));
    let changed: Vec<(&str, &str)> = fixed
        .changes
        .iter()
        .map(|change| {
            (change["change"].as_str().unwrap(), change["path"].as_str().unwrap().rsplit('/').next().unwrap())
        })
        .collect();
    let expected =
        [("write", "starts.json"), ("remove", "identity.json"), ("remove", "socket"), ("remove", "control")];
    assert_eq!(changed, expected, "{fixed:#?}");
    assert!(!machine.place("identity.json").exists() && !machine.place("socket").exists());
    assert!(machine.place("lock").exists(), "the lock is never removed");
    machine.lacks("stale_files");
    machine.lacks("start_failed");
    // The crash is counted, as a start would have done.
    let starts: Value = serde_json::from_slice(&fs::read(machine.place("starts.json")).unwrap()).unwrap();
    assert_eq!((&starts["failures"], &starts["failure"]["end"]), (&1.into(), &"crashed".into()));
    machine.services.start(&file);
}

#[test]
fn the_log_of_a_crash_is_that_of_the_last_run() {
    let machine = Machine::new();
    let file = machine.script(r#"echo one run >&2; exec "$0" serve --service "$1""#, "");
    for _ in 0..2 {
        let pid = machine.services.start(&file);
        signal("KILL", pid);
        ends(pid);
        machine.services.run(&["doctor", "--fix", "--file", &file]);
        let starts: Value = serde_json::from_slice(&fs::read(machine.place("starts.json")).unwrap()).unwrap();
        let log = starts["failure"]["log"].as_str().unwrap();
        assert_eq!(log.matches("one run").count(), 1, "{starts}");
    }
}

#[test]
fn nothing_is_removed_while_a_daemon_starts() {
    let machine = Machine::new();
    let file = machine.cache("");
    let pid = machine.services.start(&file);
    signal("KILL", pid);
    ends(pid);
    let lock = File::open(machine.place("lock")).unwrap();
    lock.lock().unwrap();
    let fixed = Diagnosis::of(machine.doctor().arg("--fix"));
    assert!(fixed.changes.iter().all(|change| change["event"] != "change"), "{fixed:#?}");
    assert!(machine.place("identity.json").exists());
}

#[test]
fn a_child_that_keeps_the_lock_of_a_dead_daemon_is_named_and_ended() {
    let machine = Machine::new();
    let file = machine.script(r#"sleep 600 & exec "$0" serve --service "$1""#, "");
    let pid = machine.services.start(&file);
    signal("KILL", pid);
    ends(pid);
    let orphan = pid_of(&machine.finds("held_by_orphan"));
    // The child of the shell may not have run its program yet.
    let watchdog = Instant::now() + Duration::from_mins(1);
    while arguments(orphan) != "sleep 600 " {
        assert!(Instant::now() < watchdog, "{}", arguments(orphan));
        std::thread::yield_now();
    }
    let finding = machine.finds("held_by_orphan");
    assert!(finding["what"].as_str().unwrap().contains("/sleep)"), "{finding}");
    machine.follow(&finding);
    ends(orphan);
    machine.lacks("held_by_orphan");
    let pid = machine.services.start(&file);
    signal("KILL", pid);
    ends(pid);
    machine.follow(&machine.finds("held_by_orphan"));
}
