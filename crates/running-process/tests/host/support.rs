//! A watchdog, an endpoint that nobody else uses, and a server that runs.

#[cfg(any())]
use crate::daemon::Threads;
use crate::daemon::{Daemon, Driver, Legacy};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_lifecycle::identity::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::{ProbeError, ProbedEndpoint, probe_endpoint};
use running_process::broker::backend_sdk::{
    BindError, ConnectError, FrameClient, LegacyClassification, LocalStream, ServeError, ServerConfig,
    ServerError, ServerStats, ServerStop, read_daemon_identity_file,
};
use running_process::broker::protocol::{
    ENVELOPE_VERSION, Endpoint, Frame, Refusal, encode_framed, try_decode_framed,
};
use std::error::Error;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::path::PathBuf;
#[cfg(unix)]
use std::process::{Command, Output};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

running_process::register_payload_protocol! {
    /// Answers with its payload in upper case.
    pub(crate) const SHOUT: u32 = 0xF00D;
    /// Answers with its payload reversed.
    pub(crate) const REVERSE: u32 = 0xF00E;
}

/// Longer than anything here takes, shorter than anyone's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `work` on a thread and fails if it hangs.
pub(crate) fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    join(thread::spawn(work))
}

/// The result of a thread, which fails this one if it panics or hangs.
pub(crate) fn join<T: Send + 'static>(thread: JoinHandle<T>) -> T {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || done.send(thread.join()));
    match finished.recv_timeout(PATIENCE) {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(RecvTimeoutError::Timeout) => panic!("still running after {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => unreachable!("the result is sent whatever it is"),
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Calls `attempt` until it gives something, and fails if it never does.
pub(crate) fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = soon();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "did not happen within {PATIENCE:?}");
        thread::yield_now();
    }
}

/// Runs one test of this binary, which is marked as ignored, in a process of its own.
#[cfg(unix)]
pub(crate) fn in_child_process(test: &str, prepare: impl FnOnce(&mut Command)) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--test-threads=1"]);
    prepare(&mut command);
    let Output { status, stdout, stderr } = watched(move || command.output().unwrap());
    let stdout = String::from_utf8_lossy(&stdout);
    let ran = status.success() && stdout.contains("1 passed");
    assert!(ran, "{status}\n{stdout}\n{}", String::from_utf8_lossy(&stderr));
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

/// A name that nobody else uses, and a place for files, both cleaned up afterwards.
pub(crate) struct Place {
    pub(crate) endpoint: Endpoint,
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        let endpoint = Endpoint::unix_socket("test", directory.path().join("s").to_str().unwrap());
        #[cfg(windows)]
        let endpoint =
            Endpoint::windows_pipe("test", directory.path().file_name().unwrap().to_str().unwrap());
        Self { endpoint: endpoint.unwrap(), directory }
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.directory.path().join("record.json")
    }
}

/// A server on a thread, which is stopped when this goes away.
pub(crate) struct RunningOn<D> {
    pub(crate) place: Place,
    pub(crate) stop: ServerStop,
    pub(crate) stats: ServerStats,
    troubles: Receiver<String>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
    driver: PhantomData<D>,
}

#[cfg(any())]
pub(crate) type Running = RunningOn<Threads>;
#[cfg(not(any()))]
pub(crate) type Running = RunningOn<crate::daemon::asynchronous::MultiThread>;

impl<D: Driver> RunningOn<D> {
    pub(crate) const PREEMPTS: bool = D::PREEMPTS;
    pub(crate) const ACCEPTS_ON_A_THREAD: bool = D::ACCEPTS_ON_A_THREAD;

