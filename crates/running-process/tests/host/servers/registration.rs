//! A server that serves before it knows its own identity, and the files and probes that wait for it.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{
    Gate, GateKeeper, SHOUT, echo, eventually, next, read, read_frame, read_frames, read_to_end, request,
    write,
};
use running_process::broker::backend_lifecycle::identity::{DaemonProcess, IdentityError};
use running_process::broker::backend_lifecycle::probe::PROBE_NONCE_BYTES;
use running_process::broker::backend_sdk::{
    ConnectError, LegacyClassification, LocalStream, ServerConfig, ServerError, read_daemon_identity_file,
};
use running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::{Endpoint, Frame};
use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// Protocol whose concurrent handler waits at the gate.
const WORK: u32 = 0xF00F;
/// Protocol whose inline handler waits at the gate.
const HOLD: u32 = 0xF010;
/// Protocol whose inline handler answers with the payload.
const ECHO: u32 = 0xF011;

/// Returns the identity of this process, or an error. The function returns `false` once the server has ended.
type Identify =
    Box<dyn FnOnce(Endpoint, &(dyn Fn() -> bool + Sync)) -> Result<DaemonProcess, IdentityError> + Send>;

/// The end of an identification.
enum Verdict {
    Known,
    Unknown,
}

/// A server that is not identified yet.
struct Unidentified {
    server: TestServer,
    /// Ends the identification.
    verdict: Sender<Verdict>,
    /// Receives the identity when the server is ready.
    ready: Receiver<DaemonProcess>,
    /// Lets handlers of [`WORK`] and [`HOLD`] go on.
    keeper: GateKeeper,
}

/// Changes to a server before it starts.
#[derive(Default)]
struct Changes {
    config: ServerConfig,
    /// Replaces the identification that waits for a verdict.
    identify: Option<Identify>,
    /// Replaces the path of the identity file.
    identity_file: Option<PathBuf>,
    /// The version of the daemon.
    version: String,
}

impl Unidentified {
    fn start() -> Self {
        Self::with(Changes::default())
    }

    fn with(changes: Changes) -> Self {
        let Changes { config, identify, identity_file, version } = changes;
        let (verdict, verdicts) = mpsc::channel();
        let (report, ready) = mpsc::channel();
        let (gate, keeper) = Gate::new();
        let identify = identify.unwrap_or_else(|| Box::new(move |endpoint, go_on| wait(&verdicts, endpoint, go_on)));
        let server = TestServer::spawn(|server| {
            let server = match identity_file {
                Some(path) => server.identity_file(path),
                None => server,
            };
            let at_work = gate.clone();
            server
                .config(config)
                .version(version)
                .identify_with(identify)
                .on_ready(move |daemon| report.send(daemon.clone()).unwrap())
                .serve(WORK, move |request| {
                    at_work.enter(request.payload());
                    Ok(b"done".to_vec())
                })
                .serve_inline(HOLD, move |request| {
                    gate.enter(request.payload());
                    Ok(Vec::new())
                })
                .serve_inline(ECHO, |request| Ok(request.payload().to_vec()))
                .legacy(|_| LegacyClassification::NotLegacy, echo)
        });
        Self { server, verdict, ready, keeper }
    }

    fn identity_file(&self) -> PathBuf {
        self.server.temp.identity_file()
    }

    /// Checks that the server is stopped or has failed without an identity file and without a call of its hook.
    #[track_caller]
    fn assert_never_ready(&self) {
        assert!(!self.identity_file().exists());
        assert!(self.ready.try_recv().is_err());
    }
}

impl Deref for Unidentified {
    type Target = TestServer;

    fn deref(&self) -> &TestServer {
        &self.server
    }
}

impl DerefMut for Unidentified {
    fn deref_mut(&mut self) -> &mut TestServer {
        &mut self.server
    }
}

/// Waits for the verdict, or for the end of the server.
fn wait(
    verdicts: &Receiver<Verdict>,
    endpoint: Endpoint,
    go_on: &(dyn Fn() -> bool + Sync),
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

fn probe(request_id: u64) -> Vec<u8> {
    request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, request_id, &[7; PROBE_NONCE_BYTES])
}

/// Returns the identity in the answer to a probe.
#[track_caller]
fn identity_in(answer: &Frame) -> DaemonProcess {
    assert_eq!(answer.payload_protocol, BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL);
    DaemonProcess::decode(&answer.payload[PROBE_NONCE_BYTES..]).unwrap()
}

