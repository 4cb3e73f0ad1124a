//! The failure of each system call of a start and a stop.

use super::bed::{Bed, TIMEOUT, walk};
use super::daemons::OfDaemon;
use super::deaths::calls_of_client;
use super::trace::{Call, can_interfere, words};
use rustix::io::Errno;
use serde_json::Value;
use std::path::PathBuf;
use std::{fmt, fs, io};

/// The errors of calls.
const FAULTS: [(&str, &[Errno]); 23] = [
    ("openat", &[Errno::MFILE, Errno::ACCESS, Errno::NOSPC]),
    ("mkdir", &[Errno::ACCESS, Errno::NOSPC]),
    ("rename", &[Errno::ACCESS, Errno::NOSPC]),
    ("unlink", &[Errno::ACCESS]),
    ("unlinkat", &[Errno::ACCESS]),
    ("write", &[Errno::INTR, Errno::NOSPC]),
    ("read", &[Errno::INTR, Errno::IO]),
    ("flock", &[Errno::INTR, Errno::NOLCK]),
    ("socket", &[Errno::MFILE, Errno::ACCESS]),
    ("bind", &[Errno::ACCESS, Errno::NOSPC]),
    ("fchmod", &[Errno::ACCESS]),
    ("epoll_create1", &[Errno::MFILE]),
    ("eventfd2", &[Errno::MFILE]),
    ("pipe2", &[Errno::MFILE]),
    ("renameat", &[Errno::ACCESS, Errno::NOSPC]),
    ("inotify_add_watch", &[Errno::NOSPC]),
    ("connect", &[Errno::INTR, Errno::ACCESS]),
    ("sendto", &[Errno::INTR, Errno::NOBUFS]),
    ("recvmsg", &[Errno::INTR]),
    ("ppoll", &[Errno::INTR, Errno::NOMEM]),
    ("clone", &[Errno::AGAIN]),
    ("clone3", &[Errno::AGAIN]),
    ("pidfd_open", &[Errno::MFILE]),
];

/// One failure.
struct Fault {
    call: Call,
    error: Errno,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at {}", self.message(), self.call)
    }
}

impl Fault {
    /// Returns the failures of `calls`, except those of printing the result.
    fn of(calls: impl IntoIterator<Item = Call>) -> Vec<Self> {
        let failures = |call: Call| {
            let errors =
                FAULTS.iter().find(|(name, _)| *name == call.name).map_or(&[][..], |(_, errors)| errors);
            errors.iter().map(move |&error| Self { call: call.clone(), error })
        };
        calls.into_iter().filter(|call| !call.line.starts_with("write(1,")).flat_map(failures).collect()
    }

    /// Returns the words of the system for the error.
    fn message(&self) -> String {
        let message = io::Error::from(self.error).to_string();
        message.split(" (os").next().unwrap().to_owned()
    }

    /// Returns the words for strace, which records the failure in the returned file.
    fn inject(&self, bed: &Bed) -> (Vec<String>, PathBuf) {
        let log = bed.bench.path("injected");
        (self.call.inject(&format!("error={}", self.error.raw_os_error()), &log), log)
    }
}

/// Checks that the call came in time to its result, or to an error whose text or log names the cause.
fn assert_told(fault: &Fault, result: &Value) {
    let limit = u64::try_from(TIMEOUT.as_millis()).unwrap() + 1000;
    assert!(result["ms"].as_u64().unwrap() < limit, "{result}");
    if result["error"].is_null() {
        assert!(result["answer"].is_string() || result["stopped"].is_string(), "{result}");
        return;
    }
    let texts = [&result["text"], &result["failure"]["log"]].map(|text| text.as_str().unwrap_or_default());
    let message = fault.message();
    assert!(texts.iter().any(|text| text.contains(&message)), "no {message:?} in {result:#}");
}

/// Walks by the calls of a client, after `before`.
fn walk_client(title: &str, verb: &str, before: impl Fn(&Bed) + Sync) {
    let faults = Fault::of(calls_of_client(verb, &before));
    walk(title, &faults, |fault| {
        let bed = Bed::new();
        before(&bed);
        let (tracer, log) = fault.inject(&bed);
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
    let faults = Fault::of(calls);
    walk("failing daemon", &faults, |fault| {
        let bed = Bed::new();
        let (tracer, log) = fault.inject(&bed);
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
