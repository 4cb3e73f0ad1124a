//! The failure of each system call of a client, and its death and its stop there, while others use the same server.

use super::bed::walk;
use super::errors::{Effect, Fault};
use super::trace::{Call, calls, can_interfere, few, record_kinds};
use super::tracer::{traced, was_injected, was_stopped};
use crate::harness::{Bench, PROBE, Running, await_that, cache, has_ended};
use crate::host::{Descriptors, Host, Serving, outcome};
use running_process_acceptance::Driver;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The time of a client's session: more than any wait for a retry takes.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A server without faults, which all clients of a walk use.
struct Target {
    host: Host,
    serving: Serving,
    /// The descriptors that are open without clients.
    usual: Descriptors,
}

impl Target {
    fn start() -> Self {
        let host = Host::new(Driver::Blocking);
        let (serving, usual) = host.start_used();
        Self { host, serving, usual }
    }

    /// Returns a client under strace with the words `tracer`, whose marker is that of `bench`.
    fn client(&self, bench: &Bench, driver: Driver, tracer: &[String]) -> Running {
        let starter = traced(tracer);
        let mut command = Command::new(&starter[0]);
        command.args(&starter[1..]).arg(PROBE).args(["exchange", &bench.marker, driver.name()]);
        command.arg(self.host.identity_file()).arg(TIMEOUT.as_millis().to_string());
        command.env("XDG_CACHE_HOME", cache()).stdin(Stdio::null());
        command.stderr(fs::File::create(bench.path("errors")).unwrap());
        Running::start(&mut command)
    }

    /// Checks that clients have left nothing behind, and that the server serves and ends.
    fn end(mut self) {
        self.host.assert_serves();
        self.host.assert_no_more_than(&self.usual, &self.serving);
        self.host.assert_ends(&mut self.serving);
    }
}

/// Records the calls of a client without a fault, from the first one about the identity file on.
fn calls_of_client(target: &Target, driver: Driver) -> Vec<Call> {
    let bench = Bench::new();
    let log = bench.path("log");
    let mut client = target.client(&bench, driver, &record_kinds(&log));
    assert_eq!(outcome(&bench, &mut client), Some(Ok(())));
    await_that("end of strace", || bench.processes().is_empty());
    let mut calls = calls(fs::read_to_string(&log).unwrap().lines(), |_| true);
    let own = format!("\"{}", target.host.bench.directory.path().display());
    let begin = calls.iter().position(|call| call.name != "execve" && call.line.contains(&own)).unwrap();
    calls.drain(..begin);
    // Most writes of a runtime wake a thread, which fails on no system.
    calls.retain(|call| call.name != "write");
    calls
}

fn walk_client(driver: Driver) {
    if !can_interfere() {
        return;
    }
    let target = Target::start();
    let calls = calls_of_client(&target, driver);
    // A task would wait for input that is there.
    let mut faults = Fault::all_of(&calls, driver == Driver::Blocking);
    // The client reads the answer file itself, and one that ends early is a shorter one.
    faults.retain(|fault| fault.call.name != "pread64" || matches!(fault.effect, Effect::Error(_)));
    let faults = few(faults);
    walk(&format!("{driver:?} client"), &faults, |fault| {
        let bench = Bench::new();
        let log = bench.path("injected");
        let mut client = target.client(&bench, driver, &fault.inject(&log));
        if let Err(told) = outcome(&bench, &mut client).expect("it is not killed") {
            assert!(!fault.is_repeated(), "{told}");
            let texts = [&told["text"], &told["debug"]].map(|text| text.as_str().unwrap());
            assert!(fault.is_told_by(&texts), "{told}");
        }
        was_injected(&log)
    });
    target.end();
}

#[test]
fn a_client_survives_the_failure_of_each_system_call() {
    walk_client(Driver::Blocking);
}

#[test]
fn a_client_on_tokio_survives_the_failure_of_each_system_call() {
    walk_client(Driver::Tokio);
}

fn walk_interrupted_client(driver: Driver) {
    if !can_interfere() {
        return;
    }
    let target = Target::start();
    let calls = few(calls_of_client(&target, driver));
    walk(&format!("{driver:?} client that is killed"), &calls, |call| {
        let bench = Bench::new();
        let mut client = target.client(&bench, driver, &call.inject("signal=KILL", Path::new("/dev/null")));
        let outcome = outcome(&bench, &mut client);
        target.host.assert_serves();
        outcome.is_none()
    });
    walk(&format!("{driver:?} client that is stopped"), &calls, |call| {
        let bench = Bench::new();
        let log = bench.path("injected");
        let mut client = target.client(&bench, driver, &call.inject("signal=STOP", &log));
        let pid = client.child.id();
        await_that("stop or end", || was_stopped(&log) || has_ended(pid));
        let was_stopped = !has_ended(pid);
        target.host.assert_serves();
        // It may stop again: each of its threads does at this call.
        await_that("end", || {
            // It may have ended.
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::CONT);
            has_ended(pid)
        });
        if let Some(Err(told)) = outcome(&bench, &mut client) {
            assert!(told["text"].is_string(), "{told}");
        }
        was_stopped
    });
    target.end();
}

#[test]
fn a_client_may_be_killed_or_stopped_at_each_system_call_and_others_are_served() {
    walk_interrupted_client(Driver::Blocking);
}

#[test]
fn a_client_on_tokio_may_be_killed_or_stopped_at_each_system_call_and_others_are_served() {
    walk_interrupted_client(Driver::Tokio);
}
