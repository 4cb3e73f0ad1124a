//! One service of a walk, and the checks that it heals.

use super::trace::STRACE;
use crate::harness::{Bench, PROBE, Running, await_that, cache, served_by};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fmt::Display;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The deadline of each call.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// A service in a directory of its own.
pub(super) struct Bed {
    pub(super) bench: Bench,
    /// The plan of its daemons.
    pub(super) plan: String,
    /// Variables of the daemons of clients that are interfered with.
    pub(super) variables: Vec<(&'static str, &'static str)>,
    /// A word of all clients.
    pub(super) word: Option<&'static str>,
}

impl Bed {
    pub(super) fn new() -> Self {
        Self { bench: Bench::new(), plan: "serve".to_owned(), variables: Vec::new(), word: None }
    }

    /// Returns a service whose next daemon need not read its program: the number of calls for that varies.
    pub(super) fn with_remembered_digest() -> Self {
        let bed = Self::new();
        bed.assert_heals();
        bed
    }

    /// Returns a client with a deadline, under strace with the words `tracer` if there are any. It starts daemons with
    /// `daemon_tracer`.
    pub(super) fn client(&self, verb: &str, tracer: &[String], daemon_tracer: &[String]) -> Command {
        let mut command = traced(tracer);
        command.args([verb, "name=svc", &format!("timeout={}", TIMEOUT.as_millis())]);
        command.arg(format!("root={}", self.bench.root().display()));
        command.arg(format!("set=XDG_CACHE_HOME={}", cache().display()));
        command.args(self.word);
        // Clients with a variable for the daemon pass all of theirs.
        command.args((!self.variables.is_empty()).then_some("inherit=1")).arg("--");
        if !daemon_tracer.is_empty() {
            // The tracer is a grandchild of the daemon's, so the daemon is the process that was started.
            command.args([STRACE, "-D"]).args(daemon_tracer);
        }
        command.arg(PROBE).args(self.bench.daemon_arguments(&self.plan));
        command.env("XDG_CACHE_HOME", cache()).stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Runs a plain client, and returns its result.
    pub(super) fn call(&self, verb: &str) -> Value {
        Running::start(&mut self.client(verb, &[], &[])).result()
    }

    /// Runs a client that may be killed, and returns its result; `None` if it has none.
    pub(super) fn call_under(
        &self,
        verb: &str,
        tracer: &[String],
        daemon_tracer: &[String],
    ) -> Option<Value> {
        let mut command = self.client(verb, tracer, daemon_tracer);
        finish(Running::start(command.envs(self.variables.iter().copied())))
    }

    /// Starts the daemon, and returns its process id.
    pub(super) fn start(&self) -> u32 {
        served_by(&self.call("ensure"))
    }

    /// Kills the daemons, and returns whether there was one.
    pub(super) fn kill_daemons(&self) -> bool {
        let daemons = self.bench.daemons();
        for daemon in &daemons {
            // It may have ended.
            let _ = kill_process(Pid::from_raw(daemon.cast_signed()).unwrap(), Signal::KILL);
        }
        !daemons.is_empty()
    }

    /// Checks that the next clients get one daemon and can stop it, and that no process is left. Returns the daemon.
    pub(super) fn assert_heals(&self) -> u32 {
        let daemon = self.start();
        await_that("single daemon", || self.bench.daemons() == [daemon]);
        let two = [(); 2].map(|()| Running::start(&mut self.client("ensure", &[], &[])));
        assert_eq!(two.map(|client| served_by(&client.result())), [daemon; 2]);
        let stopped = self.call("stop");
        assert_eq!(
            (stopped["stopped"].as_str(), stopped["pid"].as_u64()),
            (Some("Ended"), Some(daemon.into())),
            "{stopped}"
        );
        await_that("end of all processes", || self.bench.processes().is_empty());
        self.bench.assert_never_two();
        daemon
    }
}

/// Waits for a client that may be killed, and returns its result; `None` if it has none.
pub(super) fn finish(mut client: Running) -> Option<Value> {
    let line = client.line();
    let mut printed = String::new();
    let mut errors = client.child.stderr.take().unwrap();
    errors.read_to_string(&mut printed).unwrap();
    let cannot_print = printed.contains("failed printing to stdout");
    assert!(cannot_print || !printed.contains("panicked"), "{printed}");
    client.child.wait().unwrap();
    serde_json::from_str(&line).ok()
}

/// Returns the command of the probe, under strace with the words `tracer` if there are any.
fn traced(tracer: &[String]) -> Command {
    if tracer.is_empty() {
        return Command::new(PROBE);
    }
    let mut command = Command::new(STRACE);
    command.args(tracer).arg(PROBE);
    command
}

/// Does `work` for each of the `cases`, on as many threads as there are processors, and fails with the cases that fail.
/// `work` returns whether it came to what it wanted to interfere with: threads and times vary, so not always.
pub(super) fn walk<T: Sync + Display>(title: &str, cases: &[T], work: impl Fn(&T) -> bool + Sync) {
    assert!(!cases.is_empty(), "{title}: no cases");
    // To repeat one that failed.
    let wanted = std::env::var("SERVICE_WALK_CASE").unwrap_or_default();
    let cases: Vec<_> = cases.iter().filter(|case| case.to_string().contains(&wanted)).collect();
    let next = AtomicUsize::new(0);
    let [failed, reached] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let began = Instant::now();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match catch_unwind(AssertUnwindSafe(|| work(case))) {
                        Ok(true) => drop(reached.fetch_add(1, Ordering::Relaxed)),
                        Ok(false) => println!("{title}, not reached: {case}"),
                        Err(_) => {
                            println!("{title}, failed: {case}");
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let reached = reached.into_inner();
    println!("{title}: {reached} of {} cases reached in {:?}", cases.len(), began.elapsed());
    assert_eq!(failed.into_inner(), 0, "{title}");
    assert!(reached * 2 >= cases.len(), "{title}: {reached} of {} cases reached", cases.len());
}