/// Checks that no answer has come so far.
#[track_caller]
fn assert_waits(connection: &LocalStream) {
    let shortly = Instant::now() + Duration::from_millis(5);
    let error = connection.read_deadline(&mut [0], Some(shortly)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

fn ids(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.request_id).collect()
}

#[test]
fn requests_and_the_legacy_wire_are_served_before_the_server_is_identified() {
    let server = Unidentified::start();
    server.assert_serves();
    let legacy = server.connect();
    write(&legacy, b"hello");
    assert_eq!(read(&legacy, 5), b"hello");
    server.assert_never_ready();
}

#[test]
fn a_probe_waits_for_the_identity_and_is_answered_after_the_identity_file_is_written() {
    let mut server = Unidentified::start();
    let waits = server.connect();
    write(&waits, &probe(1));
    server.assert_serves();
    assert_waits(&waits);
    server.verdict.send(Verdict::Known).unwrap();
    let answered = identity_in(&read_frames(&waits, 1)[0]);
    assert_eq!(read_daemon_identity_file(&server.identity_file()).as_ref(), Some(&answered));
    assert_eq!(next(&server.ready), answered);
    let later = server.connect();
    write(&later, &probe(2));
    assert_eq!(identity_in(&read_frames(&later, 1)[0]), answered);
    server.stop_and_join().unwrap();
    assert!(!server.identity_file().exists());
}

#[test]
fn requests_behind_a_probe_wait_with_it_and_are_answered_in_order() {
    let server = Unidentified::start();
    let connection = server.connect();
    let echo = |id| request(ECHO, id, b"x");
    write(&connection, &[echo(1), probe(2), echo(3), probe(4), echo(5)].concat());
    assert_eq!(ids(&read_frames(&connection, 1)), [1]);
    server.assert_serves();
    assert_waits(&connection);
    // More than a socket holds.
    let more: Vec<u8> = (6..=20_000).flat_map(echo).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| write(&connection, &more));
        server.verdict.send(Verdict::Known).unwrap();
        assert_eq!(ids(&read_frames(&connection, 19_999)), (2..=20_000).collect::<Vec<_>>());
    });
}

#[test]
fn the_legacy_wire_behind_a_probe_loses_no_byte() {
    let server = Unidentified::start();
    let connection = server.connect();
    write(&connection, &[&probe(1)[..], b"legacy"].concat());
    server.assert_serves();
    server.verdict.send(Verdict::Known).unwrap();
    identity_in(&read_frame(&connection));
    assert_eq!(read(&connection, 6), b"legacy");
    write(&connection, b" and on");
    assert_eq!(read(&connection, 7), b" and on");
}

#[test]
fn a_peer_that_waits_for_the_identity_is_not_too_slow() {
    let mut changes = Changes::default();
    changes.config.connection.first_message_timeout = Duration::from_millis(300);
    changes.config.connection.message_timeout = Duration::from_millis(300);
    let server = Unidentified::with(changes);
    let waits = server.connect();
    write(&waits, &probe(1));
    // As long as the timeouts of three silent peers.
    for _ in 0..3 {
        assert_eq!(read_to_end(&server.connect()), b"");
    }
    assert_waits(&waits);
    server.verdict.send(Verdict::Known).unwrap();
    identity_in(&read_frames(&waits, 1)[0]);
}

#[test]
fn requests_before_a_probe_are_answered_while_it_waits_although_the_peer_sends_nothing_more() {
    let mut changes = Changes::default();
    changes.config.connection.max_in_flight = 1;
    let server = Unidentified::with(changes);
    let connection = server.connect();
    write(&connection, &[request(WORK, 1, b""), request(WORK, 2, b""), probe(3)].concat());
    if cfg!(unix) {
        // A Windows pipe has no half-closed state.
        connection.shutdown_write().unwrap();
    }
    server.assert_serves();
    for id in [1, 2] {
        server.keeper.let_pass();
        assert_eq!(ids(&read_frames(&connection, 1)), [id]);
    }
    server.assert_serves();
    assert_waits(&connection);
    server.verdict.send(Verdict::Known).unwrap();
    identity_in(&read_frames(&connection, 1)[0]);
}

#[test]
fn a_connection_whose_handler_blocks_holds_up_no_probe_and_no_hook() {
    if !TestServer::RUNS_WHILE_INLINE_CODE_BLOCKS {
        return println!("skipped: a handler that blocks holds up the only thread");
    }
    let server = Unidentified::start();
    let waits = server.connect();
    write(&waits, &probe(1));
    let held = server.connect();
    write(&held, &[request(HOLD, 1, b""), probe(2)].concat());
    server.keeper.next();
    server.verdict.send(Verdict::Known).unwrap();
    let answered = identity_in(&read_frames(&waits, 1)[0]);
    assert_eq!(next(&server.ready), answered);
    server.keeper.let_pass();
    assert_eq!(identity_in(&read_frames(&held, 2)[1]), answered);
}

