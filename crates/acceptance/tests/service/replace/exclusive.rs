//! A thing that only one daemon may hold: the old one stops first, or releases it for its successor.

use super::askers::{Askers, assert_each_answered_once};
use super::fixture::{Replaceable, STOP_FIRST, replaced_by};
use crate::harness::{Running, await_that, served_by};
use crate::stampede::TURN;
use rustix::process::Signal;
use std::fs;
use std::sync::Arc;

/// Stops and starts one after another.
const ROUNDS: usize = 5;

#[test]
fn clients_of_a_service_wait_while_the_daemon_is_stopped_and_the_next_one_starts() {
    let _turn = TURN.lock();
    let service = Arc::new(Replaceable::new(&["database"]));
    let mut daemon = service.start();
    let askers = Askers::new(&service).reconnects().only_ensures();
    for _ in 0..ROUNDS {
        daemon = service.replaced(daemon, &[STOP_FIRST]);
    }
    let (asked, failures) = askers.stop();
    assert_each_answered_once(&service, &asked, &failures);
    assert!(asked.iter().any(|asked| asked.pid == daemon));
    assert_eq!(service.events("start"), 1 + ROUNDS);
    service.assert_never_two();
}

#[test]
fn a_slow_stop_makes_clients_wait_and_no_client_starts_a_daemon_itself() {
    let service = Replaceable::new(&["database"]);
    let old = service.start();
    let (began, go) = (service.path("began"), service.path("go"));
    let request = format!("request=hold {} {}", began.display(), go.display());
    // The old one drains as long as this request runs.
    let held = Running::start(&mut service.client("ensure", &[&request], &service.plan));
    await_that("request", || began.exists());
    let words = [STOP_FIRST];
    let restart = Running::start(&mut service.client("restart", &words, &service.plan));
    await_that("drain", || service.find()["state"] == "draining");
    let waiting = [(); 3].map(|()| Running::start(&mut service.client("ensure", &[], &service.plan)));
    fs::write(go, "").unwrap();
    assert_eq!(served_by(&held.result()), old);
    let new = replaced_by(&restart.result(), old);
    assert_eq!(waiting.map(|client| served_by(&client.result())), [new; 3]);
    service.await_alone(new);
    assert_eq!(service.events("start"), 2);
    service.assert_never_two();
}

#[test]
fn a_successor_takes_the_database_that_the_old_daemon_has_released_and_fails_over_to_it_if_it_dies() {
    let service = Replaceable::new(&["hooks", "hooks", "hooks+placed=never", "hooks"]);
    let old = service.start();
    let new = service.replaced(old, &[]);
    assert_eq!((service.events("release"), service.events("resume")), (1, 0));
    service.assert_never_two();

    // It has the database, and is killed before it serves.
    let restart = Running::start(&mut service.client("restart", &[], &service.plan));
    let killed = service.await_event("placed", 3);
    service.signal(killed, Signal::KILL);
    let failed = restart.result();
    assert!(failed["error"].is_string(), "{failed:#}");
    service.await_event("resume", 1);
    assert_eq!(service.start(), new);
    service.await_alone(new);
    service.assert_never_two();

    service.replaced(new, &[]);
    assert_eq!((service.events("release"), service.events("resume")), (3, 1));
    service.assert_never_two();
}

#[test]
fn a_daemon_whose_hook_fails_serves_on_and_tells_why() {
    let service = Replaceable::new(&["hooks+refuses", "hooks"]);
    let old = service.start();
    let failed = service.restart(&[]);
    assert!(failed["error"].is_string(), "{failed:#}");
    let told = format!("{failed}");
    assert!(told.contains("the database is busy"), "{told}");
    assert_eq!(service.start(), old);
    service.await_alone(old);
    // Without a handover it can be replaced.
    let new = service.replaced(old, &[STOP_FIRST]);
    assert_eq!(service.start(), new);
    service.assert_never_two();
}
