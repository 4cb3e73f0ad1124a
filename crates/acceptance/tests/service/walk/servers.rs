//! The failure of each system call of a server, while it starts, serves and ends.

use super::bed::walk;
use super::deaths::{KILL, NOWHERE};
use super::errors::Fault;
use super::trace::{Call, calls, can_interfere, few, record_kinds};
use super::tracer::{Tracer, end_tracer, traced, was_injected, was_stopped};
use crate::harness::{await_that, has_ended};
use crate::host::{Descriptors, End, Host};
use running_process_acceptance::Driver;
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The time of a session whose server has a fault.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time of a session whose server is stopped: it is waited out.
const SHORT: Duration = Duration::from_millis(400);
const STOP: &str = "signal=STOP";

/// The system calls of a server, in the three parts of its life.
pub(super) struct Life {
    pub(super) start: Vec<Call>,
    pub(super) session: Vec<Call>,
    pub(super) end: Vec<Call>,
    /// The descriptors that are open when it has served a session.
    pub(super) usual: Descriptors,
}

impl Life {
    /// Records the calls of a server without a fault.
    pub(super) fn record(driver: Driver) -> Self {
        // The next one need not read its program.
        Host::new(driver).assert_heals();
        let host = Host::new(driver);
        let log = host.bench.path("log");
        let mut serving = host.begin(&traced(&record_kinds(&log)));
        assert!(host.await_ready(&mut serving).is_none(), "{}", host.errors());
        let mut start = read_calls(&fs::read_to_string(&log).unwrap());
        // Before it binds, the loader and the runtimes of the language and of tokio start.
        let own = format!("\"{}", host.bench.directory.path().display());
        let bind = start.iter().position(|call| call.name != "execve" && call.line.contains(&own)).unwrap();
        start.drain(..bind);
        host.assert_ends(&mut serving);

        let (mut serving, usual) = host.start_used();
        host.assert_ends(&mut serving);

        let mut serving = host.start();
        let tracer = Tracer::attach(serving.pid, &record_kinds(&log), log.clone());
        host.assert_serves();
        let session = read_calls(&tracer.detach());
        let tracer = Tracer::attach(serving.pid, &record_kinds(&log), log.clone());
        host.assert_ends(&mut serving);
        let end = read_calls(&tracer.detach());
        Self { start, session, end, usual }
    }
}

/// Returns the calls of all threads. Writes are left out: most wake a thread, which fails on no system, and they cannot be told from
/// others here.
fn read_calls(log: &str) -> Vec<Call> {
    calls(log.lines(), |_| true).into_iter().filter(|call| call.name != "write").collect()
}

fn walk_server(driver: Driver) {
    if !can_interfere() {
        return;
    }
    let life = Life::record(driver);
    let title = |part| format!("{driver:?} server that {part}");
    walk(&title("starts"), &few(Fault::all_of(&life.start, false)), |fault| {
        let host = Host::new(driver);
        let log = host.bench.path("injected");
        let mut serving = host.begin(&traced(&fault.inject(&log)));
        let mut end = host.await_ready(&mut serving);
        if end.is_none() {
            let outcome = host.session(TIMEOUT);
            assert!(outcome.is_ok() || !fault.is_repeated(), "{outcome:?}, {}", host.errors());
            end_tracer(serving.pid);
            // It may have been identified before it failed.
            await_that("service or end", || has_ended(serving.pid) || host.session(TIMEOUT).is_ok());
            if has_ended(serving.pid) {
                end = Some(host.end_of(&mut serving));
            } else {
                host.assert_ends(&mut serving);
            }
        }
        match end {
            None => {}
            Some(End::Failed(error)) => {
                assert!(!fault.is_repeated(), "{error}");
                let texts = [&error["text"], &error["debug"]].map(|text| text.as_str().unwrap());
                assert!(fault.is_told_by(&texts), "{error}");
            }
            Some(end) => panic!("{end:?}"),
        }
        host.assert_heals();
        was_injected(&log)
    });
    walk(&title("serves"), &few(Fault::all_of(&life.session, false)), |fault| {
        let host = Host::new(driver);
        let log = host.bench.path("injected");
        let mut serving = host.start();
        let tracer = Tracer::attach(serving.pid, &fault.inject(&log), log.clone());
        let outcome = host.session(TIMEOUT);
        assert!(outcome.is_ok() || !fault.is_repeated(), "{outcome:?}, {}", host.errors());
        tracer.detach();
        host.assert_serves();
        host.assert_no_more_than(&life.usual, &serving);
        host.assert_ends(&mut serving);
        was_injected(&log)
    });
    walk(&title("ends"), &few(Fault::all_of(&life.end, false)), |fault| {
        let host = Host::new(driver);
        let log = host.bench.path("injected");
        let mut serving = host.start();
        host.assert_serves();
        let tracer = Tracer::attach(serving.pid, &fault.inject(&log), log.clone());
        let end = host.stop(&mut serving);
        tracer.detach();
        if let End::Failed(error) = &end {
            assert!(!fault.is_repeated(), "{error}");
        }
        host.assert_heals();
        was_injected(&log)
    });
}