#[test]
fn a_stop_ends_the_identification_and_the_probes_that_wait_for_it() {
    let mut server = Unidentified::start();
    let waits = server.connect();
    write(&waits, &probe(1));
    let at_work = server.connect();
    write(&at_work, &[request(SHOUT, 1, b"x"), request(WORK, 2, b""), probe(3)].concat());
    assert_eq!(ids(&read_frames(&at_work, 1)), [1]);
    server.stop.stop();
    assert_eq!(read_to_end(&waits), b"");
    // Requests that were received are answered, the probe is not.
    server.keeper.let_pass();
    assert_eq!(read_frames(&at_work, 1)[0].payload, b"done");
    assert_eq!(read_to_end(&at_work), b"");
    server.join().unwrap();
    server.assert_never_ready();
}

#[test]
fn a_stop_during_a_long_identification_leaves_no_identity_file() {
    let (report, is_reading) = mpsc::channel();
    let (go_on, gate) = mpsc::channel();
    let identify: Identify = Box::new(move |endpoint, is_wanted| {
        report.send(()).unwrap();
        next(&gate);
        assert!(!is_wanted());
        DaemonProcess::current_process(endpoint, None)
    });
    let mut server = Unidentified::with(Changes { identify: Some(identify), ..Changes::default() });
    next(&is_reading);
    server.stop.stop();
    // The endpoint is gone before the identification has ended.
    let path = &server.temp.endpoint.path;
    eventually(|| matches!(LocalStream::connect(path), Err(ConnectError::NotFound { .. })).then_some(()));
    go_on.send(()).unwrap();
    server.join().unwrap();
    server.assert_never_ready();
}

#[test]
fn a_server_whose_process_cannot_be_identified_ends() {
    let mut server = Unidentified::start();
    let waits = server.connect();
    write(&waits, &probe(1));
    server.assert_serves();
    server.verdict.send(Verdict::Unknown).unwrap();
    assert_eq!(read_to_end(&waits), b"");
    let ended = server.join();
    assert!(matches!(ended, Err(ServerError::Identity(IdentityError::ClockBeforeEpoch))), "{ended:?}");
    server.assert_never_ready();
}

#[test]
fn a_server_whose_identity_file_cannot_be_written_ends() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("removed");
    std::fs::create_dir(&directory).unwrap();
    let nowhere = directory.join("identity.json");
    let mut server =
        Unidentified::with(Changes { identity_file: Some(nowhere.clone()), ..Changes::default() });
    let waits = server.connect();
    write(&waits, &probe(1));
    // A server that serves has checked the path of the identity file.
    server.assert_serves();
    std::fs::remove_dir(&directory).unwrap();
    server.verdict.send(Verdict::Known).unwrap();
    assert_eq!(read_to_end(&waits), b"");
    assert!(matches!(server.join(), Err(ServerError::IdentityFile { path, .. }) if path == nowhere));
    server.assert_never_ready();
}

#[test]
fn a_server_whose_identity_file_can_never_be_written_ends_before_it_is_identified() {
    // On Windows with a drive in front.
    let nowhere = std::path::absolute("/nowhere/at/all.json").unwrap();
    let mut server =
        Unidentified::with(Changes { identity_file: Some(nowhere.clone()), ..Changes::default() });
    assert!(matches!(server.join(), Err(ServerError::IdentityFile { path, .. }) if path == nowhere));
    server.assert_never_ready();
}

#[test]
fn an_idle_timeout_is_announced_in_the_identity() {
    let server = TestServer::start(|server| server.announce_idle_timeout(Duration::from_secs(90)));
    assert_eq!(server.daemon().idle_timeout_secs, Some(90));
    assert_eq!(TestServer::start(|server| server).daemon().idle_timeout_secs, None);
}

#[test]
fn version_and_build_are_told_by_the_identity() {
    let server = TestServer::start(|server| server.version("1.4.2").build("4f2a91c"));
    let daemon = server.daemon();
    assert_eq!((daemon.version(), daemon.build()), (Some("1.4.2"), Some("4f2a91c")));
    assert_eq!(TestServer::start(|server| server.version("")).daemon().version(), None);
}

#[test]
fn a_server_whose_version_cannot_be_told_ends() {
    let mut server = Unidentified::with(Changes { version: "1\n2".to_owned(), ..Changes::default() });
    server.verdict.send(Verdict::Known).unwrap();
    let ended = server.join();
    assert!(
        matches!(&ended, Err(ServerError::Identity(IdentityError::VersionCharacter { field: "version", .. }))),
        "{ended:?}"
    );
    server.assert_never_ready();
}

#[test]
fn an_identification_that_panics_ends_its_server_with_its_panic() {
    let identify: Identify = Box::new(|_, _| panic!("this panic is part of the test"));
    let mut server = Unidentified::with(Changes { identify: Some(identify), ..Changes::default() });
    let panic = catch_unwind(AssertUnwindSafe(|| server.join())).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"this panic is part of the test"));
    server.assert_never_ready();
}
