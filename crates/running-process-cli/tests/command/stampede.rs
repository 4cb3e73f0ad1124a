//! `stampede` with daemons that keep the rules, and with daemons that break them.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::service::Services;
use crate::common::{Finished, collect};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

const PROGRAM: &str = env!("CARGO_BIN_EXE_running-process");

/// Returns the command of a daemon that the shell runs.
fn shell(script: &str) -> String {
    format!("command = ['/bin/sh', '-c', '''{script}''']")
}

/// Longest wait of a client whose daemon answers, also on a busy machine.
const PATIENT: &str = "30s";
/// Wait of a client whose daemon never answers: long enough for the daemon's program to run, also on a busy machine.
const IMPATIENT: &str = "5s";

/// Lets a small crowd come, and returns the object, whose exit status is `status`.
#[track_caller]
fn stampede(services: &Services, status: i32, timeout: &str, file: &str) -> Value {
    let object =
        services.json(status, &["stampede", "--file", file, "--clients", "12", "--timeout", timeout]);
    assert!(!services.root().exists(), "the user's own root is not touched");
    object
}

fn count(object: &Value, situation: usize, field: &str) -> u64 {
    object["situations"][situation][field].as_u64().unwrap()
}

#[test]
fn every_client_of_a_good_daemon_is_served_by_one_process_in_every_situation() {
    let services = Services::new();
    let object = stampede(&services, 0, PATIENT, &services.cache("cache", "idle_timeout = '1m'"));
    assert_eq!((&object["verdict"], &object["clients"]), (&"yes".into(), &12.into()), "{object:#}");
    let names: Vec<&str> = object["situations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["situation"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["cold", "stale", "starting", "stopping"]);
    for situation in 0..4 {
        assert_eq!(
            (count(&object, situation, "served"), count(&object, situation, "failed")),
            (12, 0),
            "{object:#}"
        );
        let [first, last] = ["first_us", "last_us"].map(|field| count(&object, situation, field));
        assert!(first <= last, "{object:#}");
    }
    let daemon = |situation: usize| &object["situations"][situation]["daemons"];
    for situation in 0..3 {
        assert_eq!(daemon(situation).as_array().unwrap().len(), 1, "{object:#}");
        assert_eq!(daemon(situation)[0]["clients"], 12);
        assert_eq!(count(&object, situation, "starts"), 1, "{object:#}");
    }
    assert_eq!(object["situations"][1]["former_pid"], daemon(0)[0]["pid"]);
    assert_eq!(object["left_pids"], Value::Array(Vec::new()));
}

#[test]
fn a_table_and_a_histogram_are_printed_and_no_file_stays() {
    let services = Services::new();
    let file = services.cache("cache", "");
    let finished = services.run(&["stampede", "--file", &file, "--clients", "3"]);
    let text = finished.text();
    assert_eq!(finished.status, 0, "{finished:?}");
    assert!(text.contains("\nSITUATION  SERVED  FAILED  DAEMONS  STARTS "), "{text}");
    assert!(text.contains("cold, from the release of a client to its answer:\n"), "{text}");
    assert!(text.ends_with("every client was served, and never by two daemons at once\n"), "{text}");
    assert!(!Path::new(root(text)).exists());
}

/// Returns the root that the first line names.
fn root(text: &str) -> &str {
    text.lines().next().unwrap().rsplit(' ').next().unwrap()
}

#[test]
fn clients_of_a_daemon_that_crashes_are_told_how_and_the_other_situations_are_not_tried() {
    let services = Services::new();
    let object =
        stampede(&services, 1, PATIENT, &services.file("crash", &shell("echo no such port >&2; exit 3")));
    assert_eq!((count(&object, 0, "served"), count(&object, 0, "failed")), (0, 12), "{object:#}");
    let failure = &object["situations"][0]["failures"][0];
    assert_eq!(failure["kind"], "start_failed", "{object:#}");
    let error = failure["error"].as_str().unwrap();
    assert!(error.contains("exited with status 3"), "{error}");
    assert_eq!(object["not_tried"], serde_json::json!(["stale", "starting", "stopping"]));
    assert!(object["log"].as_str().unwrap().contains("no such port"), "{object:#}");
}

#[test]
fn a_daemon_that_never_answers_is_told_in_bounded_time_and_ended() {
    let services = Services::new();
    // It has a socket of its own, and a child.
    let pid = services.path("pid");
    let script = format!("echo $$ > {}; sleep 600 & wait", pid.display());
    let object = stampede(&services, 1, IMPATIENT, &services.file("silent", &shell(&script)));
    assert_eq!(count(&object, 0, "failed"), 12, "{object:#}");
    let error = object["situations"][0]["failures"][0]["error"].as_str().unwrap();
    assert!(error.contains("was silent for too long"), "{error}");
    let pid: u32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    if cfg!(target_os = "linux") {
        assert!(!runs(pid));
        assert_eq!(object["left_pids"].as_array().unwrap().len(), 1, "its child: {object:#}");
    }
}

/// Returns whether the process runs: one that has ended and was not waited for has no arguments.
fn runs(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|arguments| !arguments.is_empty())
}