#[test]
fn a_server_survives_the_failure_of_each_system_call() {
    walk_server(Driver::Blocking);
}

#[test]
fn a_server_on_tokio_survives_the_failure_of_each_system_call() {
    walk_server(Driver::Tokio);
}

/// Kills and stops the server at each call.
fn walk_interrupted_server(driver: Driver) {
    if !can_interfere() {
        return;
    }
    let life = Life::record(driver);
    let title = |part| format!("{driver:?} server that {part}");
    let [start, session, end] = [&life.start, &life.session, &life.end].map(|calls| few(calls.clone()));
    let nowhere = Path::new(NOWHERE);
    walk(&title("is killed while it starts"), &start, |call| {
        let host = Host::new(driver);
        let mut serving = host.begin(&traced(&call.inject(KILL, nowhere)));
        let is_killed = match host.await_ready(&mut serving) {
            None => {
                // It makes its last calls when a client comes.
                let outcome = host.session(TIMEOUT);
                let is_killed = outcome.is_err();
                host.bench.signal_if_alive(serving.pid, Signal::KILL);
                assert!(matches!(host.end_of(&mut serving), End::Killed));
                is_killed
            }
            Some(End::Killed) => true,
            Some(end) => panic!("{end:?}"),
        };
        assert!(host.session(TIMEOUT).is_err());
        host.assert_heals();
        is_killed
    });
    walk(&title("is killed while it serves"), &session, |call| {
        let host = Host::new(driver);
        let mut serving = host.start();
        let tracer = Tracer::attach(serving.pid, &call.inject(KILL, nowhere), NOWHERE.into());
        let outcome = host.session(TIMEOUT);
        drop(tracer);
        host.bench.signal_if_alive(serving.pid, Signal::KILL);
        assert!(matches!(host.end_of(&mut serving), End::Killed));
        assert!(host.session(TIMEOUT).is_err());
        host.assert_heals();
        outcome.is_err()
    });
    walk(&title("is killed while it ends"), &end, |call| {
        let host = Host::new(driver);
        let mut serving = host.start();
        host.assert_serves();
        let tracer = Tracer::attach(serving.pid, &call.inject(KILL, nowhere), NOWHERE.into());
        host.bench.signal_if_alive(serving.pid, Signal::TERM);
        await_that("end", || has_ended(serving.pid));
        drop(tracer);
        let end = host.end_of(&mut serving);
        assert!(host.session(TIMEOUT).is_err());
        host.assert_heals();
        matches!(end, End::Killed)
    });
    walk(&title("is stopped while it starts"), &start, |call| {
        let host = Host::new(driver);
        let log = host.bench.path("injected");
        let mut serving = host.begin(&traced(&call.inject(STOP, &log)));
        await_that("stop or service", || was_stopped(&log) || host.session(SHORT).is_ok());
        // The client does not wait beyond its deadline.
        let is_stopped = host.session(SHORT).is_err();
        end_tracer(serving.pid);
        host.bench.signal_if_alive(serving.pid, Signal::CONT);
        assert!(host.await_ready(&mut serving).is_none(), "{}", host.errors());
        host.assert_serves();
        host.assert_ends(&mut serving);
        is_stopped
    });
    walk(&title("is stopped while it serves"), &session, |call| {
        let host = Host::new(driver);
        let log = host.bench.path("injected");
        let mut serving = host.start();
        let tracer = Tracer::attach(serving.pid, &call.inject(STOP, &log), log.clone());
        // The client does not wait beyond its deadline.
        let _answered_or_told = host.session(SHORT);
        let is_stopped = was_stopped(&log);
        tracer.detach();
        host.bench.signal_if_alive(serving.pid, Signal::CONT);
        host.assert_serves();
        host.assert_no_more_than(&life.usual, &serving);
        host.assert_ends(&mut serving);
        is_stopped
    });
    walk(&title("is stopped while it ends"), &end, |call| {
        let host = Host::new(driver);
        let log = host.bench.path("injected");
        let mut serving = host.start();
        host.assert_serves();
        let tracer = Tracer::attach(serving.pid, &call.inject(STOP, &log), log.clone());
        host.bench.signal_if_alive(serving.pid, Signal::TERM);
        await_that("stop or end", || was_stopped(&log) || has_ended(serving.pid));
        let outcome = host.session(SHORT);
        assert!(outcome.is_err(), "{outcome:?}");
        tracer.detach();
        host.bench.signal_if_alive(serving.pid, Signal::CONT);
        let end = host.end_of(&mut serving);
        assert!(matches!(end, End::Ended), "{end:?}, {}", host.errors());
        host.assert_heals();
        was_stopped(&log)
    });
}

#[test]
fn a_server_may_be_killed_or_stopped_at_each_system_call() {
    walk_interrupted_server(Driver::Blocking);
}

#[test]
fn a_server_on_tokio_may_be_killed_or_stopped_at_each_system_call() {
    walk_interrupted_server(Driver::Tokio);
}
