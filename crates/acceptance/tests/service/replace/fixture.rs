//! A service whose daemons record each request, and their replacement.

use crate::harness::{Bench, PROBE, await_that, result, served_by};
use running_process::Service;
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::TEST_TIMEOUT;
use running_process_acceptance::wire::Work;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Returns the number in the environment variable `name`, or `default`.
pub(super) fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// The word of a restart that stops the daemon before it starts the next one.
pub(super) const STOP_FIRST: &str = "stop_first=1";

/// A service whose daemons serve by `plan`.
pub(super) struct Replaceable {
    pub(super) bench: Bench,
    pub(super) plan: String,
    next: AtomicU64,
}

impl Deref for Replaceable {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl Replaceable {
    /// Returns a service whose starts go as `words` say, the last of them repeated.
    pub(super) fn new(words: &[&str]) -> Self {
        let plan = words.iter().map(|words| format!("numbered:{words}")).collect::<Vec<_>>().join(",");
        Self { bench: Bench::new(), plan, next: AtomicU64::new(0) }
    }

    /// Returns the service as a client in this process has it.
    pub(super) fn service(&self) -> Service {
        Service::new("svc")
            .unwrap()
            .below(self.root())
            .environment_variable("XDG_CACHE_HOME", self.path("cache"))
            .command(PROBE, self.daemon_arguments(&self.plan))
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint::unix_socket("svc", self.socket()).unwrap()
    }

    pub(super) fn socket(&self) -> String {
        self.place().join("socket").to_str().unwrap().to_owned()
    }

    /// Starts the daemon, and returns its process id.
    #[track_caller]
    pub(super) fn start(&self) -> u32 {
        self.served(&[], &self.plan)
    }

    /// Restarts the service, and returns the result of that call.
    #[track_caller]
    pub(super) fn restart(&self, words: &[&str]) -> Value {
        result(&mut self.client("restart", words, &self.plan))
    }

    /// Replaces the daemon `old`, and returns the next one once no other process is left.
    #[track_caller]
    pub(super) fn replaced(&self, old: u32, words: &[&str]) -> u32 {
        let restarted = self.restart(words);
        let new = replaced_by(&restarted, old);
        let by = if words.contains(&STOP_FIRST) { "StopThenStart" } else { "Handover" };
        assert_eq!(restarted["by"], by, "{restarted:#}");
        self.await_alone(new);
        new
    }

    /// Waits until `daemon` is the only one.
    #[track_caller]
    pub(super) fn await_alone(&self, daemon: u32) {
        await_that("single daemon", || self.daemons() == [daemon]);
    }

    /// Returns a request with a number of its own.
    pub(super) fn work(&self, time: Duration) -> Work {
        Work { number: self.next.fetch_add(1, Ordering::Relaxed), time }
    }

    /// Returns the number of requests so far.
    pub(super) fn asked(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Returns the processes that have run each request.
    pub(super) fn ledger(&self) -> HashMap<u64, Vec<u32>> {
        let mut ledger = HashMap::<_, Vec<_>>::new();
        for line in fs::read_to_string(self.path("ledger")).unwrap().lines() {
            let (number, pid) = line.split_once(' ').unwrap();
            ledger.entry(number.parse().unwrap()).or_default().push(pid.parse().unwrap());
        }
        ledger
    }
}

/// Returns the daemon that has replaced `old`, which served the caller of `restart`.
#[track_caller]
pub(super) fn replaced_by(restarted: &Value, old: u32) -> u32 {
    let new = served_by(restarted);
    assert_eq!(restarted["former_pid"].as_u64(), Some(old.into()), "{restarted:#}");
    assert_eq!(restarted["is_new"], true, "{restarted:#}");
    assert_ne!(new, old);
    new
}

/// Returns the deadline of a request.
pub(super) fn deadline() -> Instant {
    Instant::now() + TEST_TIMEOUT
}
