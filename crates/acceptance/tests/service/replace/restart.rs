//! Restarts whose coordinator, successor or locks are not as they should be.

use crate::harness::{Bench, Running, assert_state, await_that, served_by};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::File;
use std::time::{Duration, Instant};

/// Silence after which a start has failed, for tests of successors that hang.
const SHORT: &str = "start_timeout=700";

fn restart(bench: &Bench, words: &[&str], plan: &str) -> Value {
    Running::start(&mut bench.client("restart", words, plan)).result()
}

/// Restarts the service, and returns the next daemon.
#[track_caller]
fn restarted(bench: &Bench, former: u32, words: &[&str], plan: &str) -> u32 {
    let result = restart(bench, words, plan);
    assert_eq!(result["former_pid"].as_u64(), Some(former.into()), "{result:#}");
    served_by(&result)
}

/// A service whose successor hangs, and whose coordinator was killed.
struct Abandoned {
    bench: Bench,
    daemon: u32,
    successor: u32,
}

const HANGS: &str = "serve,hang,serve";

impl Abandoned {
    fn new() -> Self {
        let bench = Bench::new();
        let daemon = bench.served(&[], HANGS);
        let mut coordinator = Running::start(&mut bench.client("restart", &[], HANGS));
        let successor = bench.await_event("start", 2);
        // The note about the successor follows its start.
        let replacing = bench.place().join("replacing");
        let note = format!("{successor} ");
        await_that("note", || std::fs::read_to_string(&replacing).is_ok_and(|text| text.starts_with(&note)));
        coordinator.kill();
        Self { bench, daemon, successor }
    }
}

#[test]
fn the_next_restart_ends_a_successor_that_hangs() {
    let Abandoned { bench, daemon, successor } = Abandoned::new();
    assert_eq!(bench.served(&[], HANGS), daemon);
    let late = restart(&bench, &["timeout=300"], HANGS);
    assert_eq!(late["error"].as_str(), Some("TimedOut"), "{late:#}");
    assert!(late["text"].as_str().unwrap().starts_with(&format!("process {successor} ")), "{late:#}");
    let next = restarted(&bench, daemon, &[SHORT], HANGS);
    await_that("single daemon", || bench.daemons() == [next]);
}

#[test]
fn the_next_client_ends_a_successor_that_hangs_once_the_daemon_is_gone() {
    let Abandoned { bench, daemon, successor } = Abandoned::new();
    bench.signal(daemon, Signal::KILL);
    assert_state(&bench.find(), "starting", Some(successor));
    let next = bench.served(&[SHORT], HANGS);
    assert_eq!(bench.daemons(), [next]);
    bench.assert_never_two();
}

#[test]
fn a_successor_that_goes_on_after_its_coordinator_was_killed_is_no_obstacle() {
    let bench = Bench::new();
    let go = bench.path("go");
    let plan = format!("serve,wait:{},serve", go.display());
    let daemon = bench.served(&[], &plan);
    let mut coordinator = Running::start(&mut bench.client("restart", &[], &plan));
    let successor = bench.await_event("start", 2);
    coordinator.kill();
    assert_eq!(bench.served(&[], &plan), daemon);
    let next = Running::start(&mut bench.client("restart", &[], &plan));
    File::create(go).unwrap();
    // It replaces the daemon of the first restart, or that daemon was never there.
    let next = next.result();
    let former = u32::try_from(next["former_pid"].as_u64().unwrap()).unwrap();
    assert!([daemon, successor].contains(&former), "{next:#}");
    let next = served_by(&next);
    await_that("single daemon", || bench.daemons() == [next]);
}

#[test]
fn a_child_of_the_successor_that_keeps_its_descriptors_is_no_obstacle() {
    let bench = Bench::new();
    let plan = "serve,orphan,serve";
    let daemon = bench.served(&[], plan);
    let second = restarted(&bench, daemon, &[], plan);
    let child = bench.child();
    let third = restarted(&bench, second, &[], plan);
    await_that("single daemon", || bench.daemons() == [third]);
    bench.signal(child, Signal::KILL);
}

#[test]
fn a_child_of_a_successor_that_failed_is_told_once_no_daemon_runs() {
    let bench = Bench::new();
    let plan = "serve,orphan-then-exit:4,serve";
    let daemon = bench.served(&[], plan);
    let failed = restart(&bench, &[], plan);
    assert_eq!(failed["error"].as_str(), Some("NotHandedOver"), "{failed:#}");
    let child = bench.child();
    bench.signal(daemon, Signal::KILL);
    let held = bench.ensure(&[], plan);
    assert_eq!(
        (held["error"].as_str(), held["pid"].as_u64()),
        (Some("HeldByOrphan"), Some(child.into())),
        "{held:#}"
    );
    bench.signal(child, Signal::KILL);
    bench.served(&[], plan);
}

#[test]
fn a_daemon_that_knows_nothing_of_services_is_stopped_first() {
    let bench = Bench::new();
    let plan = "plain,serve";
    let daemon = bench.served(&[], plan);
    let result = restart(&bench, &[], plan);
    let steps: Vec<&str> =
        result["steps"].as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect();
    assert!(steps[0].ends_with("is asked to end first: it cannot hand its endpoint over"), "{steps:?}");
    let next = served_by(&result);
    assert_ne!(next, daemon);
    assert_eq!(bench.daemons(), [next]);
}

#[test]
fn another_process_at_the_socket_is_told_once_no_process_replaces_the_daemon() {
    let bench = Bench::new();
    let daemon = bench.served(&[], "serve");
    // A daemon that runs notices that its socket is away, and publishes it again.
    bench.signal(daemon, Signal::STOP);
    let impostor = bench.impostor();
    let began = Instant::now();
    assert_state(&bench.find(), "impostor", None);
    assert!(began.elapsed() < Duration::from_secs(5));

    let replacing = File::create(bench.place().join("replacing")).unwrap();
    replacing.lock().unwrap();
    let find = |words: &[&str]| Running::start(&mut bench.bare_client("find", words));
    assert_state(&find(&["timeout=300"]).result(), "busy", Some(daemon));
    let waiting = find(&[]);
    replacing.unlock().unwrap();
    assert_state(&waiting.result(), "impostor", None);

    let refused = restart(&bench, &[], "serve");
    assert_eq!(refused["error"].as_str(), Some("NotProven"), "{refused:#}");
    assert_eq!(bench.daemons(), [daemon]);
    drop(impostor);
}

#[test]
fn a_daemon_that_has_handed_over_ends_the_count_of_failures() {
    let bench = Bench::new();
    let plan = "exit:4,exit:4,serve,serve,serve";
    for _ in 0..2 {
        assert_eq!(bench.ensure(&[], plan)["error"], "StartFailed");
    }
    let failures = || {
        let history = std::fs::read(bench.place().join("starts.json")).unwrap();
        serde_json::from_slice::<Value>(&history).unwrap()["failures"].as_u64()
    };
    let daemon = bench.served(&[], plan);
    assert_eq!(failures(), Some(2), "it may still crash soon after its start");
    let next = restarted(&bench, daemon, &[], plan);
    assert_eq!(failures(), Some(0));
    await_that("single daemon", || bench.daemons() == [next]);
    bench.signal(next, Signal::KILL);
    let last = bench.served(&[], plan);
    assert_eq!(failures(), Some(1), "the crash counts alone, and the next start is not delayed");
    bench.assert_stopped(last);
}
