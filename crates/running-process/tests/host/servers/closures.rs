//! Closures of the daemon that panic. Each panic costs its connection or its request, and nothing else.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{SHOUT, echo, eventually, next, read, read_frames, read_to_end, refusal, request, write};
use running_process::broker::backend_sdk::{HandlerError, LegacyClassification, LocalStream, ServerConfig};
use std::error::Error;
use std::fmt;
use std::io::Read;
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, Ordering};

const INTENDED: &str = "this panic is part of the test";

/// A value that a handler panics with, and that panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{INTENDED}");
    }
}

/// An error that panics when it is shown, and when it is dropped.
#[derive(Debug)]
struct Hostile;

impl fmt::Display for Hostile {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("{INTENDED}");
    }
}

impl Error for Hostile {}

impl Drop for Hostile {
    fn drop(&mut self) {
        panic!("{INTENDED}");
    }
}

fn at_most(connections: usize) -> ServerConfig {
    let mut config = ServerConfig::default();
    config.max_connections = connections;
    config
}

#[track_caller]
fn assert_panicked(connection: &LocalStream) {
    let refusal = refusal(&read_frames(connection, 1)[0]);
    assert!(refusal.contains("the handler panicked"), "{refusal}");
}

/// Checks that the server still serves, and ends without an error.
fn assert_unharmed(mut server: TestServer) {
    server.assert_serves();
    server.wait_open(0);
    server.stop_and_join().unwrap();
}

#[test]
fn a_detector_that_panics_costs_its_connection() {
    let detector = |bytes: &[u8]| {
        assert!(!bytes.starts_with(b"!"), "{INTENDED}");
        LegacyClassification::NotLegacy
    };
    let server = TestServer::start(|server| server.config(at_most(3)).legacy(detector, echo));
    server.wait_open(0);
    let other = server.connect();
    write(&other, b"before");
    assert_eq!(read(&other, 6), b"before");
    for _ in 0..10 {
        let connection = server.connect();
        write(&connection, b"!");
        assert_eq!(read_to_end(&connection), b"");
        assert_eq!(server.error(), "the detector panicked");
        server.wait_open(1);
    }
    write(&other, b"after");
    assert_eq!(read(&other, 5), b"after");
    drop(other);
    assert_unharmed(server);
}

#[test]
fn a_detector_that_panics_costs_the_requests_of_its_connection_their_answers() {
    let (report, begun) = std::sync::mpsc::channel();
    let detector = |bytes: &[u8]| {
        assert!(!bytes.starts_with(b"!"), "{INTENDED}");
        LegacyClassification::NotLegacy
    };
    let mut config = ServerConfig::default();
    config.connection.reclassify = running_process::broker::backend_sdk::Reclassify::EveryMessage;
    let server = TestServer::start(|server| {
        server.config(config).legacy(detector, echo).serve(0xF00F, move |request| {
            report.send(())?;
            request.wait_cancelled();
            Ok(Vec::new())
        })
    });
    let connection = server.connect();
    write(&connection, &request(0xF00F, 1, b""));
    next(&begun);
    write(&connection, b"!");
    assert_eq!(read_to_end(&connection), b"");
    assert_eq!(server.error(), "the detector panicked");
    assert_unharmed(server);
}

#[test]
fn a_rule_that_panics_refuses_the_requests_of_its_connection() {
    let first = AtomicBool::new(true);
    let server = TestServer::start(|server| {
        server.authorize(move |_| {
            assert!(!first.swap(false, Ordering::Relaxed), "{INTENDED}");
            Ok(())
        })
    });
    let connection = server.connect();
    write(&connection, &[request(SHOUT, 1, b"x"), request(SHOUT, 2, b"x")].concat());
    for answer in read_frames(&connection, 2) {
        let refusal = refusal(&answer);
        assert!(refusal.contains("rule panicked"), "{refusal}");
    }
    assert_eq!(server.error(), "the rule of `authorize` panicked");
    drop(connection);
    assert_unharmed(server);
}

