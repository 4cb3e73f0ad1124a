//! The state that all clients of the process share, and the records of their requests.

use super::failure::Failure;
use crate::journal::{Journal, now};
use crate::random::Random;
use crate::work::{Mode, Work};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::read_daemon_identity_file;
use running_process::broker::protocol::Endpoint;
use running_process::broker::service::Deadline;
use running_process::{DaemonProcess, Service};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// The endpoint of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Threads,
    Tokio,
    Service,
}

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::Threads, Self::Tokio, Self::Service];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Tokio => "tokio",
            Self::Service => "service",
        }
    }
}

/// The end that a request is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Answer,
    /// Its deadline may pass before its answer.
    Deadline(Duration),
    /// Its caller cancels it, after this time if it waits for it.
    Cancel(Duration),
}

/// A request that was recorded.
pub(super) struct Asked {
    pub(super) work: Work,
    pub(super) plan: Plan,
    pub(super) began: u64,
}

/// All clients of the process.
pub(super) struct Clients {
    pub(super) journal: Journal,
    pub(super) directory: PathBuf,
    pub(super) service: Service,
    pub(super) socket: String,
    pub(super) seed: u64,
    /// Requests a second of one endpoint.
    pub(super) rate: f64,
    pub(super) patience: Duration,
    pub(super) numbers: AtomicU64,
    pub(super) done: (Mutex<bool>, Condvar),
    pub(super) done_on_tokio: watch::Sender<bool>,
}

impl Clients {
    /// Calls `burst` again and again, which returns how many requests it has made, at a part of the endpoint's rate.
    pub(super) fn paced(&self, lane: &str, part: f64, mut burst: impl FnMut(&mut Random) -> usize) {
        let mut random = Random::new(self.seed, lane);
        let (done, changed) = &self.done;
        let mut is_done = done.lock().unwrap();
        while !*is_done {
            drop(is_done);
            let made = burst(&mut random);
            let pause = random.about(self.pause(made, part));
            is_done = changed.wait_timeout_while(done.lock().unwrap(), pause, |done| !*done).unwrap().0;
        }
    }

    pub(super) fn pause(&self, made: usize, part: f64) -> Duration {
        #[allow(clippy::cast_precision_loss, reason = "a burst is small")]
        Duration::from_secs_f64(made as f64 / (self.rate * part))
    }

    /// Returns the number of requests of the next burst: half of the time a few, and sometimes as many as are taken.
    pub(super) fn burst(random: &mut Random) -> usize {
        let most = [2, 4, 16, 65][random.index(4)];
        if most == 65 { 64 } else { 1 + random.index(most - 1) }
    }

    /// Records a request of a burst of `burst`: large ones are alone.
    pub(super) fn ask(&self, lane: &str, random: &mut Random, burst: usize, largest: usize) -> Asked {
        let mut size = || {
            let size = match random.of(0..200) {
                0 if burst < 4 => 1_000_000,
                1..8 if burst < 8 => 100_000,
                8..30 if burst < 32 => 20_000,
                30..60 => 4096,
                60..120 => 300,
                120..199 => 40,
                _ => 0,
            };
            size.min(largest)
        };
        let (request, answer) = (size(), size());
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let time = Duration::from_micros(if random.once_in(6) { random.of(0..20_000) } else { 0 });
        let asked = Asked {
            work: Work { number, time, request, answer, mode: Mode::Bytes },
            plan: Plan::Answer,
            began: now(),
        };
        self.journal.write(format_args!("ask {number} {lane}"));
        asked
    }

    /// Lets some requests end by a deadline or a cancel, and some have a pipe or a file.
    pub(super) fn vary(asked: &mut Asked, random: &mut Random) {
        match random.of(0..20) {
            0 => asked.plan = Plan::Deadline(Duration::from_millis(random.of(1..15))),
            1 => asked.plan = Plan::Cancel(Duration::from_micros(random.of(0..10_000))),
            2 => asked.work.mode = Mode::Pipe,
            3 => asked.work.mode = Mode::File,
            _ => {}
        }
    }

    /// Records what became of a request at the daemon `pid`; 0 if that is not known.
    pub(super) fn ended(&self, lane: &str, asked: &Asked, pid: u32, outcome: &Result<Vec<u8>, Failure>) {
        let (number, journal) = (asked.work.number, &self.journal);
        match outcome {
            Ok(answer) => match asked.work.check(answer) {
                Ok(by) => journal.write(format_args!("ok {number} {by} {lane}")),
                Err(fault) => journal.write(format_args!("wrong {number} {lane} {fault}")),
            },
            Err(failure) if failure.is_late && matches!(asked.plan, Plan::Deadline(_)) => {
                journal.write(format_args!("late {number}"));
            }
            Err(failure) => self.failed(lane, number, asked.began, pid, failure),
        }
    }

    pub(super) fn cancelled(&self, asked: &Asked) {
        self.journal.write(format_args!("cancelled {}", asked.work.number));
    }

    /// Records that the request `number`, or a connection if it is 0, has failed at the daemon `pid`, or at an unknown one if that is 0.
    pub(super) fn failed(&self, lane: &str, number: u64, began: u64, pid: u32, failure: &Failure) {
        let ended = now();
        self.journal.write(format_args!("fail {number} {lane} {began} {ended} {pid} {}", failure.text));
    }

    pub(super) fn socket(&self, place: Place) -> String {
        match place {
            Place::Service => self.socket.clone(),
            _ => self.directory.join(place.name()).to_str().unwrap().to_owned(),
        }
    }

    pub(super) fn endpoint(&self, place: Place) -> Endpoint {
        Endpoint::unix_socket("soak", self.socket(place)).unwrap()
    }

    pub(super) fn identity_file(&self, place: Place) -> PathBuf {
        self.directory.join(place.name()).with_extension("json")
    }

    pub(super) fn identity(&self, place: Place) -> Result<DaemonProcess, Failure> {
        read_daemon_identity_file(&self.identity_file(place)).ok_or_else(|| Failure::of("no identity file"))
    }

    /// Returns a proven daemon.
    pub(super) fn handle(&self, place: Place) -> Result<BackendHandle, Failure> {
        if place == Place::Service {
            return Ok(self.service.ensure(Deadline::after(self.patience))?);
        }
        let identity = self.identity(place)?;
        Ok(BackendHandle::probe_with_service("soak", "1", &identity.ipc_endpoint, &identity)?)
    }
}
