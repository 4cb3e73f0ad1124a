//! The client process: clients of every kind, each of which records what became of its requests.

mod asynchronous;
mod blocking;
mod failure;
mod raw;

use crate::daemon::service;
use crate::journal::{Journal, now};
use crate::random::Random;
use crate::work::{Mode, Work};
use failure::Failure;
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::read_daemon_identity_file;
use running_process::broker::protocol::Endpoint;
use running_process::broker::service::Deadline;
use running_process::{DaemonProcess, Service};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;
use tokio::sync::watch;

/// The endpoint of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Threads,
    Tokio,
    Service,
}

impl Place {
    const ALL: [Self; 3] = [Self::Threads, Self::Tokio, Self::Service];

    fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Tokio => "tokio",
            Self::Service => "service",
        }
    }
}

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Answer,
    /// Its deadline may pass before its answer.
    Deadline(Duration),
    /// Its caller cancels it, after this time if it waits for it.
    Cancel(Duration),
}

/// A request that was recorded.
struct Asked {
    work: Work,
    plan: Plan,
    began: u64,
}

/// All clients of the process.
struct Clients {
    journal: Journal,
    directory: PathBuf,
    service: Service,
    socket: String,
    seed: u64,
    /// Requests a second of one endpoint.
    rate: f64,
    patience: Duration,
    numbers: AtomicU64,
    done: (Mutex<bool>, Condvar),
    done_on_tokio: watch::Sender<bool>,
}

/// Runs `DIRECTORY SEED RATE PATIENCE MANNER` until the standard input ends.
pub(crate) fn run(arguments: &[String]) {
    let [directory, seed, rate, patience, manner] = arguments else { panic!("usage: client DIRECTORY ...") };
    let directory = PathBuf::from(directory);
    let service = service(&directory, manner);
    let patience = Duration::from_secs(patience.parse().unwrap());
    let daemon = service.ensure(Deadline::after(patience)).unwrap();
    let clients = Arc::new(Clients {
        journal: Journal::open(&directory.join("journal")),
        socket: daemon.daemon_process.ipc_endpoint.path.clone(),
        service,
        directory,
        seed: seed.parse().unwrap(),
        rate: rate.parse::<f64>().unwrap() / 3.0,
        patience,
        numbers: AtomicU64::new(1),
        done: Default::default(),
        done_on_tokio: watch::Sender::new(false),
    });
    drop(daemon);
    let mut threads = Vec::new();
    for place in Place::ALL {
        let lanes = [blocking::keep, blocking::fresh, blocking::probe, raw::framed, raw::legacy];
        threads.extend(lanes.map(|lane| {
            let clients = Arc::clone(&clients);
            thread::spawn(move || lane(&clients, place))
        }));
    }
    let on_tokio = Arc::clone(&clients);
    threads.push(thread::spawn(move || asynchronous::run(&on_tokio)));
    // Waits for the end of the input, and takes an error for it.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    *clients.done.0.lock().unwrap() = true;
    clients.done.1.notify_all();
    clients.done_on_tokio.send_replace(true);
    for thread in threads {
        thread.join().unwrap();
    }
    clients.journal.write(format_args!("finished 0"));
}

impl Clients {
    /// Calls `burst` again and again, which returns how many requests it has made, at a part of the endpoint's rate.
    fn paced(&self, lane: &str, part: f64, mut burst: impl FnMut(&mut Random) -> usize) {
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

    fn pause(&self, made: usize, part: f64) -> Duration {
        #[allow(clippy::cast_precision_loss, reason = "a burst is small")]
        Duration::from_secs_f64(made as f64 / (self.rate * part))
    }

    /// Returns the number of requests of the next burst: half of the time a few, and sometimes as many as are taken.
    fn burst(random: &mut Random) -> usize {
        let most = [2, 4, 16, 65][random.index(4)];
        if most == 65 { 64 } else { 1 + random.index(most - 1) }
    }

    /// Records a request of a burst of `burst`: large ones are alone.
    fn ask(&self, lane: &str, random: &mut Random, burst: usize, largest: usize) -> Asked {
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
    fn vary(asked: &mut Asked, random: &mut Random) {
        match random.of(0..20) {
            0 => asked.plan = Plan::Deadline(Duration::from_millis(random.of(1..15))),
            1 => asked.plan = Plan::Cancel(Duration::from_micros(random.of(0..10_000))),
            2 => asked.work.mode = Mode::Pipe,
            3 => asked.work.mode = Mode::File,
            _ => {}
        }
    }

    /// Records what became of a request at the daemon `pid`; 0 if that is not known.
    fn ended(&self, lane: &str, asked: &Asked, pid: u32, outcome: &Result<Vec<u8>, Failure>) {
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

    fn cancelled(&self, asked: &Asked) {
        self.journal.write(format_args!("cancelled {}", asked.work.number));
    }

    /// Records that the request `number`, or a connection if it is 0, has failed at the daemon `pid`, or at an unknown one if that is 0.
    fn failed(&self, lane: &str, number: u64, began: u64, pid: u32, failure: &Failure) {
        let ended = now();
        self.journal.write(format_args!("fail {number} {lane} {began} {ended} {pid} {}", failure.text));
    }

    fn socket(&self, place: Place) -> String {
        match place {
            Place::Service => self.socket.clone(),
            _ => self.directory.join(place.name()).to_str().unwrap().to_owned(),
        }
    }

    fn endpoint(&self, place: Place) -> Endpoint {
        Endpoint::unix_socket("soak", self.socket(place)).unwrap()
    }

    fn identity_file(&self, place: Place) -> PathBuf {
        self.directory.join(place.name()).with_extension("json")
    }

    fn identity(&self, place: Place) -> Result<DaemonProcess, Failure> {
        read_daemon_identity_file(&self.identity_file(place)).ok_or_else(|| Failure::of("no identity file"))
    }

    /// Returns a proven daemon.
    fn handle(&self, place: Place) -> Result<BackendHandle, Failure> {
        if place == Place::Service {
            return Ok(self.service.ensure(Deadline::after(self.patience))?);
        }
        let identity = self.identity(place)?;
        Ok(BackendHandle::probe_with_service("soak", "1", &identity.ipc_endpoint, &identity)?)
    }
}
