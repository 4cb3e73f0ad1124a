//! Starts that fail, take long, or lead to programs that know nothing of services.

use crate::harness::{Bench, PROBE, Running, assert_state, await_that, result, served_by};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bound on the time of a call that waits for nothing, on a machine that does much else. The deadline is three times later.
const AT_ONCE_MS: u64 = 5000;

#[track_caller]
fn assert_failed(result: &Value, end: &str, log: &str) {
    assert_eq!(result["error"], "StartFailed", "{result:#}");
    assert_eq!(
        (result["failure"]["end"].as_str(), result["failure"]["log"].as_str()),
        (Some(end), Some(log))
    );
    assert!(result["ms"].as_u64().unwrap() < AT_ONCE_MS, "{result:#}");
}

#[test]
fn a_start_that_fails_tells_how_the_daemon_ended_and_its_last_lines_at_once() {
    let bench = Bench::new();
    assert_failed(&bench.ensure(&[], "exit:3,abort"), "Exited { status: 3 }", "the first line\nno such port");
    let failed = bench.ensure(&[], "exit:3,abort");
    assert_failed(&failed, "Signaled { signal: 6 }", "assertion failed");
    let text = failed["text"].as_str().unwrap();
    assert!(
        text.contains("signal 6 ended the daemon before it served; its log ends with:\nassertion failed")
    );
    assert!(bench.daemons().is_empty());
    assert_state(&bench.find(), "absent", None);
}

#[test]
fn a_daemon_that_is_killed_while_it_starts_fails_its_start() {
    let bench = Bench::new();
    let starter = Running::start(&mut bench.client("ensure", &[], "hang"));
    let daemon = bench.await_event("start", 1);
    bench.signal(daemon, Signal::KILL);
    assert_failed(&starter.result(), "Signaled { signal: 9 }", "");
}

#[test]
fn a_daemon_that_is_stopped_before_it_is_proven_is_followed_by_the_next() {
    let bench = Bench::new();
    bench.served(&[], "leave,leave,serve");
    assert_eq!(bench.events("start"), 3);
}

#[test]
fn a_daemon_that_ends_at_once_each_time_fails_its_start() {
    let bench = Bench::new();
    assert_failed(&bench.ensure(&[], "leave"), "Exited { status: 0 }", "");
    assert_eq!(bench.events("start"), 4);
    assert_state(&bench.find(), "absent", None);
}

#[test]
fn a_daemon_that_ends_without_having_been_ready_fails_its_start_and_is_started_once() {
    let bench = Bench::new();
    assert_failed(&bench.ensure(&[], "exit:0"), "Exited { status: 0 }", "the first line\nno such port");
    assert_eq!(bench.events("start"), 1);
}

#[test]
fn a_failed_start_whose_children_live_on_leaves_the_lock_free() {
    let bench = Bench::new();
    assert_failed(&bench.ensure(&[], "orphan-then-exit:4,serve"), "Exited { status: 4 }", "");
    let child = bench.child();
    bench.served(&[], "orphan-then-exit:4,serve");
    assert_eq!(bench.child(), child);
}

#[test]
fn the_third_failure_in_a_row_begins_a_pause_for_all_clients_that_ends_when_it_says() {
    let bench = Bench::new();
    let plan = "exit:3,exit:3,exit:3,serve";
    for _ in 0..3 {
        assert_eq!(bench.ensure(&[], plan)["error"], "StartFailed");
    }
    let failed_ms = now_ms();
    let refused = bench.ensure(&[], plan);
    assert_eq!(refused["error"], "BackingOff", "{refused:#}");
    assert_eq!(refused["failure"]["end"], "Exited { status: 3 }");
    assert!(refused["ms"].as_u64().unwrap() < AT_ONCE_MS, "{refused:#}");
    let until = refused["until_ms"].as_u64().unwrap();
    assert!(until <= failed_ms + 1000 && until + 1000 > failed_ms, "{until} {failed_ms}");
    let found = bench.find();
    if now_ms() < until {
        assert_state(&found, "backing off", None);
        assert_eq!(found["until_ms"], json!(until));
    }
    assert_eq!(bench.events("start"), 3, "nothing was started");
    await_that("end of the pause", || now_ms() >= until);
    bench.served(&[], plan);
    assert_eq!(bench.events("start"), 4);
}

