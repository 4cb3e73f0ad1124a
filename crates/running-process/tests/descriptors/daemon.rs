//! The daemon of the tests, on each driver.

use super::{contents, descriptor, eventually};
use running_process::broker::backend_lifecycle::probe::probe_endpoint;
use running_process::broker::backend_sdk::{
    HandlerError, InlineRequest, Payload, SendEventError, ServeError, ServerConfig, ServerStats, ServerStop,
};
use running_process::{Endpoint, Server};
use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// The payload protocol of a handler that does what the payload says, see [`answer`].
pub(crate) const SERVED: u32 = 0xF00D;
/// The same handler, inline.
pub(crate) const INLINE: u32 = 0xF00E;

/// A request as the handler sees it.
pub(crate) struct Request<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) accepted: usize,
    pub(crate) send_event: &'a mut dyn FnMut(Payload) -> Result<(), SendEventError>,
}

/// Does what the payload says: `echo` sends the descriptors back, `read` answers with the contents of the files, `append` adds a byte to
/// each file and answers with their number, as `close` does, `accepted` with the number that the client takes, `new N` with N new files, `event` sends the descriptors with an event,
/// `file PATH` answers with the file at the path, `file-event PATH...` sends each as an event, `file-event-on PATH...` does so and sends others until
/// the request is cancelled, and `io` answers with the number of bytes that
/// this thread has read.
pub(crate) fn answer(request: Request<'_>) -> Result<Payload, HandlerError> {
    let Request { payload, descriptors, accepted, send_event } = request;
    let text = str::from_utf8(payload)?;
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match word {
        "echo" => Payload::from(rest.to_owned()).with_descriptors(descriptors),
        "read" => contents(&descriptors).concat().into(),
        "append" => {
            descriptors.iter().try_for_each(|each| File::from(each.try_clone()?).write_all(b"x"))?;
            descriptors.len().to_string().into()
        }
        "close" => descriptors.len().to_string().into(),
        "accepted" => accepted.to_string().into(),
        "new" => {
            let count: usize = rest.parse()?;
            Payload::default()
                .with_descriptors((0..count).map(|number| descriptor(number.to_string().as_bytes())))
        }
        "event" => {
            send_event(Payload::from(rest.to_owned()).with_descriptors(descriptors))?;
            send_event("plain".into())?;
            Payload::from("done")
        }
        "file-event" | "file-event-on" => {
            for path in rest.split(' ') {
                send_event(Payload::from_file(File::open(path)?)?)?;
            }
            if word == "file-event-on" {
                loop {
                    send_event("plain".into())?;
                }
            }
            Payload::from("done")
        }
        "io" => super::files::bytes_read("thread-self").to_string().into(),
        "file" => Payload::from_file(File::open(rest)?)?,
        "writable" => Payload::from_file(File::options().read(true).write(true).open(rest)?)?,
        _ => return Err(format!("{text:?} is not known").into()),
    })
}

pub(crate) fn inline(request: &InlineRequest<'_>) -> Result<Payload, HandlerError> {
    let descriptors = request.descriptors().iter().map(|each| each.try_clone().unwrap()).collect();
    let (payload, accepted) = (request.payload(), request.accepted_descriptors());
    answer(Request { payload, descriptors, accepted, send_event: &mut |_| unreachable!("no events inline") })
}

/// Returns the path of the identity file of the server at `endpoint`.
pub(crate) fn identity_file(endpoint: &Endpoint) -> PathBuf {
    Path::new(&endpoint.path).with_extension("json")
}

/// A server of each driver.
pub(crate) trait Driver: Sized {
    /// Runs a server of the handlers until `stop` is given, on this thread.
    fn run(
        endpoint: Endpoint,
        config: ServerConfig,
        report: impl Fn(&ServeError) + Send + Sync + 'static,
        ready: impl FnOnce(ServerStop, ServerStats),
    );
}

impl Driver for Server {
    fn run(
        endpoint: Endpoint,
        config: ServerConfig,
        report: impl Fn(&ServeError) + Send + Sync + 'static,
        ready: impl FnOnce(ServerStop, ServerStats),
    ) {
        let identity_file = identity_file(&endpoint);
        let server = Server::bind(endpoint).unwrap().identity_file(identity_file).config(config);
        let server = server.observe(report).serve_inline(INLINE, inline);
        let server = server.serve(SERVED, |mut request| {
            let (descriptors, accepted) = (request.take_descriptors(), request.accepted_descriptors());
            let payload = request.payload();
            answer(Request {
                payload,
                descriptors,
                accepted,
                send_event: &mut |event| request.send_event_payload(event),
            })
        });
        ready(server.stop_handle(), server.stats());
        server.run().unwrap();
    }
}

