//! A server whose endpoint another process serves by now: it serves the open connections on, tells peers that follow, and ends.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{
    Gate, PATIENCE, SHOUT, TempEndpoint, echo, eventually, frames, read, read_frame, read_frames, read_to_end,
    request, watched, write,
};
use running_process::broker::backend_sdk::{
    ConnectError, LegacyClassification, LocalStream, ServerConfig, ServerError,
};
use running_process::broker::protocol::{Frame, FrameRef, Notice, NoticeKind, WANTS_MOVED};
use std::time::{Duration, Instant};

/// Encodes a request of a peer that follows.
fn following_request(payload_protocol: u32, request_id: u64, payload: &[u8]) -> Vec<u8> {
    let request = FrameRef::request(payload_protocol, request_id, payload);
    let mut wire = Vec::new();
    FrameRef { accepted_encodings: WANTS_MOVED, ..request }.encode_framed(&mut wire).unwrap();
    wire
}

fn is_moved(frame: &Frame) -> bool {
    Notice::from_frame(&frame.borrowed()).is_some_and(|notice| notice.kind() == NoticeKind::Moved)
}

fn draining_within(timeout: Duration) -> ServerConfig {
    let mut config = ServerConfig::default();
    config.drain_timeout = timeout;
    config
}

/// Returns a connection on which a request was answered.
fn used(server: &TestServer, request: &[u8]) -> LocalStream {
    let connection = server.connect();
    write(&connection, request);
    read_frames(&connection, 1);
    connection
}

#[track_caller]
fn assert_shouts(connection: &LocalStream, request: &[u8]) {
    write(connection, request);
    let answers = read_frames(connection, 1);
    assert_eq!(answers[0].payload, b"ON");
}

#[test]
fn requests_before_and_after_a_handover_are_answered_and_a_peer_that_follows_is_told_once() {
    let (gate, keeper) = Gate::new();
    let mut server = TestServer::start(move |server| {
        server.serve(0xF00F, move |_| {
            gate.enter(b"");
            Ok(b"done".to_vec())
        })
    });
    let (following, published) = (server.connect(), server.connect());
    write(&following, &following_request(0xF00F, 1, b""));
    write(&published, &request(0xF00F, 1, b""));
    keeper.next();
    keeper.next();
    server.stop.hand_over();
    assert!(is_moved(&read_frame(&following)));
    for id in 2..5 {
        assert_shouts(&following, &following_request(SHOUT, id, b"on"));
        assert_shouts(&published, &request(SHOUT, id, b"on"));
    }
    keeper.let_pass();
    keeper.let_pass();
    for connection in [following, published] {
        let answer = read_frames(&connection, 1).remove(0);
        assert_eq!((answer.request_id, &answer.payload[..]), (1, &b"done"[..]));
        assert!(server.stats.snapshot().connections_open > 0, "it serves as long as a connection is open");
        drop(connection);
    }
    server.join().unwrap();
    assert!(!server.has_more_errors());
}

#[test]
fn a_peer_that_says_later_that_it_follows_is_told_then() {
    let server = TestServer::start(|server| server);
    let connection = used(&server, &request(SHOUT, 1, b"first"));
    server.stop.hand_over();
    assert_shouts(&connection, &request(SHOUT, 2, b"on"));
    write(&connection, &following_request(SHOUT, 3, b"on"));
    let answers = read_frames(&connection, 2);
    let (told, answered): (Vec<_>, Vec<_>) = answers.iter().partition(|frame| is_moved(frame));
    assert_eq!((told.len(), &answered[0].payload[..]), (1, &b"ON"[..]));
}

#[test]
fn a_server_that_was_handed_over_accepts_nothing_more() {
    let mut server = TestServer::start(|server| server);
    let connection = used(&server, &request(SHOUT, 1, b"first"));
    server.stop.hand_over();
    assert!(server.stop.is_handed_over() && !server.stop.is_stopped());
    let refused = eventually(|| LocalStream::connect(&server.temp.endpoint.path).err());
    assert!(match refused {
        ConnectError::NotFound { .. } | ConnectError::Refused { .. } => true,
        // The name of a Windows pipe exists until its last connection ends.
        ConnectError::BacklogFull { .. } => cfg!(windows),
        _ => false,
    });
    assert_shouts(&connection, &request(SHOUT, 2, b"on"));
    drop(connection);
    server.join().unwrap();
}

#[test]
fn the_legacy_wire_goes_on_after_a_handover() {
    let mut server = TestServer::start(|server| server.legacy(|_| LegacyClassification::NotLegacy, echo));
    let connection = server.connect();
    write(&connection, b"before");
    assert_eq!(read(&connection, 6), b"before");
    server.stop.hand_over();
    for _ in 0..3 {
        write(&connection, b"after");
        assert_eq!(read(&connection, 5), b"after");
    }
    drop(connection);
    server.join().unwrap();
    assert!(!server.has_more_errors());
}

#[test]
fn connections_that_stay_are_drained_before_the_drain_timeout() {
    let config = draining_within(Duration::from_millis(800));
    let mut server = TestServer::start(|server| {
        server.config(config).legacy(|_| LegacyClassification::NotLegacy, echo)
    });
    let framed = used(&server, &request(SHOUT, 1, b"first"));
    let legacy = server.connect();
    write(&legacy, b"old");
    assert_eq!(read(&legacy, 3), b"old");
    let handed_over = Instant::now();
    server.stop.hand_over();
    assert_shouts(&framed, &request(SHOUT, 2, b"on"));
    assert_eq!(read_to_end(&framed), b"");
    assert_eq!(read_to_end(&legacy), b"");
    assert!(handed_over.elapsed() >= Duration::from_millis(600));
    server.join().unwrap();
}

#[test]
fn a_handler_that_does_not_end_is_late_after_a_handover_too() {
    let (gate, keeper) = Gate::new();
    let config = draining_within(Duration::from_millis(80));
    let mut server = TestServer::start(move |server| {
        server.config(config).serve(0xF00F, move |_| {
            gate.enter(b"");
            Ok(Vec::new())
        })
    });
    let connection = server.connect();
    write(&connection, &request(0xF00F, 1, b""));
    keeper.next();
    server.stop.hand_over();
    let ended = server.join();
    assert!(matches!(ended, Err(ServerError::DrainTimedOut { connections: 1, .. })), "{ended:?}");
    keeper.let_pass();
}

#[test]
fn a_stop_after_a_handover_drains_at_once() {
    let config = draining_within(10 * PATIENCE);
    let mut server = TestServer::start(|server| server.config(config));
    let connection = used(&server, &request(SHOUT, 1, b"first"));
    server.stop.hand_over();
    assert_shouts(&connection, &request(SHOUT, 2, b"on"));
    write(&connection, &request(SHOUT, 3, b"late"));
    server.stop_and_join().unwrap();
    assert_eq!(frames(&read_to_end(&connection))[0].payload, b"LATE");
}

#[test]
fn a_server_that_was_handed_over_before_it_runs_ends_at_once() {
    let temp = TempEndpoint::new();
    let server = TestServer::bind(temp.endpoint.clone()).unwrap();
    server.stop_handle().hand_over();
    watched(move || server.run().unwrap());
}
