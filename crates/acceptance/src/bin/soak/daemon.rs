//! The daemons: one that ends with its standard input, or one of the service.

use crate::journal::Journal;
use crate::random;
use crate::work::{self, Mode, QUICK, WORK, Work};
use running_process::Service;
use running_process::broker::backend_sdk::{
    AsyncLegacyConnection, AsyncServer, HandlerError, Payload, Server, ServerConfig, ServerStop,
};
use running_process::broker::protocol::Endpoint;
use running_process::broker::service::ForServiceError;
use running_process_acceptance::wire;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A daemon of the service ends when it has had no connection for this time.
const IDLE: Duration = Duration::from_mins(1);

/// Returns the service in `directory`, as its clients and its daemons have it. `manner` is their drain timeout in seconds, and their
/// mistake: `5 wrong=100`, or `5 ` for none.
pub(crate) fn service(directory: &Path, manner: &str) -> Service {
    let directory_text = directory.to_str().unwrap();
    Service::new("soak")
        .unwrap()
        .below(directory.join("root"))
        .environment_variable("XDG_CACHE_HOME", directory.join("cache"))
        .idle_timeout(IDLE)
        .command(std::env::current_exe().unwrap(), ["daemon", "service", directory_text, manner])
}

/// A daemon of the run.
struct Daemon {
    journal: Journal,
    kind: String,
    directory: PathBuf,
    file: Payload,
    manner: String,
    drain: Duration,
    fault: Fault,
    /// The file that one daemon of the service at a time holds a lock of.
    witness: Mutex<Option<File>>,
}

/// A mistake that is made once in so many times.
struct Fault {
    name: String,
    every: u64,
    count: AtomicU64,
}

impl Fault {
    fn is_due(&self, name: &str) -> bool {
        self.name == name && (self.count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.every)
    }
}

/// Runs `threads|tokio|service DIRECTORY MANNER`.
pub(crate) fn run(arguments: &[String]) {
    let [kind, directory, manner] = arguments else { panic!("usage: daemon KIND DIRECTORY MANNER") };
    let (drain, fault) = manner.split_once(' ').unwrap();
    let directory = PathBuf::from(directory);
    let (name, every) = fault.split_once('=').unwrap_or((fault, "1"));
    let daemon = Arc::new(Daemon {
        journal: Journal::open(&directory.join("journal")),
        file: Payload::from_file(File::open(directory.join("file")).unwrap()).unwrap(),
        fault: Fault { name: name.to_owned(), every: every.parse().unwrap(), count: AtomicU64::new(0) },
        kind: kind.clone(),
        manner: manner.clone(),
        drain: Duration::from_secs(drain.parse().unwrap()),
        directory,
        witness: Mutex::default(),
    });
    daemon.told("start");
    match kind.as_str() {
        "threads" => daemon.on_threads(kind, false),
        "tokio" => daemon.on_tokio(kind, false),
        // The servers take turns, but not in step with anything else.
        _ if random::next(&mut u64::from(std::process::id())).is_multiple_of(2) => {
            daemon.on_threads(kind, true);
        }
        _ => daemon.on_tokio(kind, true),
    }
    daemon.told("end");
}

/// Sets the calls that both servers have.
macro_rules! configured {
    ($daemon:ident, $server:expr, $kind:expr, $driver:literal, $of_service:expr) => {{
        let mut server = $server.config(ServerConfig::default().drain_timeout($daemon.drain));
        if !$of_service {
            server = server.identity_file($daemon.directory.join(format!("{}.json", $kind)));
        }
        let (ready, inline) = (Arc::clone($daemon), Arc::clone($daemon));
        let (release, resume) = (Arc::clone($daemon), Arc::clone($daemon));
        let server = server
            .serve_inline(QUICK, move |request| inline.served(request.payload(), Vec::new()))
            .on_release(move || {
                release.release();
                Ok::<_, std::io::Error>(())
            })
            .on_resume(move || resume.hold())
            .on_ready(move |_| ready.told(concat!("ready-on-", $driver)));
        if !$of_service {
            stop_at_end_of_input(server.stop_handle());
        }
        server
    }};
}

impl Daemon {
    fn told(&self, what: &str) {
        self.journal.write(format_args!("{what} {} {}", std::process::id(), self.kind));
    }

    /// Takes the witness at once, or records that another daemon holds it.
    fn hold(&self) {
        let path = self.directory.join("witness");
        let file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        match file.try_lock() {
            Ok(()) => *self.witness.lock().unwrap_or_else(PoisonError::into_inner) = Some(file),
            Err(_) => self.told("second"),
        }
    }