    /// A server that shouts and reverses, with what `configure` adds. It runs when this returns.
    pub(crate) fn start(configure: impl FnOnce(Daemon) -> Daemon) -> Self {
        let place = Place::new();
        let (report, troubles) = mpsc::channel();
        let server = D::bind(place.endpoint.clone())
            .unwrap()
            .identity_file(place.record())
            .serve_quickly(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
            .serve_quickly(REVERSE, |request| Ok(request.payload().iter().rev().copied().collect()))
            .observe(move |trouble: &ServeError| {
                // A test that has seen enough is gone.
                let _ = report.send(chain(trouble));
            });
        let server = configure(server);
        let (stop, stats) = (server.stop_handle(), server.stats());
        let thread = Some(thread::spawn(move || server.run()));
        let running = Self { place, stop, stats, troubles, thread, driver: PhantomData };
        // With a short deadline, a busy machine may need more than one attempt.
        let ProbedEndpoint { identity, .. } =
            eventually(|| match probe_endpoint(&running.place.endpoint, soon()) {
                Err(ProbeError::Closed | ProbeError::Stream(_)) => None,
                probed => Some(probed.unwrap()),
            });
        assert_eq!(identity.pid, std::process::id());
        running
    }

    /// A server that does not run yet, at an endpoint that may be taken.
    pub(crate) fn bind(endpoint: Endpoint) -> Result<Daemon, BindError> {
        D::bind(endpoint)
    }

    /// [`start`](Self::start) with changes to the default configuration.
    pub(crate) fn with_config(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default();
        change(&mut config);
        Self::start(|server| server.config(config))
    }

    /// A connection. Where the backlog is short, as on Windows, it may take more than one attempt.
    pub(crate) fn connect(&self) -> LocalStream {
        eventually(|| match LocalStream::connect(&self.place.endpoint.path) {
            Err(ConnectError::BacklogFull { .. }) => None,
            connected => Some(connected.unwrap()),
        })
    }

    pub(crate) fn client(&self) -> FrameClient {
        let mut client = FrameClient::from_stream(self.connect());
        client.set_timeout(Some(PATIENCE));
        client
    }

    pub(crate) fn daemon(&self) -> DaemonProcess {
        read_daemon_identity_file(&self.place.record()).unwrap()
    }

    pub(crate) fn handle(&self) -> BackendHandle {
        BackendHandle::probe_with_service("test", "1", &self.place.endpoint, &self.daemon()).unwrap()
    }

    /// What the server's observer is told next.
    #[track_caller]
    pub(crate) fn trouble(&self) -> String {
        self.troubles.recv_timeout(PATIENCE).expect("the observer is told")
    }

    /// Whether the server's observer was told of anything more.
    pub(crate) fn has_more_trouble(&self) -> bool {
        self.troubles.try_recv().is_ok()
    }

    /// The server still answers. With a short deadline, a busy machine may need more than one attempt.
    pub(crate) fn assert_serves(&self) {
        let response = eventually(|| self.client().request(SHOUT, b"still".to_vec()).ok());
        assert_eq!(response.payload, b"STILL");
    }

    /// What `run` returned.
    pub(crate) fn join(&mut self) -> Result<(), ServerError> {
        join(self.thread.take().unwrap())
    }

    pub(crate) fn stop_and_join(&mut self) -> Result<(), ServerError> {
        self.stop.stop();
        self.join()
    }
}

impl<D> Drop for RunningOn<D> {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// Everything until the end of the stream, or until the peer is gone.
#[track_caller]
pub(crate) fn read_to_end(stream: &LocalStream) -> Vec<u8> {
    let deadline = soon();
    let mut all = Vec::new();
    let mut bytes = [0; 16 * 1024];
    loop {
        match stream.read_before(&mut bytes, Some(deadline)) {
            Ok(0) => return all,
            Ok(length) => all.extend_from_slice(&bytes[..length]),
            // The peer closed without having read everything.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
    }
}

/// Exactly `count` frames, which is all that has come.
#[track_caller]
pub(crate) fn read_frames(stream: &LocalStream, count: usize) -> Vec<Frame> {
    let deadline = soon();
    let (mut received, mut found) = (Vec::new(), Vec::new());
    let mut bytes = [0; 16 * 1024];
    while found.len() < count {
        match stream.read_before(&mut bytes, Some(deadline)).unwrap() {
            0 => panic!("the stream ended after {} of {count} frames", found.len()),
            length => received.extend_from_slice(&bytes[..length]),
        }
        let mut consumed = 0;
        while let Some(decoded) = try_decode_framed(&received[consumed..]).unwrap() {
            consumed += decoded.consumed;
            found.push(decoded.frame);
        }
        received.drain(..consumed);
    }
    assert_eq!((found.len(), received.len()), (count, 0));
    found
}

/// A framed request.
pub(crate) fn request(payload_protocol: u32, request_id: u64, payload: &[u8]) -> Vec<u8> {
    let frame = Frame::request(payload_protocol, payload.to_vec()).with_request_id(request_id);
    encode_framed(&frame).unwrap()
}

/// A legacy wire: whatever comes goes back.
pub(crate) fn echo(mut connection: Legacy) {
    let mut bytes = [0; 1024];
    while let Ok(length @ 1..) = connection.read(&mut bytes) {
        if connection.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
}

/// Legacy messages start with the framing byte too: eight bytes tell, `01 .. .. .. .. .. .. FF`.
pub(crate) fn needs_eight_bytes(buffer: &[u8]) -> LegacyClassification {
    match *buffer {
        [ENVELOPE_VERSION, _, _, _, _, _, _, 0xff, ..] => LegacyClassification::Legacy,
        [_, _, _, _, _, _, _, _, ..] => LegacyClassification::NotLegacy,
        _ => LegacyClassification::NeedMoreBytes,
    }
}

/// The frames that `bytes` consist of.
#[track_caller]
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let decoded = try_decode_framed(bytes).unwrap().expect("a complete frame");
        bytes = &bytes[decoded.consumed..];
        frames.push(decoded.frame);
    }
    frames
}

#[track_caller]
pub(crate) fn write(stream: &LocalStream, bytes: &[u8]) {
    stream.write_all_before(bytes, Some(soon())).unwrap();
}

/// Reads exactly `length` bytes.
#[track_caller]
pub(crate) fn read(stream: &LocalStream, length: usize) -> Vec<u8> {
    let mut all = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match stream.read_before(&mut all[filled..], Some(soon())).unwrap() {
            0 => panic!("the stream ended after {filled} of {length} bytes"),
            received => filled += received,
        }
    }
    all
}

/// What comes out of `receiver` in time.
#[track_caller]
pub(crate) fn next<T>(receiver: &Receiver<T>) -> T {
    match receiver.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("nothing came within {PATIENCE:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("nobody is left to send"),
    }
}

/// What the refusal `frame` says.
#[track_caller]
pub(crate) fn refusal(frame: &Frame) -> String {
    Refusal::from_frame(&frame.borrowed()).expect("a refusal").to_string()
}
