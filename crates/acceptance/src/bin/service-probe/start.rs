//! The start of a daemon, and what all daemons here do alike.

use running_process::{Service, broker::service::ForServiceError};
use running_process_acceptance::TEST_TIMEOUT;
use std::env;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::time::{Duration, Instant};

/// The arguments of the daemon.
pub(crate) struct Start {
    pub(crate) marker: String,
    /// A file with a line for everything that a daemon of this marker did.
    pub(crate) events: PathBuf,
    /// The behaviour of this start.
    pub(crate) act: String,
}

impl Start {
    /// Records the start, and selects its part of the plan: the first start gets the first one, and the last one is repeated.
    pub(crate) fn begin(arguments: &[OsString]) -> Self {
        let [marker, events, plan] = arguments else { panic!("usage: daemon MARKER EVENTS PLAN") };
        let [marker, plan] = [marker, plan].map(|word| word.to_str().unwrap());
        let events = PathBuf::from(events);
        record(&events, "start");
        let starts = std::fs::read_to_string(&events).unwrap().matches("start").count();
        let acts: Vec<&str> = plan.split(',').collect();
        let act = acts[(starts - 1).min(acts.len() - 1)].to_owned();
        Self { marker: marker.to_owned(), events, act }
    }
}

/// Appends a line to the events, with the process id.
pub(crate) fn record(events: &Path, event: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(events).unwrap();
    file.write_all(format!("{event} {}\n", std::process::id()).as_bytes()).unwrap();
}

/// Returns the service that this process was started for.
pub(crate) fn service() -> Service {
    let name = env::var("RUNNING_PROCESS_SERVICE").unwrap();
    let mut service = Service::new(name).unwrap().keyed_as_started();
    if let Ok(version) = env::var("VERSION") {
        service = service.version(version);
    }
    if let Ok(idle) = env::var("IDLE_MS") {
        service = service.idle_timeout(Duration::from_millis(idle.parse().unwrap()));
    }
    service
}

/// Ends the process as a daemon does that is not needed.
pub(crate) fn refused(start: &Start, error: &ForServiceError) -> ! {
    record(&start.events, "refused");
    eprintln!("{error}: {error:?}");
    exit(75);
}

/// Answers with the process id. A request `hold FILE` is answered once that file exists, and `began FILE` makes it first.
pub(crate) fn answer(request: &[u8]) -> String {
    if let Some(files) = request.strip_prefix(b"hold ") {
        let (began, until) = std::str::from_utf8(files).unwrap().split_once(' ').unwrap();
        File::create(began).unwrap();
        let deadline = Instant::now() + TEST_TIMEOUT;
        while !Path::new(until).exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    std::process::id().to_string()
}
