//! The death of the daemon before each of its system calls, however it was started and however it ends.

use super::bed::{Bed, walk};
use super::deaths::{KILL, NOWHERE};
use super::trace::{Call, STRACE, calls, can_interfere, record, sample, words};
use crate::harness::{PROBE, Running, await_that, cache, has_ended, served_by};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fmt, fs};

/// Calls of which threads make more or fewer, as it happens.
const PAUSES: [&str; 2] = ["clock_nanosleep", "futex"];
/// The idle timeout of a daemon that ends by itself.
const IDLE: (&str, &str) = ("IDLE_MS", "100");

/// A call of a daemon: one of its first thread, or one of the others, that they make more often.
#[derive(Clone)]
pub(super) struct OfDaemon {
    pub(super) call: Call,
    /// All threads are traced.
    all_threads: bool,
}

impl fmt::Display for OfDaemon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}, traced: {}",
            self.call,
            if self.all_threads { "all threads" } else { "the first thread" }
        )
    }
}

impl OfDaemon {
    /// Records the calls of a daemon that does `act` and is stopped, and returns a sample of those in its start, and in its stop.
    pub(super) fn record(act: &str) -> [Vec<Self>; 2] {
        Self::of(act, &[], |bed, tracer| {
            let daemon = served_by(&bed.call_under("ensure", &[], tracer).unwrap());
            bed.call("stop");
            daemon
        })
    }

    /// Records the calls of a daemon that `run` starts and ends, with the words for strace, and whose process id it returns.
    pub(super) fn of(
        act: &str,
        variables: &[(&'static str, &'static str)],
        run: impl Fn(&Bed, &[String]) -> u32,
    ) -> [Vec<Self>; 2] {
        let mut bed = Bed::with_remembered_digest();
        bed.plan = format!("serve,{act}");
        bed.variables = variables.to_vec();
        let log = bed.bench.path("log");
        let daemon = run(&bed, &[words(&["-f"]), record(&log)].concat());
        await_that("end of the tracer", || bed.bench.processes().is_empty());
        let text = fs::read_to_string(log).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let is_end = |line: &&str| line.contains("--- SIGTERM") || line.contains("/draining\"");
        let end = lines.iter().position(is_end).expect("an end");
        let parts = [false, true]
            .map(|all_threads| Self::sampled(&lines, end, daemon, all_threads, &bed.bench.root()));
        let [[start, stop], [other_start, other_stop]] = parts;
        [[start, other_start].concat(), [stop, other_stop].concat()]
    }

    /// Returns a sample of the calls before and after line number `end`.
    pub(super) fn sampled(
        lines: &[&str],
        end: usize,
        daemon: u32,
        all_threads: bool,
        root: &Path,
    ) -> [Vec<Self>; 2] {
        let calls = |lines: &[&str]| calls(lines.iter().copied(), |thread| all_threads || thread == daemon);
        let mut start = calls(lines);
        let mut stop = start.split_off(calls(&lines[..end]).len());
        if all_threads {
            // Those of the first thread are walked by themselves.
            let is_new = |call: &Call| call.thread != daemon && !PAUSES.contains(&&*call.name);
            start.retain(is_new);
            stop.retain(is_new);
        }
        [sample(&start, root), sample(&stop, Path::new(""))]
            .map(|part| part.into_iter().map(|call| Self { call, all_threads }).collect())
    }

    /// Returns the words for strace that kill the daemon at this call.
    pub(super) fn kill(&self) -> Vec<String> {
        let follow = if self.all_threads { words(&["-f"]) } else { Vec::new() };
        [follow, self.call.inject(KILL, Path::new(NOWHERE))].concat()
    }

    /// Starts the daemon that is killed at this call.
    pub(super) fn start(&self, bed: &Bed) -> Value {
        let result = bed.call_under("ensure", &[], &self.kill()).unwrap();
        assert_served_or_killed(&result);
        result
    }
}

