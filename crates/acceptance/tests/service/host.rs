//! A daemon at an endpoint of its own, which a test interferes with while it starts, serves or ends.

use crate::harness::{Bench, PROBE, Running, await_that, cache, has_ended};
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use running_process_acceptance::session::{FILE_CONTENT, Session, SessionError};
use running_process_acceptance::{Driver, TEST_TIMEOUT, soon, watched};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The open descriptors of a process: how many of each kind.
pub(crate) type Descriptors = BTreeMap<String, usize>;

/// A place for daemons that come one after the other.
pub(crate) struct Host {
    pub(crate) bench: Bench,
    driver: Driver,
}

/// A daemon of the host.
pub(crate) struct Serving {
    pub(crate) running: Running,
    pub(crate) pid: u32,
}

/// The end of a daemon.
#[derive(Debug)]
pub(crate) enum End {
    Ended,
    /// It printed a typed error.
    Failed(Value),
    Killed,
}

impl Host {
    pub(crate) fn new(driver: Driver) -> Self {
        let host = Self { bench: Bench::new(), driver };
        fs::write(host.bench.path("answer"), FILE_CONTENT).unwrap();
        host
    }

    pub(crate) fn identity_file(&self) -> PathBuf {
        self.bench.path("identity.json")
    }

    /// Returns the words for a daemon of this host.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            ["endpoint", &self.bench.marker, self.driver.name()].map(Into::into).to_vec();
        words.extend(["socket", "identity.json", "answer"].map(|name| self.bench.path(name).into()));
        words
    }

    /// Begins the start of a daemon by the words `starter`, if there are any, which execute the program that follows them.
    pub(crate) fn begin(&self, starter: &[String]) -> Serving {
        let mut words = starter.iter().map(OsString::from).chain([PROBE.into()]).chain(self.words());
        let mut command = Command::new(words.next().unwrap());
        let errors = File::options().create(true).append(true).open(self.bench.path("errors")).unwrap();
        command.args(words).env("XDG_CACHE_HOME", cache()).stdin(Stdio::null()).stderr(errors);
        let running = Running::start(&mut command);
        let pid = running.child.id();
        Serving { running, pid }
    }

    /// Waits until the daemon has written its identity file, and returns its end if it does not get there.
    pub(crate) fn await_ready(&self, serving: &mut Serving) -> Option<End> {
        let is_there = || {
            let daemon = try_read_daemon_identity_file(&self.identity_file()).unwrap();
            daemon.is_some_and(|daemon| daemon.pid == serving.pid)
        };
        await_that("identity file or end", || is_there() || has_ended(serving.pid));
        has_ended(serving.pid).then(|| self.end_of(serving))
    }

    /// Starts a daemon that serves.
    pub(crate) fn start(&self) -> Serving {
        let mut serving = self.begin(&[]);
        let end = self.await_ready(&mut serving);
        assert!(end.is_none(), "{end:?}, {}", self.errors());
        serving
    }

    /// Starts a daemon that serves a session, and returns the descriptors that are open without clients.
    pub(crate) fn start_used(&self) -> (Serving, Descriptors) {
        let serving = self.start();
        let sockets = || self.descriptors(&serving)["socket"];
        let idle = sockets();
        self.assert_serves();
        await_that("end of the connections", || sockets() == idle);
        let usual = self.descriptors(&serving);
        (serving, usual)
    }

    /// Runs a session with the daemon.
    pub(crate) fn session(&self, timeout: Duration) -> Result<(), SessionError> {
        let session = Session { identity_file: self.identity_file(), timeout };
        watched(move || session.run(Driver::Blocking))
    }

    /// Checks that the daemon serves.
    #[track_caller]
    pub(crate) fn assert_serves(&self) {
        let outcome = self.session(TEST_TIMEOUT / 2);
        assert!(outcome.is_ok(), "{outcome:?}, {}", self.errors());
    }

    /// Asks the daemon to end, and returns how it did.
    pub(crate) fn stop(&self, serving: &mut Serving) -> End {
        self.bench.signal_if_alive(serving.pid, Signal::TERM);
        self.end_of(serving)
    }

    /// Waits for the end of the daemon, and returns it. Fails if there was a panic, or an error without a name.
    #[track_caller]
    pub(crate) fn end_of(&self, serving: &mut Serving) -> End {
        let line = serving.running.line();
        await_that("end", || has_ended(serving.pid));
        let status = serving.running.child.wait().unwrap();
        assert!(!self.errors().contains("panicked"), "{}", self.errors());
        if status.signal() == Some(9) {
            return End::Killed;
        }
        let result: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: {line:?}, {status}, {}", self.errors()));
        match status.code() {
            Some(0) => {
                assert_eq!(result["ended"], true, "{result}");
                End::Ended
            }
            Some(1) => {
                assert!(result["error"].is_string(), "{result}");
                End::Failed(result)
            }
            _ => panic!("{status}, {result}, {}", self.errors()),
        }
    }

    /// Checks that a next daemon serves, ends as it is asked to, and leaves nothing behind.
    #[track_caller]
    pub(crate) fn assert_heals(&self) {
        let mut next = self.start();
        self.assert_serves();
        self.assert_ends(&mut next);
    }

    /// Checks that the daemon ends as it is asked to, and leaves nothing behind.
    #[track_caller]
    pub(crate) fn assert_ends(&self, serving: &mut Serving) {
        let end = self.stop(serving);
        assert!(matches!(end, End::Ended), "{end:?}, {}", self.errors());
        for name in ["socket", "identity.json"] {
            assert!(!self.bench.path(name).exists(), "{name} is left");
        }
    }

    /// Returns the descriptors that the daemon has open. A socket is one of many alike, and so is a file of one name in all hosts.
    pub(crate) fn descriptors(&self, serving: &Serving) -> Descriptors {
        let mut kinds = Descriptors::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", serving.pid)).unwrap() {
            let Ok(target) = fs::read_link(entry.unwrap().path()) else { continue };
            let kind = match target.strip_prefix(self.bench.directory.path()) {
                Ok(name) => format!("./{}", name.display()),
                Err(_) => target.to_str().unwrap().split(":[").next().unwrap().to_owned(),
            };
            *kinds.entry(kind).or_default() += 1;
        }
        kinds
    }

    /// Waits until the daemon has no more descriptors than `usual`.
    #[track_caller]
    pub(crate) fn assert_no_more_than(&self, usual: &Descriptors, serving: &Serving) {
        let deadline = soon();
        loop {
            let now = self.descriptors(serving);
            if now.iter().all(|(kind, count)| usual.get(kind).is_some_and(|usual| count <= usual)) {
                return;
            }
            assert!(Instant::now() < deadline, "{now:?} are open, usual are {usual:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns what daemons told of their errors.
    pub(crate) fn errors(&self) -> String {
        fs::read_to_string(self.bench.path("errors")).unwrap_or_default()
    }
}

/// Waits for the end of a client, and returns what it told: `Ok` after a session, the error, or `None` if it was killed.
pub(crate) fn outcome(bench: &Bench, client: &mut Running) -> Option<Result<(), Value>> {
    let line = client.line();
    let status = client.child.wait().unwrap();
    let errors = fs::read_to_string(bench.path("errors")).unwrap();
    assert!(!errors.contains("panicked"), "{errors}");
    if status.signal() == Some(9) {
        return None;
    }
    let told: Value =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}, {status}, {errors}"));
    Some(if told["ended"] == true {
        assert!(status.success(), "{status}");
        Ok(())
    } else {
        assert!(told["error"].is_string(), "{told}");
        Err(told)
    })
}
