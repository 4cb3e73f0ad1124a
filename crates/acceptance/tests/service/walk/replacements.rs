//! The death of the old daemon, of its successor and of the client before each system call of a replacement.

use super::bed::{Bed, walk};
use super::daemons::OfDaemon;
use super::deaths::{KILL, NOWHERE};
use super::trace::{Call, calls, can_interfere, is_complete, record, sample, words};
use crate::harness::{await_that, served_by};
use std::cell::Cell;
use std::fs;
use std::path::Path;

/// Act of daemons that are handed over: they release a thing that only one of them may hold.
const HOOKS: &str = "numbered:hooks";
const HOOKS_ON_TOKIO: &str = "numbered:hooks+tokio";
/// Act of daemons that stop before the next one starts.
const DATABASE: &str = "numbered:database";
const STOP_FIRST: &str = "stop_first=1";
/// Looks at all processes one after another that find nothing under way.
const LOOKS: u32 = 20;

/// Returns the acts of daemons whose handover is walked: the walk of every call takes both drivers.
fn acts() -> &'static [&'static str] {
    if is_complete() { &[HOOKS, HOOKS_ON_TOKIO] } else { &[HOOKS] }
}

/// Returns a service whose daemons do `act`, and whose replacement goes as the `word` of its clients says.
fn bed_of(act: &str, word: Option<&'static str>) -> Bed {
    let mut bed = Bed::new();
    act.clone_into(&mut bed.plan);
    bed.word = word;
    bed
}

/// Waits until the replacement is over, whoever has died: one process is left at most, look after look, since a process that begins
/// can be missed.
fn await_end_of_replacement(bed: &Bed) {
    let looks = Cell::new(0);
    await_that("end of the replacement", || {
        looks.set(if bed.bench.processes().len() <= 1 { looks.get() + 1 } else { 0 });
        looks.get() >= LOOKS
    });
}

/// Kills the client that replaces the daemon at each of its calls.
fn walk_coordinator(act: &str, word: Option<&'static str>) {
    let points = {
        let bed = bed_of(act, word);
        bed.start();
        let log = bed.bench.path("log");
        served_by(&bed.call_under("restart", &record(&log), &[]).unwrap());
        bed.call("stop");
        sample(&calls(fs::read_to_string(log).unwrap().lines(), |_| true), &bed.bench.root())
    };
    walk(&format!("{act}: client that replaces"), &points, |point: &Call| {
        let bed = bed_of(act, word);
        bed.start();
        let result = bed.call_under("restart", &point.inject(KILL, Path::new(NOWHERE)), &[]);
        await_end_of_replacement(&bed);
        bed.assert_heals();
        assert!(bed.bench.events("start") <= 3);
        result.is_none()
    });
}

#[test]
fn the_client_that_replaces_a_daemon_may_die_at_each_system_call_of_a_handover() {
    if can_interfere() {
        walk_coordinator(HOOKS, None);
    }
}

#[test]
fn the_client_that_replaces_a_daemon_may_die_at_each_system_call_of_a_stop_and_a_start() {
    if can_interfere() {
        walk_coordinator(DATABASE, Some(STOP_FIRST));
    }
}

#[test]
fn the_successor_may_die_at_each_system_call_until_it_serves() {
    if !can_interfere() {
        return;
    }
    for act in acts() {
        let [points, _] = OfDaemon::of(act, &[], |bed, tracer| {
            bed.start();
            let successor = served_by(&bed.call_under("restart", &[], tracer).unwrap());
            bed.call("stop");
            successor
        });
        walk(&format!("{act}: successor"), &points, |point| {
            let bed = bed_of(act, None);
            bed.start();
            let restarted = bed.call_under("restart", &[], &point.kill()).unwrap();
            // A successor that serves makes its last calls when other clients come, or never again.
            let is_killed = !restarted["error"].is_null() || !bed.kill_daemons();
            await_end_of_replacement(&bed);
            // The client has started more than one, and each was killed at the same call.
            await_that("end of the pause", || bed.call("ensure")["error"] != "BackingOff");
            bed.assert_heals();
            is_killed
        });
    }
}

#[test]
fn the_old_daemon_may_die_at_each_system_call_of_a_handover() {
    if !can_interfere() {
        return;
    }
    for act in acts() {
        walk(&format!("{act}: old daemon"), &calls_of_old(act), |point| {
            let bed = bed_of(act, None);
            point.start(&bed);
            let restarted = bed.call("restart");
            if restarted["error"].is_null() {
                served_by(&restarted);
            }
            await_end_of_replacement(&bed);
            bed.assert_heals();
            // Besides the last one.
            bed.bench.events("end") == 1
        });
    }
}

/// Records the calls of a daemon that does `act` and is replaced, and returns a sample of those in its replacement.
fn calls_of_old(act: &str) -> Vec<OfDaemon> {
    let mut bed = Bed::with_remembered_digest();
    bed.plan = format!("serve,{act}");
    let log = bed.bench.path("log");
    let tracer = [words(&["-f"]), record(&log)].concat();
    let old = served_by(&bed.call_under("ensure", &[], &tracer).unwrap());
    let begin = fs::read_to_string(&log).unwrap().lines().count();
    assert_ne!(served_by(&bed.call("restart")), old);
    bed.call("stop");
    await_that("end of the tracer", || bed.bench.processes().is_empty());
    let text = fs::read_to_string(log).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let sampled = |all_threads| {
        let [_, replaced] = OfDaemon::sampled(&lines, begin, old, all_threads, &bed.bench.root());
        replaced
    };
    [false, true].map(sampled).concat()
}
