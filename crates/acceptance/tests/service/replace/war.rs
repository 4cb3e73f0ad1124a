//! Clients of two versions that ask for the daemon in turn.

use super::fixture::{Replaceable, number};
use crate::harness::{await_that, served_by};
use running_process_acceptance::TEST_TIMEOUT;
use serde_json::Value;
use std::time::{Duration, Instant};

const OLD: &str = "1.9.0";
const NEW: &str = "1.10.0";
/// The most replacements within ten minutes, unless a policy has another bound.
const BOUND: usize = 3;

/// Returns the time for which the clients take turns: `WAR_SECONDS`, or 2.
fn time() -> Duration {
    Duration::from_secs(number("WAR_SECONDS", 2).try_into().unwrap())
}

/// Asks for the daemon as a client of `version`.
fn ensure(service: &Replaceable, version: &str, upgrade: &str) -> Value {
    let words = [format!("version={version}"), format!("upgrade={upgrade}")];
    service.ensure(&words.each_ref().map(String::as_str), &service.plan)
}

#[test]
fn clients_that_each_want_their_own_version_replace_the_daemon_a_few_times_and_are_refused_then() {
    for by in ["own", "own+stop"] {
        let service = Replaceable::new(&["serve"]);
        let end = Instant::now() + time();
        let (mut served, mut refused) = (Vec::new(), Vec::new());
        // At least until a client was refused several times.
        while refused.len() < 4 || Instant::now() < end {
            for version in [OLD, NEW] {
                let ensured = ensure(&service, version, by);
                if ensured["error"].is_null() {
                    served.push((version, served_by(&ensured)));
                } else {
                    assert_eq!(ensured["error"], "ReplacementRefused", "{ensured:#}");
                    refused.push((version, ensured));
                }
                assert!(service.events("start") <= 1 + BOUND, "{by}: {served:?}");
                assert!(Instant::now() < end + TEST_TIMEOUT, "{by}: nobody is refused, {served:?}");
            }
        }
        assert_eq!(service.events("start"), 1 + BOUND);
        println!("{by}: {} calls served, {} refused", served.len(), refused.len());
        println!("{}", refused[0].1["text"]);
        // The last one that replaced the other keeps its daemon, and the other one is refused each time.
        let (last, daemon) = *served.last().unwrap();
        assert_eq!(served_by(&ensure(&service, last, by)), daemon);
        for (version, refusal) in &refused {
            assert_ne!(*version, last, "{refusal:#}");
            let text = refusal["text"].as_str().unwrap();
            assert!(text.contains(OLD) && text.contains(NEW), "{text}");
        }
        service.await_alone(daemon);
        service.assert_never_two();
    }
}

#[test]
fn a_refused_replacement_is_allowed_once_the_time_of_the_bound_is_over() {
    let service = Replaceable::new(&["serve"]);
    let by = "own+bound=1/2000";
    let first = served_by(&ensure(&service, OLD, by));
    let began = Instant::now();
    let second = served_by(&ensure(&service, NEW, by));
    assert_ne!(second, first);
    let refused = ensure(&service, OLD, by);
    if began.elapsed() < Duration::from_secs(2) {
        assert_eq!(refused["error"], "ReplacementRefused", "{refused:#}");
        await_that("end of the bound", || began.elapsed() > Duration::from_secs(3));
        assert_ne!(served_by(&ensure(&service, OLD, by)), second);
        assert_eq!(service.events("start"), 3);
    }
}

#[test]
fn the_newer_version_stays_and_clients_of_the_older_one_use_it() {
    let service = Replaceable::new(&["serve"]);
    let old = served_by(&ensure(&service, OLD, "newer"));
    let new = served_by(&ensure(&service, NEW, "newer"));
    assert_ne!(new, old);
    for version in [OLD, NEW, OLD, NEW] {
        assert_eq!(served_by(&ensure(&service, version, "newer")), new);
    }
    service.await_alone(new);
    assert_eq!(service.events("start"), 2);
}

#[test]
fn clients_without_a_version_and_clients_that_never_replace_use_any_daemon() {
    let service = Replaceable::new(&["serve"]);
    let old = served_by(&ensure(&service, OLD, "newer"));
    assert_eq!(service.start(), old);
    assert_eq!(served_by(&ensure(&service, NEW, "never")), old);
    assert_eq!(service.events("start"), 1);
}

#[test]
fn a_daemon_without_a_version_is_replaced_by_any_version() {
    let service = Replaceable::new(&["serve"]);
    let old = service.start();
    let new = served_by(&ensure(&service, OLD, "newer"));
    assert_ne!(new, old);
    service.await_alone(new);
}
