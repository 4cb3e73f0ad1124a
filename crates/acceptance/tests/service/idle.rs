//! Daemons that end when they have been idle, while clients come.

use crate::harness::{Bench, Crowd, Running, assert_state, await_that, served_by};

/// Clients at once, each with so many calls.
const CLIENTS: usize = 6;
const CALLS: u64 = 30;

#[test]
fn a_daemon_ends_when_it_has_been_idle_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let daemon = bench.served(&["idle=50"], "serve");
    await_that("end of the idle daemon", || bench.events("end") == 1);
    await_that("free lock", || bench.find()["state"] == "absent");
    assert!(!bench.place().join("socket").exists() && !bench.place().join("identity.json").exists());
    assert_ne!(bench.served(&["idle=50"], "serve"), daemon);
}

#[test]
fn a_daemon_whose_client_stays_connected_is_not_idle() {
    let bench = Bench::new();
    let (began, go) = (bench.path("began"), bench.path("go"));
    let request = format!("request=hold {} {}", began.display(), go.display());
    let mut held = bench.client("ensure", &["idle=20", &request], "serve");
    let held = Running::start(&mut held);
    await_that("request", || began.exists());
    // Other clients come and go, each later than the idle time after the last one.
    let mut other = bench.client("ensure", &["calls=10"], "serve");
    let other = served_by(&Running::start(&mut other).result());
    assert_state(&bench.find(), "live", Some(other));
    std::fs::write(go, "").unwrap();
    assert_eq!(served_by(&held.result()), other);
    assert_eq!(bench.events("start"), 1);
}

#[test]
fn clients_that_come_while_daemons_end_idle_are_served_by_the_old_one_or_the_next() {
    for plan in ["serve", "tokio"] {
        let bench = Bench::new();
        let words = ["idle=8", "waits=1", &format!("calls={CALLS}")];
        let clients = Crowd::gather((0..CLIENTS).map(|_| bench.client("ensure", &words, plan))).release();
        for client in clients {
            let last = client.result();
            served_by(&last);
            // A client with a handle is connected, so its daemon does not end.
            assert!(last["left_by"].is_null(), "{last:#}");
            assert_eq!(last["calls"].as_u64(), Some(CALLS), "{last:#}");
        }
        println!("{} daemons one after another ({plan})", bench.events("start"));
        bench.assert_never_two();
    }
}