#[test]
fn a_daemon_that_is_not_at_its_place_in_the_root_is_told() {
    let services = Services::new();
    let [socket, identity] = ["fixed", "fixed.json"].map(|name| services.path(name));
    let command = format!(
        "command = ['{PROGRAM}', 'serve', '--socket', '{}', '--identity', '{}']",
        socket.display(),
        identity.display()
    );
    let finished = services.run(&[
        "stampede",
        "--file",
        &services.file("fixed", &command),
        "--clients",
        "3",
        "--timeout",
        "1s",
    ]);
    assert_eq!(finished.status, 1, "{finished:?}");
    let hint = "hint: a daemon that runs and is not found there";
    assert!(finished.text().contains(hint), "{finished:?}");
    if cfg!(target_os = "linux") {
        let identity: Value = serde_json::from_slice(&fs::read(&identity).unwrap()).unwrap();
        assert!(!runs(crate::common::service::pid(&identity)));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_second_daemon_without_the_lock_is_found() {
    let services = Services::new();
    let script = format!(
        "place=$RUNNING_PROCESS_SERVICE_ROOT/twice; \
         setsid {PROGRAM} serve --socket $place/own.$$ --identity $place/own.$$.json 3>&- & \
         exec {PROGRAM} serve --service {}",
        services.path("twice.toml").display()
    );
    let object = stampede(&services, 1, PATIENT, &services.file("twice", &shell(&script)));
    // That of the cold start still runs in each of the others.
    for situation in 1..4 {
        assert_eq!(object["situations"][situation]["two_daemons"], true, "{object:#}");
        assert_eq!(count(&object, situation, "served"), 12, "{object:#}");
    }
    assert_eq!(object["verdict"], "no");
    assert!(object["left_pids"].as_array().unwrap().len() > 1, "{object:#}");
}

#[test]
fn ctrl_c_ends_the_daemon_and_removes_the_directory() {
    let services = Services::new();
    let file = services.file("silent", &shell("exec sleep 600"));
    let mut command = services.command(&["stampede", "--file", &file, "--clients", "5"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let root = root(&line).to_owned();
    // The daemon has begun once it has a log.
    while !Path::new(&root).join("silent/log").exists() {
        std::thread::yield_now();
    }
    crate::common::service::signal("INT", child.id());
    let Finished { status, stderr, .. } = collect(child);
    assert_eq!((status, &*stderr), (130, ""));
    assert!(!Path::new(&root).exists());
}

#[test]
#[cfg(target_os = "linux")]
fn the_next_stampede_ends_and_removes_what_a_killed_one_has_left() {
    use crate::common::service::{await_that, ends, signal};
    let services = Services::new();
    let pid = services.path("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", pid.display());
    let file = services.file("silent", &shell(&script));
    let mut command = services.command(&["stampede", "--file", &file, "--clients", "5"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let root = root(&line).to_owned();
    await_that("daemon", || pid.exists());
    let daemon: u32 = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    signal("KILL", child.id());
    child.wait().unwrap();
    stampede(&services, 1, PATIENT, &services.file("crash", &shell("exit 3")));
    // That of another test may be at it, and is waited for.
    ends(daemon);
    await_that("end of the directory", || !Path::new(&root).exists());
}