    fn release(&self) {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn endpoint(&self, kind: &str) -> Endpoint {
        Endpoint::unix_socket("soak", self.directory.join(kind).to_str().unwrap()).unwrap()
    }

    fn on_threads(self: &Arc<Self>, kind: &str, of_service: bool) {
        let server = if of_service {
            let server = Server::for_service(&service(&self.directory, &self.manner))
                .unwrap_or_else(|error| refused(&error));
            self.hold();
            server
        } else {
            Server::bind(self.endpoint(kind)).unwrap()
        };
        let (requests, legacy) = (Arc::clone(self), Arc::clone(self));
        let server = server
            .serve(WORK, move |mut request| {
                let descriptors = request.take_descriptors();
                let work = requests.begin(request.payload())?;
                std::thread::sleep(work.time);
                if requests.fault.is_due("drop") {
                    // Returns once the client does not wait any more.
                    let _ = request.cancellation().wait(None);
                }
                requests.end(work, descriptors)
            })
            // A hostile peer broke the rules, or the client has gone.
            .legacy(wire::detect, move |connection| drop(legacy.legacy(connection)));
        configured!(self, server, kind, "threads", of_service).run().unwrap();
    }

    fn on_tokio(self: &Arc<Self>, kind: &str, of_service: bool) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = if of_service {
                let server = AsyncServer::for_service(&service(&self.directory, &self.manner))
                    .unwrap_or_else(|error| refused(&error));
                self.hold();
                server
            } else {
                AsyncServer::bind(self.endpoint(kind)).unwrap()
            };
            let (requests, legacy) = (Arc::clone(self), Arc::clone(self));
            let server = server
                .serve(WORK, move |mut request| {
                    let daemon = Arc::clone(&requests);
                    async move {
                        let descriptors = request.take_descriptors();
                        let work = daemon.begin(request.payload())?;
                        if !work.time.is_zero() {
                            tokio::time::sleep(work.time).await;
                        }
                        if daemon.fault.is_due("drop") {
                            std::future::pending::<()>().await;
                        }
                        daemon.end(work, descriptors)
                    }
                })
                .legacy(wire::detect, move |connection| {
                    let daemon = Arc::clone(&legacy);
                    // A hostile peer broke the rules, or the client has gone.
                    async move { drop(daemon.legacy_on_tokio(connection).await) }
                });
            configured!(self, server, kind, "tokio", of_service).run().await.unwrap();
        });
    }

    /// Records that a request is run.
    fn begin(&self, payload: &[u8]) -> Result<Work, HandlerError> {
        let work = Work::parse(payload)?;
        if work.number != 0 {
            let times = 1 + u8::from(self.fault.is_due("rerun"));
            for _ in 0..times {
                self.journal.write(format_args!("run {} {}", work.number, std::process::id()));
            }
        }
        Ok(work)
    }

    fn end(&self, work: Work, descriptors: Vec<OwnedFd>) -> Result<Payload, HandlerError> {
        if self.fault.is_due("refuse") {
            return Err("a mistake".into());
        }
        assert!(!self.fault.is_due("panic"), "a mistake");
        if self.fault.is_due("memory") {
            std::mem::forget(vec![1_u8; 64 * 1024]);
        }
        match (work.mode, <[_; 1]>::try_from(descriptors)) {
            (Mode::Bytes, _) => {}
            (Mode::File, _) => return Ok(self.file.clone()),
            (Mode::Pipe, Ok([pipe])) => {
                let mut bytes = Vec::new();
                File::from(pipe).read_to_end(&mut bytes)?;
                if bytes != work.in_pipe() {
                    return Err("the pipe has other bytes".into());
                }
            }
            (Mode::Pipe, Err(descriptors)) => return Err(format!("{} descriptors", descriptors.len()).into()),
        }
        let mut answer = work.answer();
        if self.fault.is_due("wrong") {
            *answer.last_mut().unwrap() ^= 1;
        }
        Ok(answer.into())
    }

    fn served(&self, payload: &[u8], descriptors: Vec<OwnedFd>) -> Result<Payload, HandlerError> {
        let work = self.begin(payload)?;
        self.end(work, descriptors)
    }

    /// Returns the answer to a message of the legacy wire; `None` if it is none of a client of this run.
    fn legacy_answer(&self, body: &[u8]) -> Option<Vec<u8>> {
        let work = self.begin(body).ok()?;
        let answer = wire::message(&work.answer());
        Some(if self.fault.is_due("twice") { answer.repeat(2) } else { answer })
    }

    fn leak(&self) {
        if self.fault.is_due("descriptor") {
            std::mem::forget(File::open("/dev/null").unwrap());
        }
    }

    fn legacy(&self, mut connection: impl Read + Write) -> std::io::Result<()> {
        self.leak();
        while let Some(body) = wire::read_message(&mut connection)? {
            let Some(answer) = self.legacy_answer(&body) else { break };
            connection.write_all(&answer)?;
        }
        Ok(())
    }

    async fn legacy_on_tokio(&self, mut connection: AsyncLegacyConnection) -> std::io::Result<()> {
        self.leak();
        loop {
            let mut head = [0; wire::HEADER_BYTES];
            // The end of the stream, or a cut head.
            if connection.read_exact(&mut head).await.is_err() || head[4..] != wire::VERSION {
                return Ok(());
            }
            let length = u32::from_le_bytes(head[..4].try_into().unwrap()).into();
            let mut body = Vec::new();
            (&mut connection).take(length).read_to_end(&mut body).await?;
            let Some(answer) = self.legacy_answer(&body) else { return Ok(()) };
            connection.write_all(&answer).await?;
        }
    }
}

/// Ends a daemon that is not needed, as a successor whose predecessor was killed.
fn refused(error: &ForServiceError) -> ! {
    eprintln!("{error}: {error:?}");
    std::process::exit(75)
}

fn stop_at_end_of_input(stop: ServerStop) {
    std::thread::spawn(move || {
        // Waits for the end of the input, and takes an error for it.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
}

/// Writes the files that daemons have in common.
pub(crate) fn prepare(directory: &Path) -> std::io::Result<()> {
    std::fs::write(directory.join("file"), work::file())
}
