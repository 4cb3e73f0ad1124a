//! A server on each driver, whose process is identified when the test says so.

use crate::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use crate::broker::backend_lifecycle::probe::PROBE_NONCE_BYTES;
use crate::broker::backend_sdk::LegacyClassification;
use crate::broker::backend_sdk::server::Server;
use crate::broker::backend_sdk::server::config::ServerConfig;
use crate::broker::backend_sdk::server::error::ServerError;
use crate::broker::backend_sdk::server::handler::HandlerError;
use crate::broker::backend_sdk::server::hooks::{Identify, ReadyHook};
use crate::broker::backend_sdk::server::stop::ServerStop;
use crate::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use crate::broker::protocol::{Endpoint, FRAME_HEADER_BYTES, Frame, FrameRef, try_decode_framed};
use crate::transport::{ConnectError, LocalStream};
use std::io::{ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Answers with its payload in upper case.
pub(super) const SHOUT: u32 = 0xF00D;
/// Answers once the test says so.
pub(super) const WORK: u32 = 0xF00E;

/// Holds its connection for as long as the test says.
pub(super) const HOLD: u32 = 0xF00F;

/// Longer than anything here takes, shorter than anyone's patience.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What a server is told.
pub(super) struct Plan {
    pub(super) endpoint: Endpoint,
    pub(super) record: PathBuf,
    pub(super) config: ServerConfig,
    pub(super) identify: Identify,
    pub(super) ready: ReadyHook,
    pub(super) hold: Box<dyn Fn() + Send + Sync>,
    work: Arc<dyn Fn() -> Result<Vec<u8>, HandlerError> + Send + Sync>,
}

/// What runs a server once it is bound.
pub(super) trait Driver {
    fn start(plan: Plan) -> (ServerStop, JoinHandle<Result<(), ServerError>>);
}

/// Tells `$server` what both servers are told in the same way.
macro_rules! configured {
    ($server:expr, $plan:ident) => {
        $server
            .unwrap()
            .identity_file($plan.record)
            .config($plan.config)
            .identify_with($plan.identify)
            .on_ready($plan.ready)
            .serve_inline(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
            .serve_inline(HOLD, move |_| {
                ($plan.hold)();
                Ok("")
            })
    };
}

/// No legacy message starts with the framing byte.
fn detect(_: &[u8]) -> LegacyClassification {
    LegacyClassification::NotLegacy
}

pub(super) struct Threads;

impl Driver for Threads {
    fn start(plan: Plan) -> (ServerStop, JoinHandle<Result<(), ServerError>>) {
        let work = plan.work;
        let server = configured!(Server::bind(plan.endpoint), plan).serve(WORK, move |_| work()).legacy(
            detect,
            |mut connection| {
                let mut bytes = [0; 64];
                while let Ok(length @ 1..) = connection.read(&mut bytes) {
                    connection.write_all(&bytes[..length]).unwrap();
                }
            },
        );
        (server.stop_handle(), thread::spawn(|| server.run()))
    }
}

#[cfg(feature = "tokio")]
pub(super) mod tasks {
    use crate::broker::backend_sdk::{AsyncServer, ServerError, ServerStop};
    use std::sync::Arc;
    use std::thread::{self, JoinHandle};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::{Builder, Runtime};
    use {super::Driver, super::HOLD, super::Plan, super::SHOUT, super::WORK, super::detect};

    pub(crate) struct MultiThread;
    pub(crate) struct CurrentThread;

    impl Driver for MultiThread {
        fn start(plan: Plan) -> (ServerStop, JoinHandle<Result<(), ServerError>>) {
            run(server(plan), Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
        }
    }

    impl Driver for CurrentThread {
        fn start(plan: Plan) -> (ServerStop, JoinHandle<Result<(), ServerError>>) {
            run(server(plan), Builder::new_current_thread().enable_all().build().unwrap())
        }
    }

    pub(crate) fn server(plan: Plan) -> AsyncServer {
        let work = plan.work;
        configured!(AsyncServer::bind(plan.endpoint), plan)
            .serve(WORK, move |_| {
                let work = Arc::clone(&work);
                async move { tokio::task::spawn_blocking(move || work()).await? }
            })
            .legacy(detect, |mut connection| async move {
                let mut bytes = [0; 64];
                while let Ok(length @ 1..) = connection.read(&mut bytes).await {
                    connection.write_all(&bytes[..length]).await.unwrap();
                }
            })
    }

    fn run(server: AsyncServer, runtime: Runtime) -> (ServerStop, JoinHandle<Result<(), ServerError>>) {
        (server.stop_handle(), thread::spawn(move || runtime.block_on(server.run())))
    }
}

/// How an identification ends.
pub(super) enum Verdict {
    Known,
    Unknown,
}

/// The test's end of a server.
pub(super) struct Test {
    pub(super) record: PathBuf,
    /// Ends the identification.
    pub(super) verdict: Sender<Verdict>,
    /// Lets a handler of [`WORK`] go on.
    pub(super) work: Sender<()>,
    /// Who the server is, once it is ready.
    pub(super) ready: Receiver<DaemonProcess>,
    pub(super) endpoint: Endpoint,
    _place: tempfile::TempDir,
}

/// A server to be started.
pub(super) fn plan() -> (Plan, Test) {
    let place = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    let endpoint = Endpoint::unix_socket("test", place.path().join("s").to_str().unwrap()).unwrap();
    #[cfg(windows)]
    let endpoint =
        Endpoint::windows_pipe("test", place.path().file_name().unwrap().to_str().unwrap()).unwrap();
    let record = place.path().join("record.json");
    let (verdict, verdicts) = mpsc::channel();
    let (work, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let (report, ready) = mpsc::channel();
    let plan = Plan {
        endpoint: endpoint.clone(),
        record: record.clone(),
        config: ServerConfig::default(),
        identify: Box::new(move |endpoint, go_on| identify(&verdicts, endpoint, go_on)),
        ready: Box::new(move |daemon| report.send(daemon.clone()).unwrap()),
        hold: Box::new(|| {}),
        work: Arc::new(move || {
            gate.lock().unwrap().recv_timeout(PATIENCE)?;
            Ok(b"done".to_vec())
        }),
    };
    (plan, Test { record, verdict, work, ready, endpoint, _place: place })
}

/// Waits for the verdict, or for nobody to wait any more.
fn identify(
    verdicts: &Receiver<Verdict>,
    endpoint: Endpoint,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<DaemonProcess, IdentityError> {
    loop {
        match verdicts.recv_timeout(Duration::from_millis(1)) {
            Ok(Verdict::Known) => return DaemonProcess::current_process(endpoint, None),
            Ok(Verdict::Unknown) => return Err(IdentityError::ClockBeforeEpoch),
            Err(RecvTimeoutError::Timeout) if go_on() => {}
            Err(_) => return Err(IdentityError::Executable(ErrorKind::Interrupted.into())),
        }
    }
}

impl Test {
    /// A connection. Where the backlog is short, as on Windows, it may take more than one attempt.
    pub(super) fn connect(&self) -> LocalStream {
        let deadline = soon();
        loop {
            match LocalStream::connect(&self.endpoint.path) {
                Err(ConnectError::BacklogFull { .. }) if Instant::now() < deadline => thread::yield_now(),
                connected => return connected.unwrap(),
            }
        }
    }

    /// Serving goes on.
    #[track_caller]
    pub(super) fn assert_serves(&self) {
        let connection = self.connect();
        write(&connection, &request(SHOUT, 1, b"still"));
        assert_eq!(read_frames(&connection, 1)[0].payload, b"STILL");
    }
}

/// A server that runs on a thread and does not know who it is yet.
pub(super) struct ServedBy<D> {
    pub(super) test: Test,
    pub(super) stop: ServerStop,
    thread: JoinHandle<Result<(), ServerError>>,
    driver: PhantomData<D>,
}

impl<D: Driver> ServedBy<D> {
    pub(super) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(super) fn start_with(change: impl FnOnce(&mut Plan)) -> Self {
        let (mut plan, test) = plan();
        change(&mut plan);
        let (stop, thread) = D::start(plan);
        Self { test, stop, thread, driver: PhantomData }
    }

    /// What running it came to, once it ends.
    pub(super) fn join(self) -> (thread::Result<Result<(), ServerError>>, Test) {
        let Self { thread, test, .. } = self;
        let (done, finished) = mpsc::channel();
        thread::spawn(move || done.send(thread.join()));
        (finished.recv_timeout(PATIENCE).expect("the server ends"), test)
    }
}

impl<D> Deref for ServedBy<D> {
    type Target = Test;

    fn deref(&self) -> &Test {
        &self.test
    }
}

pub(super) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// What comes out of `receiver` in time.
#[track_caller]
pub(super) fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("it comes in time")
}

pub(super) fn request(payload_protocol: u32, request_id: u64, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    FrameRef::request(payload_protocol, request_id, payload).encode_framed(&mut wire).unwrap();
    wire
}

pub(super) fn probe(request_id: u64) -> Vec<u8> {
    request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, request_id, &[7; PROBE_NONCE_BYTES])
}

/// Who the answer to a probe says it is from.
#[track_caller]
pub(super) fn identity_in(answer: &Frame) -> DaemonProcess {
    assert_eq!(answer.payload_protocol, BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL);
    DaemonProcess::decode(&answer.payload[PROBE_NONCE_BYTES..]).unwrap()
}

#[track_caller]
pub(super) fn write(stream: &LocalStream, bytes: &[u8]) {
    stream.write_all_deadline(bytes, Some(soon())).unwrap();
}

/// Exactly `length` bytes.
#[track_caller]
pub(super) fn read(stream: &LocalStream, length: usize) -> Vec<u8> {
    let mut all = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match stream.read_deadline(&mut all[filled..], Some(soon())).unwrap() {
            0 => panic!("the stream ended after {filled} of {length} bytes"),
            received => filled += received,
        }
    }
    all
}

/// The next `count` frames, and not a byte more.
#[track_caller]
pub(super) fn read_frames(stream: &LocalStream, count: usize) -> Vec<Frame> {
    let frame = || {
        let mut wire = read(stream, FRAME_HEADER_BYTES);
        let body = u32::from_le_bytes(wire[1..].try_into().unwrap());
        wire.extend(read(stream, body.try_into().unwrap()));
        try_decode_framed(&wire).unwrap().unwrap().frame
    };
    (0..count).map(|_| frame()).collect()
}

/// Everything until the end.
#[track_caller]
pub(super) fn read_to_end(stream: &LocalStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut bytes = [0; 1024];
    loop {
        match stream.read_deadline(&mut bytes, Some(soon())) {
            Ok(0) => return all,
            Ok(length) => all.extend_from_slice(&bytes[..length]),
            // The server closed without having read everything.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
    }
}