#[test]
fn an_observer_that_panics_costs_nothing_and_is_counted() {
    let server = TestServer::start(|server| {
        server
            .config(at_most(3))
            .serve(0xF00F, |_| Err("it never works".into()))
            .serve(0xF010, |_| panic!("{INTENDED}"))
            .serve_inline(0xF011, |_| Err("it never works".into()))
            .serve_inline(0xF012, |_| panic!("{INTENDED}"))
            .observe(|_| panic!("{INTENDED}"))
    });
    server.wait_open(0);
    let connection = server.connect();
    for protocol in [0xF00F, 0xF010, 0xF011, 0xF012] {
        write(&connection, &request(protocol, 1, b""));
        let refusal = refusal(&read_frames(&connection, 1)[0]);
        assert!(refusal.starts_with("the handler failed"), "{refusal}");
    }
    let panics = |count: u64| {
        eventually(|| (server.stats.snapshot().callbacks_panicked == count).then_some(()));
    };
    panics(4);
    // The observer runs while the connection is locked: for an unserved legacy wire, and for an unserved frame.
    for (sent, count) in [(&b"legacy"[..], 5), (&request(0xF0F0, 1, b"x"), 6)] {
        let ended = server.connect();
        write(&ended, sent);
        read_to_end(&ended);
        panics(count);
    }
    // The observer runs on the accepting thread or task.
    let held = [server.connect(), server.connect()];
    server.wait_open(3);
    let refused = server.connect();
    eventually(|| (server.stats.snapshot().callbacks_panicked > 6).then_some(()));
    read_to_end(&refused);
    drop((held, connection));
    assert_unharmed(server);
}

#[test]
fn a_panic_whose_payload_panics_when_it_is_dropped_costs_its_request() {
    let server = TestServer::start(|server| {
        server
            .serve(0xF00F, |_| panic_any(Bomb))
            .serve_quickly(0xF010, |_| panic_any(Bomb))
            .serve_inline(0xF011, |_| panic_any(Bomb))
            .legacy(|_| LegacyClassification::NotLegacy, |_| panic_any(Bomb))
    });
    let connection = server.connect();
    for protocol in [0xF00F, 0xF010, 0xF011, 0xF00F, 0xF010, 0xF011] {
        write(&connection, &request(protocol, 1, b""));
        assert_panicked(&connection);
        assert_eq!(server.error(), "a handler panicked");
    }
    let legacy = server.connect();
    write(&legacy, b"legacy");
    assert_eq!(read_to_end(&legacy), b"");
    assert_eq!(server.error(), "a handler panicked");
    drop(connection);
    assert_unharmed(server);
}

#[test]
fn an_error_that_panics_when_it_is_shown_or_dropped_costs_its_request() {
    let server = TestServer::start(|server| {
        server
            .serve(0xF00F, |_| Err(HandlerError::from(Hostile)))
            .serve_quickly(0xF010, |_| Err(HandlerError::from(Hostile)))
            .serve_inline(0xF011, |_| Err(HandlerError::from(Hostile)))
    });
    let connection = server.connect();
    for (protocol, panicked) in [0xF00F, 0xF010, 0xF011].into_iter().zip(1..) {
        write(&connection, &request(protocol, 1, b""));
        assert!(refusal(&read_frames(&connection, 1)[0]).contains("the handler failed"));
        // The observer of this test shows the error, which panics there.
        assert_eq!(server.stats.snapshot().callbacks_panicked, panicked);
        write(&connection, &request(SHOUT, 1, b"on"));
        assert_eq!(read_frames(&connection, 1)[0].payload, b"ON");
    }
    drop(connection);
    assert_unharmed(server);
}

#[test]
fn a_legacy_handler_that_panics_costs_its_connection() {
    let server = TestServer::start(|server| {
        server.config(at_most(3)).legacy(
            |_| LegacyClassification::NotLegacy,
            |mut connection| {
                connection.read_exact(&mut [0]).unwrap();
                panic!("{INTENDED}");
            },
        )
    });
    for _ in 0..5 {
        server.wait_open(0);
        let connection = server.connect();
        write(&connection, b"?");
        assert_eq!(read_to_end(&connection), b"");
        assert_eq!(server.error(), "a handler panicked");
    }
    assert_unharmed(server);
}

#[test]
fn a_ready_hook_that_panics_is_reported_and_the_server_goes_on() {
    let server = TestServer::start(|server| server.on_ready(|_| panic!("{INTENDED}")));
    assert_eq!(server.error(), "`on_ready` panicked");
    assert!(server.temp.identity_file().exists());
    assert_unharmed(server);
}
