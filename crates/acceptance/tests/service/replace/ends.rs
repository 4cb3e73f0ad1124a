//! Daemons that end, successors that fail, and several restarts, in the middle of a handover.

use super::fixture::{Replaceable, STOP_FIRST, replaced_by};
use crate::harness::{Running, assert_state, await_that, served_by};
use rustix::process::Signal;
use std::fs;

/// A handover whose successor has its place and waits.
struct Handover {
    service: Replaceable,
    old: u32,
    successor: u32,
    restart: Running,
}

impl Handover {
    /// Begins the handover of a daemon that was started with `words`. Later daemons serve at once.
    fn begin(words: &[&str], restart: &[&str]) -> Self {
        let mut service = Replaceable::new(&["hooks", "hooks", "hooks"]);
        let go = service.path("go");
        service.plan = format!("numbered:hooks,numbered:hooks+placed={},numbered:hooks", go.display());
        let old = service.served(words, &service.plan);
        let restart = Running::start(&mut service.client("restart", restart, &service.plan));
        let successor = service.await_event("placed", 2);
        assert_ne!(successor, old);
        Self { service, old, successor, restart }
    }

    fn go(&self) {
        fs::write(self.service.path("go"), "").unwrap();
    }
}

#[test]
fn the_old_daemon_serves_until_its_successor_does() {
    let handover = Handover::begin(&[], &[]);
    assert_eq!(handover.service.start(), handover.old);
    handover.go();
    let Handover { service, old, successor, restart } = handover;
    assert_eq!(replaced_by(&restart.result(), old), successor);
    assert_eq!(service.start(), successor);
    service.await_alone(successor);
    assert_eq!(service.events("end"), 1);
    service.assert_never_two();
}

#[test]
fn a_daemon_that_is_asked_to_end_during_a_handover_ends_with_its_successor() {
    let Handover { service, old, successor, restart } = Handover::begin(&[], &[]);
    service.signal(old, Signal::TERM);
    await_that("end of both", || !service.daemons().iter().any(|pid| [old, successor].contains(pid)));
    let result = restart.result();
    let daemon = service.start();
    if result["error"].is_null() {
        assert_eq!(served_by(&result), daemon);
    }
    service.await_alone(daemon);
    service.assert_never_two();
}

#[test]
fn a_daemon_that_is_stopped_during_a_handover_is_stopped() {
    let Handover { service, old, successor, restart } = Handover::begin(&[], &[]);
    let stopped = service.stop(&[]);
    assert_eq!((stopped["stopped"].as_str(), stopped["pid"].as_u64()), (Some("Ended"), Some(old.into())));
    await_that("end of both", || !service.daemons().iter().any(|pid| [old, successor].contains(pid)));
    drop(restart.result());
    let daemon = service.start();
    service.await_alone(daemon);
    service.assert_never_two();
}

#[test]
fn a_stop_of_a_successor_leaves_the_daemon_alone_that_is_started_after_it() {
    let service = Replaceable::new(&["hooks"]);
    let old = service.start();
    let new = service.replaced(old, &[]);
    let (began, go) = (service.path("began"), service.path("go"));
    let request = format!("request=hold {} {}", began.display(), go.display());
    let held = Running::start(&mut service.client("ensure", &[&request], &service.plan));
    await_that("request", || began.exists());
    let stop = Running::start(&mut service.bare_client("stop", &[]));
    await_that("drain", || service.find()["state"] == "draining");
    let next = Running::start(&mut service.client("ensure", &[], &service.plan));
    fs::write(go, "").unwrap();
    assert_eq!(served_by(&held.result()), new);
    let stopped = stop.result();
    assert_eq!((stopped["stopped"].as_str(), stopped["pid"].as_u64()), (Some("Ended"), Some(new.into())));
    let last = served_by(&next.result());
    assert_state(&service.find(), "live", Some(last));
    service.await_alone(last);
    service.assert_never_two();
}

#[test]
fn a_daemon_that_is_idle_during_a_handover_leaves_one_daemon_or_none() {
    let Handover { service, old, successor, restart } = Handover::begin(&["idle=300"], &[]);
    await_that("end of the old daemon", || !service.daemons().contains(&old));
    fs::write(service.path("go"), "").unwrap();
    let result = restart.result();
    let daemon = service.start();
    if result["error"].is_null() {
        assert_eq!(served_by(&result), daemon);
    } else {
        assert_ne!(daemon, successor);
    }
    service.await_alone(daemon);
    service.assert_never_two();
}

#[test]
fn a_daemon_that_is_killed_during_a_handover_is_followed_by_one_daemon() {
    let Handover { service, old, restart, .. } = Handover::begin(&[], &[]);
    service.signal(old, Signal::KILL);
    fs::write(service.path("go"), "").unwrap();
    let result = restart.result();
    let daemon = service.start();
    if result["error"].is_null() {
        assert_eq!(served_by(&result), daemon);
    }
    service.await_alone(daemon);
    service.assert_never_two();
}

#[test]
fn a_handover_goes_on_when_the_process_that_asked_for_it_is_killed() {
    let mut handover = Handover::begin(&[], &[]);
    handover.restart.kill();
    handover.go();
    let Handover { service, old, successor, .. } = handover;
    let daemon = service.start();
    assert!([old, successor].contains(&daemon));
    // Whichever it was, the next restart begins at once and ends.
    await_that("end of the handover", || service.daemons().len() == 1);
    let last = service.start();
    let next = service.replaced(last, &[]);
    assert_eq!(service.start(), next);
    service.assert_never_two();
}

#[test]
fn a_successor_that_hangs_is_ended_and_the_old_daemon_goes_on() {
    let Handover { service, old, successor, restart } = Handover::begin(&[], &["start_timeout=700"]);
    let failed = restart.result();
    assert!(failed["error"].is_string(), "{failed:#}");
    await_that("end of the successor", || !service.daemons().contains(&successor));
    service.await_event("resume", 1);
    assert_eq!(service.start(), old);
    service.assert_never_two();
    let new = service.replaced(old, &[]);
    assert_eq!(service.start(), new);
    service.assert_never_two();
}

#[test]
fn a_successor_that_fails_before_it_asks_for_the_place_leaves_the_old_daemon_alone() {
    let mut service = Replaceable::new(&["hooks"]);
    service.plan = "numbered:hooks,exit:3,numbered:hooks".to_owned();
    let old = service.start();
    let failed = service.restart(&[]);
    assert!(failed["error"].is_string(), "{failed:#}");
    let told = failed["text"].as_str().unwrap();
    assert!(told.contains("no such port"), "{told}");
    assert_eq!((service.events("releasing"), service.events("resume")), (0, 0));
    assert_eq!(service.start(), old);
    service.replaced(old, &[]);
    service.assert_never_two();
}

#[test]
fn two_restarts_at_once_follow_one_another() {
    for words in [&[][..], &[STOP_FIRST]] {
        let service = Replaceable::new(&[if words.is_empty() { "hooks" } else { "database" }]);
        let old = service.start();
        let restarts = [(); 2].map(|()| Running::start(&mut service.client("restart", words, &service.plan)));
        let daemons = restarts.map(|restart| served_by(&restart.result()));
        assert!(!daemons.contains(&old), "{daemons:?}");
        await_that("single daemon", || service.daemons().len() == 1);
        assert!(daemons.contains(&service.start()), "{daemons:?}");
        // A restart whose daemon the other one stops before it is proven starts one more.
        assert!(service.events("start") <= if words.is_empty() { 3 } else { 4 });
        service.assert_never_two();
    }
}
