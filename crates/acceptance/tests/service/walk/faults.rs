//! The failure of each system call of a start and a stop.

use super::bed::{Bed, TIMEOUT, walk};
use super::daemons::OfDaemon;
use super::deaths::calls_of_client;
use super::errors::Fault;
use super::trace::{can_interfere, words};
use serde_json::Value;
use std::fs;

/// Checks that the call came in time to its result, or to an error whose text or log names the cause.
fn assert_told(fault: &Fault, result: &Value) {
    let limit = u64::try_from(TIMEOUT.as_millis()).unwrap() + 1000;
    assert!(result["ms"].as_u64().unwrap() < limit, "{result}");
    if result["error"].is_null() {
        assert!(result["answer"].is_string() || result["stopped"].is_string(), "{result}");
        return;
    }
    let texts = [&result["text"], &result["failure"]["log"]].map(|text| text.as_str().unwrap_or_default());
    assert!(fault.is_told_by(&texts), "no {:?} in {result:#}", fault.effect);
}

/// Walks by the calls of a client, after `before`.
fn walk_client(title: &str, verb: &str, before: impl Fn(&Bed) + Sync) {
    let faults = Fault::errors_of(&calls_of_client(verb, &before));
    walk(title, &faults, |fault| {
        let bed = Bed::new();
        before(&bed);
        let log = bed.bench.path("injected");
        let tracer = fault.inject(&log);
        let result = bed.call_under(verb, &tracer, &[]);
        bed.assert_heals();
        // Clients make a varying number of writes, of which the last one prints the result.
        let Some(result) = result else {
            assert_eq!(fault.call.name, "write", "no result");
            return false;
        };
        assert_told(fault, &result);
        fs::read_to_string(log).unwrap().contains("(INJECTED)")
    });
}

#[test]
fn a_start_and_a_stop_survive_the_failure_of_each_system_call_of_the_client() {
    if !can_interfere() {
        return;
    }
    let serves = |bed: &Bed| {
        bed.start();
    };
    walk_client("failing starter", "ensure", |_| {});
    walk_client("failing client", "ensure", serves);
    walk_client("failing stopper", "stop", serves);
}

#[test]
fn a_start_survives_the_failure_of_each_system_call_of_the_daemon() {
    if !can_interfere() {
        return;
    }
    let [start, _] = OfDaemon::record("serve");
    // Writes that wake a thread fail on no system, and cannot be told from others here.
    let calls = start.into_iter().map(|of_daemon| of_daemon.call).filter(|call| call.name != "write");
    let faults = Fault::errors_of(&calls.collect::<Vec<_>>());
    walk("failing daemon", &faults, |fault| {
        let bed = Bed::new();
        let log = bed.bench.path("injected");
        let tracer = fault.inject(&log);
        let result = bed.call_under("ensure", &[], &[words(&["-f"]), tracer].concat()).expect("a result");
        // A daemon that cannot write to a connection closes it.
        if result["error"] != "Request" {
            assert_told(fault, &result);
        }
        bed.kill_daemons();
        bed.assert_heals();
        fs::read_to_string(log).unwrap().contains("(INJECTED)")
    });
}
