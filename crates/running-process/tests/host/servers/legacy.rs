//! Connections that are handed to the daemon's old wire.

use super::TestServer;
use crate::daemon::{Daemon, Legacy};
use crate::support::{SHOUT, echo, needs_eight_bytes, read, read_to_end, write};
use running_process::broker::backend_sdk::{LegacyClassification, ServerConfig};
use running_process::broker::protocol::ENVELOPE_VERSION;
use std::time::Duration;

/// Starts a server with a legacy wire whose messages start with anything but the framing byte.
fn serve_legacy(handler: impl Fn(Box<dyn Legacy>) + Send + Sync + 'static) -> TestServer {
    TestServer::start(|server| server.legacy(|_| LegacyClassification::NotLegacy, handler))
}

#[test]
fn the_detector_decides_about_bytes_that_start_with_the_framing_byte() {
    let server = TestServer::start(|server| server.legacy(needs_eight_bytes, echo));
    let legacy = server.connect();
    let message = [ENVELOPE_VERSION, 9, 0, 0, 0, 8, 1, 0xff];
    for byte in message {
        write(&legacy, &[byte]);
    }
    assert_eq!(read(&legacy, 8), message);
    server.assert_serves();
    assert!(!server.has_more_errors());
}

#[test]
fn a_framed_connection_stays_framed_whatever_the_detector_would_say() {
    let server = TestServer::start(|server| {
        let looks_legacy = |buffer: &[u8]| {
            if buffer.windows(6).any(|bytes| bytes == b"legacy") {
                LegacyClassification::Legacy
            } else {
                LegacyClassification::NotLegacy
            }
        };
        server.legacy(looks_legacy, |_| {})
    });
    let mut client = server.client();
    assert_eq!(client.request(SHOUT, b"first".to_vec()).unwrap().payload, b"FIRST");
    assert_eq!(client.request(SHOUT, b"legacy".to_vec()).unwrap().payload, b"LEGACY");
}

#[test]
fn an_undecided_connection_is_legacy_when_the_first_deadline_passes() {
    let mut config = ServerConfig::default();
    config.connection.first_message_timeout = Duration::from_millis(100);
    let server = TestServer::start(|server| server.config(config).legacy(needs_eight_bytes, echo));
    let connection = server.connect();
    write(&connection, &[ENVELOPE_VERSION, 77]);
    assert_eq!(read(&connection, 2), [ENVELOPE_VERSION, 77]);
}

#[test]
fn without_a_handler_a_legacy_connection_is_closed_and_reported() {
    let server = TestServer::start(|server| server);
    let connection = server.connect();
    write(&connection, b"PING\r\n");
    assert_eq!(read_to_end(&connection), b"");
    assert_eq!(server.error(), "a connection speaks the legacy wire, which this server does not");
    server.assert_serves();
}

#[test]
fn a_legacy_handler_that_panics_ends_its_connection_alone() {
    let server = serve_legacy(|_| panic!("this panic is part of the test"));
    let connection = server.connect();
    write(&connection, b"PING\r\n");
    assert_eq!(read_to_end(&connection), b"");
    assert_eq!(server.error(), "a handler panicked");
    server.assert_serves();
}

/// A Windows pipe has no half-closed state.
#[cfg(unix)]
mod half_closed {
    use super::*;
    use crate::support::{request, watched};
    use std::io::{Read, Write};

    fn noise(length: usize) -> Vec<u8> {
        (2..=255).cycle().take(length).collect()
    }

    #[test]
    fn the_handler_reads_every_byte_from_the_first_one() {
        let server = serve_legacy(|mut connection| {
            let mut all = Vec::new();
            connection.read_to_end(&mut all).unwrap();
            connection.write_all(&all).unwrap();
        });
        for length in [1, 4, 5, 100, 16 * 1024, 16 * 1024 + 1, 300_000] {
            for piece in [1, 3, 4096, usize::MAX] {
                if length / piece > 20_000 {
                    continue;
                }
                let sent = noise(length);
                let connection = server.connect();
                let writer = connection.try_clone().unwrap();
                let received = watched(move || {
                    let writing = std::thread::spawn(move || {
                        sent.chunks(piece.min(length)).for_each(|piece| write(&writer, piece));
                        writer.shutdown_write().unwrap();
                        sent
                    });
                    (read_to_end(&connection), writing.join().unwrap())
                });
                assert!(received.0 == received.1, "{length} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn an_undecided_connection_is_decided_by_the_end_of_its_stream() {
        let server = TestServer::start(|server| server.legacy(|_| LegacyClassification::NeedMoreBytes, echo));
        let frame = request(SHOUT, 1, b"whole");
        for (sent, framed) in
            [(&frame[..], true), (&frame[..frame.len() - 1], false), (b"GET", false), (&[1], false)]
        {
            let connection = server.connect();
            write(&connection, sent);
            connection.shutdown_write().unwrap();
            let received = read_to_end(&connection);
            assert_eq!(received != sent, framed, "{received:?}");
        }
    }
}