#[cfg(feature = "tokio")]
pub(crate) use on_tokio::{OnOneThread, OnThreads};

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::{Driver, INLINE, Request, SERVED, answer, identity_file, inline};
    use running_process::Endpoint;
    use running_process::broker::backend_sdk::{
        AsyncServer, ServeError, ServerConfig, ServerStats, ServerStop,
    };
    use tokio::runtime::{Builder, Handle};

    pub(crate) struct OnOneThread;
    pub(crate) struct OnThreads;

    impl Driver for OnOneThread {
        fn run(
            endpoint: Endpoint,
            config: ServerConfig,
            report: impl Fn(&ServeError) + Send + Sync + 'static,
            ready: impl FnOnce(ServerStop, ServerStats),
        ) {
            run(&mut Builder::new_current_thread(), endpoint, config, report, ready);
        }
    }

    impl Driver for OnThreads {
        fn run(
            endpoint: Endpoint,
            config: ServerConfig,
            report: impl Fn(&ServeError) + Send + Sync + 'static,
            ready: impl FnOnce(ServerStop, ServerStats),
        ) {
            run(Builder::new_multi_thread().worker_threads(2), endpoint, config, report, ready);
        }
    }

    fn run(
        builder: &mut Builder,
        endpoint: Endpoint,
        config: ServerConfig,
        report: impl Fn(&ServeError) + Send + Sync + 'static,
        ready: impl FnOnce(ServerStop, ServerStats),
    ) {
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async {
            let identity_file = identity_file(&endpoint);
            let server = AsyncServer::bind(endpoint).unwrap().identity_file(identity_file).config(config);
            let server =
                server.observe(report).serve_inline(INLINE, inline).serve(SERVED, |mut request| async move {
                    if ![&b"event"[..], b"file-event"].iter().any(|word| request.payload().starts_with(word))
                    {
                        let (descriptors, accepted) =
                            (request.take_descriptors(), request.accepted_descriptors());
                        let send_event = &mut |_| unreachable!("there are none");
                        return answer(Request {
                            payload: request.payload(),
                            descriptors,
                            accepted,
                            send_event,
                        });
                    }
                    let blocking = tokio::task::spawn_blocking(move || {
                        let (descriptors, accepted) =
                            (request.take_descriptors(), request.accepted_descriptors());
                        let send_event =
                            &mut |event| Handle::current().block_on(request.send_event_payload(event));
                        answer(Request { payload: request.payload(), descriptors, accepted, send_event })
                    });
                    blocking.await?
                });
            ready(server.stop_handle(), server.stats());
            server.run().await.unwrap();
        });
    }
}

/// A server on a thread, which ends with this.
pub(crate) struct Daemon {
    pub(crate) endpoint: Endpoint,
    pub(crate) directory: tempfile::TempDir,
    errors: Receiver<String>,
    pub(crate) stop: ServerStop,
    pub(crate) stats: ServerStats,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn start<D: Driver>() -> Self {
        Self::with_config::<D>(ServerConfig::default())
    }

    pub(crate) fn with_config<D: Driver>(config: ServerConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::unix_socket("test", directory.path().join("s").to_str().unwrap()).unwrap();
        let ((report, errors), (ready, stops)) = (mpsc::channel(), mpsc::channel());
        let at = endpoint.clone();
        let thread = thread::spawn(move || {
            let report = move |error: &ServeError| drop(report.send(chain(error)));
            D::run(at, config, report, |stop, stats| ready.send((stop, stats)).unwrap());
        });
        let (stop, stats) = stops.recv_timeout(super::PATIENCE).unwrap();
        // It is identified, and has no connection and no file of that any more.
        drop(probe_endpoint(&endpoint, Instant::now() + super::PATIENCE).unwrap());
        let daemon = Self { endpoint, directory, errors, stop, thread: Some(thread), stats };
        daemon.wait_for_connections(0);
        daemon
    }

    /// Waits until so many connections are open.
    pub(crate) fn wait_for_connections(&self, count: u64) {
        eventually(|| (self.stats.snapshot().connections_open == count).then_some(()));
    }

    /// Returns the next error that the observer is told.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.errors.recv_timeout(super::PATIENCE).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// Returns the error and its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}