#[test]
fn a_daemon_that_crashes_soon_after_each_start_is_not_started_for_ever() {
    let bench = Bench::new();
    let mut calls = 0;
    let refused = loop {
        let ensured = bench.ensure(&[], "crash:10");
        calls += 1;
        assert!(calls < 10, "{calls} starts");
        match ensured["error"].as_str() {
            // It may have crashed before it answered, or before it was proven.
            None | Some("Request" | "StartFailed") => {
                await_that("the crash", || bench.daemons().is_empty());
            }
            _ => break ensured,
        }
    };
    assert_eq!(refused["error"], "BackingOff", "{refused:#}");
    assert_eq!(bench.events("start"), 3);
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

#[test]
fn a_program_that_cannot_be_run_is_told_with_the_reason() {
    let bench = Bench::new();
    let ensure = |program: &str| {
        let mut command = bench.bare_client("ensure", &["--", program]);
        result(command.env("PATH", "/usr/bin:/bin"))
    };
    let refused = ensure("no-such-program-anywhere");
    assert_eq!(refused["error"], "NoProgram", "{refused:#}");
    assert!(refused["text"].as_str().unwrap().contains("\"no-such-program-anywhere\""));
    let path = bench.path("program");
    let program = path.to_str().unwrap();
    let refused = ensure(program);
    assert!(refused["text"].as_str().unwrap().contains("No such file"), "{refused:#}");
    fs::write(&path, "no program").unwrap();
    let refused = ensure(program);
    assert!(refused["text"].as_str().unwrap().contains("Permission denied"), "{refused:#}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let refused = ensure(program);
    assert!(refused["text"].as_str().unwrap().contains("Exec format error"), "{refused:#}");
    assert_eq!(refused["error"], "StartFailed");
}

#[test]
fn a_program_is_found_in_the_path_of_the_client() {
    let bench = Bench::new();
    let mut command = bench.bare_client("ensure", &["--", "service-probe"]);
    let programs = std::path::Path::new(PROBE).parent().unwrap();
    command.args(bench.daemon_arguments("serve")).env("PATH", format!("/bin:{}", programs.display()));
    served_by(&result(&mut command));
}

#[test]
fn a_silent_daemon_is_ended_after_the_start_timeout() {
    let bench = Bench::new();
    let failed = bench.ensure(&["start_timeout=300"], "hang,serve");
    assert_failed(&failed, "Silent { status: \"\" }", "");
    assert!(failed["ms"].as_u64().unwrap() >= 300, "{failed:#}");
    assert!(bench.daemons().is_empty());
    bench.served(&[], "hang,serve");
}

#[test]
fn a_daemon_that_reports_progress_has_more_time_than_the_start_timeout() {
    for plan in ["progress:2000", "extend:2000"] {
        let bench = Bench::new();
        let ensured = bench.ensure(&["start_timeout=1000"], plan);
        served_by(&ensured);
        assert!(ensured["ms"].as_u64().unwrap() >= 2000, "{ensured:#}");
    }
}

#[test]
fn the_status_of_a_daemon_is_told_when_the_deadline_passes_and_it_goes_on() {
    let bench = Bench::new();
    let refused = bench.ensure(&["timeout=400"], "progress:1500");
    assert_eq!(
        (&refused["error"], &refused["state"]),
        (&json!("TimedOut"), &json!("starting")),
        "{refused:#}"
    );
    assert!(refused["detail"].as_str().unwrap().starts_with("step "), "{refused:#}");
    let daemon = bench.await_event("start", 1);
    assert_state(&bench.find(), "starting", Some(daemon));
    assert_eq!(bench.served(&[], "serve"), daemon);
    assert_eq!(bench.events("start"), 1);
}

#[test]
fn a_daemon_that_hangs_after_its_starter_has_given_up_is_ended_by_a_stop() {
    let bench = Bench::new();
    let words = ["timeout=300", "start_timeout=100000"];
    assert_eq!(bench.ensure(&words, "hang,serve")["error"], "TimedOut");
    let hangs = bench.await_event("start", 1);
    // It may only be slow.
    let refused = bench.ensure(&["timeout=1500", "start_timeout=1000"], "hang,serve");
    assert_eq!(
        (&refused["error"], &refused["state"]),
        (&json!("TimedOut"), &json!("starting")),
        "{refused:#}"
    );
    assert_state(&bench.find(), "starting", Some(hangs));
    let stopped = bench.stop(&["timeout=1000"]);
    assert_eq!(stopped["pid"], json!(hangs), "{stopped:#}");
    assert!(bench.daemons().is_empty());
    bench.served(&[], "hang,serve");
}

#[test]
fn a_daemon_behind_a_shell_script_is_started_and_found() {
    for script in [r#"exec "$0" "$@""#, r#"echo wrapped; "$0" "$@""#] {
        let bench = Bench::new();
        let mut command = bench.bare_client("ensure", &["--", "/bin/sh", "-c", script, PROBE]);
        let daemon = served_by(&result(command.args(bench.daemon_arguments("progress:300"))));
        assert_state(&bench.find(), "live", Some(daemon));
        bench.assert_stopped(daemon);
        await_that("the end of the shell", || bench.processes().is_empty());
        assert_state(&bench.find(), "absent", None);
    }
}

#[test]
fn a_daemon_that_knows_nothing_of_services_is_ready_when_it_is_proven() {
    let bench = Bench::new();
    let first = bench.served(&[], "plain");
    assert_eq!(bench.served(&[], "plain"), first);
    bench.signal(first, Signal::KILL);
    assert_state(&bench.find(), "stale", Some(first));
    let second = bench.served(&[], "plain");
    bench.assert_stopped(second);
    bench.served(&[], "plain");
    bench.assert_never_two();
}

#[test]
fn a_daemon_that_was_started_by_hand_is_found_and_a_second_one_ends_with_its_process_id() {
    let bench = Bench::new();
    let by_hand = || {
        let mut command = Command::new(PROBE);
        command.args(bench.daemon_arguments("serve"));
        command.env("RUNNING_PROCESS_SERVICE", "svc").env("RUNNING_PROCESS_DIR", bench.root());
        command.env("XDG_CACHE_HOME", bench.path("cache"));
        command
    };
    let mut first = by_hand().spawn().unwrap();
    bench.await_event("ready", 1);
    assert_eq!(bench.served(&[], "serve"), first.id());
    let second = by_hand().output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&format!("process {} is the daemon of the service", first.id())), "{said}");
    bench.assert_stopped(first.id());
    assert!(first.wait().unwrap().success());
}

#[test]
fn a_daemon_without_the_lock_is_used_while_it_lives() {
    let bench = Bench::new();
    bench.make_place();
    let mut command = Command::new(PROBE);
    command.args(bench.daemon_arguments("plain"));
    command.env("RUNNING_PROCESS_SERVICE", "svc").env("RUNNING_PROCESS_SERVICE_ROOT", bench.root());
    command.env("XDG_CACHE_HOME", bench.path("cache"));
    let mut daemon = command.spawn().unwrap();
    await_that("identity file", || bench.place().join("identity.json").exists());
    assert_eq!(bench.served(&[], "serve"), daemon.id());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_ne!(bench.served(&[], "serve"), daemon.id());
}
