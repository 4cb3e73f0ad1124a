//! Two hundred clients at once: one daemon, and no client goes without.

use crate::harness::{Bench, Crowd, Running, served_by};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

const CLIENTS: usize = 200;
/// Every so many clients, one uses the calls for tokio.
const TOKIO: usize = 20;

/// Crowds follow one another: together they would take each other's processors.
pub(crate) static TURN: Mutex<()> = Mutex::new(());

/// Returns how often each scenario is repeated: `STAMPEDE_ROUNDS`, or 5.
fn rounds() -> usize {
    std::env::var("STAMPEDE_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap())
}

fn client(bench: &Bench, number: usize, plan: &str) -> Command {
    let words: &[_] = if number.is_multiple_of(TOKIO) { &["waits=1", "tokio=1"] } else { &["waits=1"] };
    bench.client("ensure", words, plan)
}

fn crowd(bench: &Bench, plan: &str) -> Crowd {
    Crowd::gather((0..CLIENTS).map(|number| client(bench, number, plan)))
}

fn results(clients: Vec<Running>) -> Vec<Value> {
    clients.into_iter().map(Running::result).collect()
}

/// Checks that one daemon has served all of them, and returns their processor time together, in milliseconds: that of the
/// calls, and that of the processes.
#[track_caller]
fn assert_one_daemon(bench: &Bench, results: &[Value]) -> (u64, u64) {
    let mut by: BTreeMap<u32, usize> = BTreeMap::new();
    for result in results {
        *by.entry(served_by(result)).or_default() += 1;
    }
    assert_eq!(by.len(), 1, "{by:?}");
    assert_eq!(bench.daemons(), by.into_keys().collect::<Vec<_>>());
    bench.assert_never_two();
    cpu_ms(results)
}

fn cpu_ms(results: &[Value]) -> (u64, u64) {
    let sum = |field: &str| results.iter().map(|result| result[field].as_u64().unwrap()).sum::<u64>() / 1000;
    (sum("call_cpu_us"), sum("cpu_us"))
}

/// Returns the median of the processes' times.
fn median(what: &str, times: &mut Vec<(u64, u64)>) -> u64 {
    times.sort_unstable_by_key(|(_, process)| *process);
    let (call, process) = times[times.len() / 2];
    println!(
        "{what}: {process} ms of CPU time for {CLIENTS} clients, {call} ms of it in the call; all: {times:?}"
    );
    process
}

#[test]
fn a_crowd_of_clients_gets_one_daemon_and_costs_at_most_twice_as_much_as_one_that_finds_it_running() {
    let _turn = TURN.lock();
    let (mut running, mut cold, mut stale) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let bench = Bench::new();
        let clients = crowd(&bench, "serve").release();
        cold.push(assert_one_daemon(&bench, &results(clients)));
        assert_eq!(bench.events("start"), 1);

        let clients = crowd(&bench, "serve").release();
        running.push(assert_one_daemon(&bench, &results(clients)));
        assert_eq!(bench.events("start"), 1);

        let crowd = crowd(&bench, "serve");
        bench.signal(bench.daemons()[0], Signal::KILL);
        stale.push(assert_one_daemon(&bench, &results(crowd.release())));
        assert_eq!(bench.events("start"), 2);
    }
    let running = median("a running daemon", &mut running);
    for (what, mut times) in [("a cold start", cold), ("a stale start", stale)] {
        assert!(median(what, &mut times) <= 2 * running);
    }
}

#[test]
fn a_crowd_whose_starter_is_killed_with_its_daemon_gets_the_next_daemon() {
    let _turn = TURN.lock();
    for _ in 0..rounds() {
        let bench = Bench::new();
        let crowd = crowd(&bench, "hang,serve");
        let mut starter = Running::start(&mut bench.client("ensure", &[], "hang,serve"));
        let hangs = bench.await_event("start", 1);
        let clients = crowd.release();
        starter.kill();
        bench.signal(hangs, Signal::KILL);
        assert_one_daemon(&bench, &results(clients));
        assert_eq!(bench.events("start"), 2);
    }
}

#[test]
fn a_crowd_whose_starter_is_killed_gets_the_daemon_that_it_has_started() {
    let _turn = TURN.lock();
    for _ in 0..rounds() {
        let bench = Bench::new();
        let go = bench.path("go");
        let plan = format!("wait:{}", go.display());
        let crowd = crowd(&bench, &plan);
        let mut starter = Running::start(&mut bench.client("ensure", &[], &plan));
        let daemon = bench.await_event("start", 1);
        let clients = crowd.release();
        starter.kill();
        std::fs::write(go, "").unwrap();
        let results = results(clients);
        assert_one_daemon(&bench, &results);
        assert_eq!((served_by(&results[0]), bench.events("start")), (daemon, 1));
    }
}

#[test]
fn a_crowd_whose_daemon_aborts_gets_that_failure_or_the_next_daemon() {
    let _turn = TURN.lock();
    for _ in 0..rounds() {
        let bench = Bench::new();
        let results = results(crowd(&bench, "abort,serve").release());
        let (failed, served): (Vec<_>, Vec<_>) =
            results.into_iter().partition(|result| !result["error"].is_null());
        for result in &failed {
            assert_eq!(result["error"], "StartFailed", "{result:#}");
            assert_eq!(result["failure"]["end"], "Signaled { signal: 6 }", "{result:#}");
            assert_eq!(result["failure"]["log"], "assertion failed", "{result:#}");
        }
        assert!(!failed.is_empty());
        println!("{} clients waited for the start that failed, {} came later", failed.len(), served.len());
        if served.is_empty() {
            bench.served(&[], "abort,serve");
        } else {
            assert_one_daemon(&bench, &served);
        }
        assert_eq!((bench.events("start"), bench.daemons().len()), (2, 1));
        bench.assert_never_two();
    }
}

#[test]
fn a_crowd_that_meets_a_stop_gets_the_old_daemon_or_the_next_one() {
    let _turn = TURN.lock();
    for _ in 0..rounds() {
        let bench = Bench::new();
        let old = bench.served(&[], "serve");
        let stop = bench.bare_client("stop", &["waits=1"]);
        let commands = (0..CLIENTS).map(|number| client(&bench, number, "serve"));
        // In the middle of them.
        let mut commands: Vec<_> = commands.collect();
        commands.insert(CLIENTS / 2, stop);
        let mut results = results(Crowd::gather(commands).release());
        let stopped = results.remove(CLIENTS / 2);
        assert_eq!((stopped["stopped"].as_str(), stopped["pid"].as_u64()), (Some("Ended"), Some(old.into())));
        let (mut by, mut left) = (BTreeMap::<u32, usize>::new(), 0);
        for result in &results {
            *by.entry(served_by(result)).or_default() += 1;
            if !result["left_by"].is_null() {
                assert_eq!(result["left_by"].as_u64(), Some(old.into()), "{result:#}");
                left += 1;
            }
        }
        println!("served by {by:?}; {old} was stopped, {left} had its handle and asked too late");
        let next: Vec<_> = by.into_keys().filter(|pid| *pid != old).collect();
        assert_eq!(bench.daemons(), next);
        assert_eq!(bench.events("start"), 1 + next.len());
        bench.assert_never_two();
    }
}
