//! Two hundred clients that ask for the daemon while it is replaced: all are served, and one daemon is left.

use super::fixture::{Replaceable, STOP_FIRST, number, replaced_by};
use crate::harness::{Crowd, Running, served_by};
use crate::stampede::TURN;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

const CLIENTS: usize = 200;
/// Every so many clients, one uses the calls for tokio.
const TOKIO: usize = 20;
const OLD: &str = "version=1.9.0";
const NEW: &str = "version=1.10.0";

/// Returns how often each scenario is repeated: `CROWD_ROUNDS`, or 1.
fn rounds() -> usize {
    number("CROWD_ROUNDS", 1)
}

fn client(service: &Replaceable, number: usize, words: &[&str]) -> Command {
    let tokio = number.is_multiple_of(TOKIO).then_some("tokio=1");
    let words = words.iter().copied().chain(["waits=1"]).chain(tokio).collect::<Vec<_>>();
    service.client("ensure", &words, &service.plan)
}

fn results(clients: Vec<Running>) -> Vec<Value> {
    clients.into_iter().map(Running::result).collect()
}

/// Restarts the service in the middle of a crowd. Returns the process that served each client, and the old daemon and the next one.
fn restarted_in_a_crowd(service: &Replaceable, words: &[&str]) -> (Vec<Value>, u32, u32) {
    let old = service.start();
    let mut commands: Vec<_> = (0..CLIENTS).map(|number| client(service, number, &[])).collect();
    let words = [words, &["waits=1"]].concat();
    commands.insert(CLIENTS / 2, service.client("restart", &words, &service.plan));
    let mut results = results(Crowd::gather(commands).release());
    let new = replaced_by(&results.remove(CLIENTS / 2), old);
    service.await_alone(new);
    assert_eq!(service.events("start"), 2);
    service.assert_never_two();
    (results, old, new)
}

/// Checks that each client was served by one of the daemons, and prints how many each has served.
#[track_caller]
fn assert_served_by(results: &[Value], daemons: &[u32]) {
    let mut by = BTreeMap::<u32, usize>::new();
    for result in results {
        *by.entry(served_by(result)).or_default() += 1;
    }
    println!("served by {by:?} of {daemons:?}");
    assert!(by.keys().all(|pid| daemons.contains(pid)), "{by:?} {daemons:?}");
}

#[test]
fn a_crowd_that_meets_a_handover_is_served_by_the_old_daemon_or_its_successor() {
    let _turn = TURN.lock();
    for _ in 0..rounds() {
        let service = Replaceable::new(&["serve"]);
        let (results, old, new) = restarted_in_a_crowd(&service, &[]);
        assert_served_by(&results, &[old, new]);
        for result in &results {
            // The old one serves the connections that it has accepted.
            assert!(result["left_by"].is_null(), "{result:#}");
        }
    }
}

#[test]
fn a_crowd_that_meets_a_stop_and_a_start_waits_for_the_next_daemon() {
    let _turn = TURN.lock();
    for _ in 0..rounds() {
        let service = Replaceable::new(&["database"]);
        let (results, old, new) = restarted_in_a_crowd(&service, &[STOP_FIRST]);
        assert_served_by(&results, &[old, new]);
        for result in &results {
            // It had proven the old one, and sent its request when that drained.
            let left_by = &result["left_by"];
            assert!(left_by.is_null() || left_by.as_u64() == Some(old.into()), "{result:#}");
        }
    }
}

#[test]
fn a_crowd_of_newer_clients_replaces_the_daemon_once_and_gets_the_new_one() {
    let _turn = TURN.lock();
    for (words, by) in [("serve", "upgrade=newer"), ("database", "upgrade=stop")] {
        for _ in 0..rounds() {
            let service = Replaceable::new(&[words]);
            let old = service.served(&[OLD, by], &service.plan);
            let is_new = |number: usize| number.is_multiple_of(2);
            let commands = (0..CLIENTS)
                .map(|number| client(&service, number, &[if is_new(number) { NEW } else { OLD }, by]));
            let results = results(Crowd::gather(commands).release());
            let new = served_by(&results[0]);
            assert_ne!(new, old);
            let (newer, older): (Vec<_>, Vec<_>) =
                results.into_iter().enumerate().partition(|(number, _)| is_new(*number));
            let values =
                |part: Vec<(usize, Value)>| part.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
            assert_served_by(&values(newer), &[new]);
            assert_served_by(&values(older), &[old, new]);
            service.await_alone(new);
            assert_eq!(service.events("start"), 2, "{by}");
            service.assert_never_two();
        }
    }
}