/// Kills a daemon that does `act` at each call of its start and its stop.
fn walk_daemon(act: &str) {
    let [start, stop] = OfDaemon::record(act);
    let bed = || {
        let mut bed = Bed::new();
        bed.plan = format!("{act},serve");
        bed
    };
    walk(&format!("{act}: daemon that starts"), &start, |point| {
        let bed = bed();
        point.start(&bed);
        // It makes its last calls when other clients come, or never again.
        let is_killed = !bed.kill_daemons();
        bed.assert_heals();
        is_killed
    });
    walk(&format!("{act}: daemon that stops"), &stop, |point| {
        let bed = bed();
        point.start(&bed);
        let stopped = bed.call("stop");
        // If it died before that, its tracer had the lock for a moment longer.
        assert!([None, Some("HeldByOrphan")].contains(&stopped["error"].as_str()), "{stopped}");
        bed.assert_heals();
        // The last one has ended as it should.
        bed.bench.events("end") == 1
    });
}

#[test]
fn the_daemon_may_die_at_each_system_call_of_its_start_and_its_stop() {
    if can_interfere() {
        walk_daemon("serve");
    }
}

#[test]
fn a_daemon_on_tokio_may_die_at_each_system_call_of_its_start_and_its_stop() {
    if can_interfere() {
        walk_daemon("tokio");
    }
}

#[test]
fn the_daemon_may_die_at_each_system_call_of_its_idle_exit() {
    if !can_interfere() {
        return;
    }
    let [_, end] = OfDaemon::of("serve", &[IDLE], |bed, tracer| {
        served_by(&bed.call_under("ensure", &[], tracer).unwrap())
    });
    walk("idle daemon", &end, |point| {
        let mut bed = Bed::new();
        bed.variables = vec![IDLE];
        point.start(&bed);
        // A client comes while it ends, or has died.
        let socket = bed.bench.place().join("socket");
        await_that("end", || !socket.exists() || bed.bench.daemons().is_empty());
        bed.assert_heals();
        bed.bench.events("end") == 1
    });
}

#[test]
fn a_daemon_started_by_hand_may_die_at_each_system_call() {
    if !can_interfere() {
        return;
    }
    let [start, stop] = OfDaemon::of("serve", &[], |bed, tracer| {
        let mut daemon = by_hand(bed, tracer);
        let pid = bed.bench.await_event("ready", 2);
        bed.call("stop");
        daemon.child.wait().unwrap();
        pid
    });
    walk("daemon by hand", &start, |point| {
        let bed = Bed::new();
        let mut daemon = by_hand(&bed, &point.kill());
        let lock = bed.bench.place().join("lock");
        await_that("lock", || lock.exists() || has_ended(daemon.child.id()));
        // The client waits for it, or starts another one.
        let result = bed.call("ensure");
        assert!([None, Some("Request")].contains(&result["error"].as_str()), "{result}");
        let is_killed = !bed.kill_daemons();
        daemon.child.wait().unwrap();
        bed.assert_heals();
        is_killed || bed.bench.events("start") > 1
    });
    walk("daemon by hand that stops", &stop, |point| {
        let bed = Bed::new();
        let mut daemon = by_hand(&bed, &point.kill());
        await_that("daemon", || bed.bench.events("ready") > 0 || has_ended(daemon.child.id()));
        let stopped = bed.call("stop");
        assert!(stopped["error"].is_null(), "{stopped}");
        daemon.child.wait().unwrap();
        bed.assert_heals();
        bed.bench.events("end") == 1
    });
}

/// Starts a daemon by hand, under strace.
fn by_hand(bed: &Bed, tracer: &[String]) -> Running {
    let mut command = Command::new(STRACE);
    command.args(tracer).arg(PROBE).args(bed.bench.daemon_arguments(&bed.plan));
    command.env("RUNNING_PROCESS_SERVICE", "svc").env("RUNNING_PROCESS_DIR", bed.bench.root());
    command.env("XDG_CACHE_HOME", cache()).stdin(Stdio::null()).stderr(Stdio::null());
    Running::start(&mut command)
}

/// Checks that the client had a daemon, or learnt that it was killed.
pub(super) fn assert_served_or_killed(result: &Value) {
    let is_killed = match result["error"].as_str() {
        // The second one was killed between the proof and the request.
        None | Some("Request") => true,
        Some("StartFailed") => result["failure"]["end"].as_str().unwrap().contains("signal: 9"),
        Some(_) => false,
    };
    assert!(is_killed, "{result}");
}
