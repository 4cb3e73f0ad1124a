//! The counters of a server, and the peers that may ask for them.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{
    Gate, SHOUT, eventually, frames, read_frames, read_to_end, refusal, request, write,
};
use running_process::broker::backend_sdk::{NotAuthorized, ServerConfig};
use running_process::broker::protocol::{
    Frame, FrameKind, FrameRef, RefusalReason, STATUS_PAYLOAD_PROTOCOL, ServerStatus, encode_framed,
};
use std::time::Duration;

const ECHO_INLINE: u32 = 0xF010;
const FAIL: u32 = 0xF011;
const TELL: u32 = 0xF012;
const WORK: u32 = 0xF013;
const UNSERVED: u32 = 0xF0FF;

const SHORT: Duration = Duration::from_millis(50);

impl TestServer {
    /// Waits until every connection has ended, and returns the status.
    fn settled(&self) -> ServerStatus {
        eventually(|| Some(self.stats.snapshot()).filter(|status| status.connections_open == 0))
    }
}

fn encode(frame: &FrameRef<'_>) -> Vec<u8> {
    encode_framed(&frame.to_frame()).unwrap()
}

#[test]
fn every_request_is_counted_once_by_its_outcome() {
    let server = TestServer::start(|server| {
        server
            .serve_inline(ECHO_INLINE, |request| Ok(request.payload().to_vec()))
            .serve(FAIL, |_| Err("it never works".into()))
            .serve(TELL, |request| {
                request.send_event(b"one")?;
                request.send_event(b"two")?;
                Ok(b"done".to_vec())
            })
    });
    let before = server.settled();
    assert_eq!((before.connections_accepted, before.probes_answered), (1, 1));
    assert_eq!((before.requests_received, before.latencies().count()), (0, 0));
    let late = FrameRef { deadline_unix_ms: 1, ..FrameRef::request(SHOUT, 6, b"late") };
    let encoded = FrameRef { payload_encoding: 77, ..FrameRef::request(SHOUT, 7, b"?") };
    let sent = [
        request(ECHO_INLINE, 1, b"a"),
        request(ECHO_INLINE, 2, b"b"),
        request(SHOUT, 3, b"c"),
        request(FAIL, 4, b"d"),
        request(TELL, 5, b"e"),
        encode(&late),
        encode(&encoded),
        request(UNSERVED, 8, b"f"),
    ]
    .concat();
    let connection = server.connect();
    write(&connection, &sent);
    let received = read_to_end(&connection);
    assert_eq!(frames(&received).len(), 10);
    let status = server.settled();
    assert_eq!(status.connections_accepted, 2);
    assert_eq!(status.requests_received, 8);
    assert_eq!((status.requests_answered, status.latencies().count()), (4, 4));
    for (reason, count) in [
        (RefusalReason::HandlerFailed, 1),
        (RefusalReason::DeadlinePassed, 1),
        (RefusalReason::BadEncoding, 1),
        (RefusalReason::UnservedProtocol, 1),
    ] {
        assert_eq!(status.refused(reason), count, "{reason}");
    }
    assert_eq!((status.refused_in_all(), status.requests_cancelled), (4, 0));
    assert_eq!((status.events_sent, status.requests_in_flight), (2, 0));
    assert_eq!(status.bytes_received - before.bytes_received, sent.len() as u64);
    assert_eq!(status.bytes_sent - before.bytes_sent, received.len() as u64);
    assert_eq!((status.memory_bytes, status.limits_hit()), (0, 0));
    // The protocol that is not served ended the connection.
    assert_eq!(status.connection_errors, 1);
}

#[test]
fn a_request_in_flight_is_counted_and_a_cancelled_one_is_no_answer() {
    let (gate, keeper) = Gate::new();
    let server = TestServer::start(move |server| {
        server.serve(WORK, move |_| {
            gate.enter(b"");
            Ok(Vec::new())
        })
    });
    let connection = server.connect();
    write(&connection, &request(WORK, 1, &vec![7; 50_000]));
    keeper.next();
    let at_work = server.stats.snapshot();
    assert_eq!((at_work.requests_received, at_work.requests_in_flight), (1, 1));
    assert!(at_work.memory_bytes >= 50_000, "{at_work:?}");
    write(&connection, &encode(&FrameRef { kind: FrameKind::Cancel.into(), ..FrameRef::request(WORK, 1, b"") }));
    assert_eq!(refusal(&read_frames(&connection, 1)[0]), "cancelled");
    assert_eq!(server.stats.snapshot().requests_cancelled, 1);
    keeper.let_pass();
    let ended = eventually(|| Some(server.stats.snapshot()).filter(|status| status.requests_in_flight == 0));
    assert_eq!((ended.requests_answered, ended.refused_in_all(), ended.requests_cancelled), (0, 0, 1));
}

#[test]
fn each_limit_that_is_hit_is_counted_as_itself() {
    // One limit at a time, so that a slow machine cannot hit another one first.
    let hit = |limit: fn(&mut ServerConfig), bytes: &[u8], count: fn(&ServerStatus) -> u64| {
        let mut config = ServerConfig::default();
        limit(&mut config);
        let known = config.connection.first_message_bytes > 100;
        let server = TestServer::start(|server| {
            let never = || NotAuthorized::new("no peer is");
            server.config(config).authorize(move |_| known.then_some(()).ok_or_else(never))
        });
        // On a slow machine the probe that waits for the server hits the limit, too.
        let before = server.settled();
        let connection = server.connect();
        if !bytes.is_empty() {
            write(&connection, bytes);
        }
        read_to_end(&connection);
        let after = server.settled();
        assert_eq!(count(&after) - count(&before), 1, "{before:?}\n{after:?}");
        assert_eq!(after.limits_hit() - before.limits_hit(), 1, "{before:?}\n{after:?}");
    };
    let whole = request(SHOUT, 1, b"x");
    hit(|config| config.connection.first_message_timeout = SHORT, b"", |status| status.first_message_deadline_hit);
    let large = request(SHOUT, 1, &[0; 200]);
    hit(|config| config.connection.first_message_bytes = 100, &large, |status| {
        status.first_message_limit_hit
    });
    hit(|config| config.connection.idle_timeout = Some(SHORT), &whole, |status| status.idle_deadline_hit);
    let partial = [&whole[..], &whole[..9]].concat();
    hit(|config| config.connection.message_timeout = SHORT, &partial, |status| status.message_deadline_hit);
    let probe = probe();
    hit(|config| config.connection.probed_timeout = SHORT, &probe, |status| status.probed_deadline_hit);
}

#[test]
fn a_connection_too_many_is_counted_as_refused() {
    let server = TestServer::with_config(|config| config.max_connections = 1);
    server.settled();
    let holds = server.connect();
    server.wait_open(1);
    let refused = server.connect();
    write(&refused, &request(SHOUT, 1, b"x"));
    read_to_end(&refused);
    let status = server.stats.snapshot();
    assert_eq!((status.connections_refused, status.limits_hit()), (1, 1));
    drop(holds);
}

#[test]
fn a_connection_that_is_not_counted_as_open_does_not_count_against_the_limit() {
    let server = TestServer::with_config(|config| config.max_connections = 1);
    for _ in 0..100 {
        server.settled();
        let connection = server.connect();
        write(&connection, &request(SHOUT, 1, b"x"));
        assert_eq!(read_frames(&connection, 1)[0].payload, b"X");
    }
    assert_eq!(server.settled().connections_refused, 0);
}

fn probe() -> Vec<u8> {
    let nonce = [9; 32];
    encode(&FrameRef::request(0xB232, 1, &nonce))
}

#[test]
fn a_peer_that_is_served_gets_the_status_and_its_query_is_no_request() {
    let server = TestServer::start(|server| server);
    server.settled();
    let mut client = server.client();
    assert_eq!(client.request(SHOUT, b"x".to_vec()).unwrap().payload, b"X");
    let response = client.request(STATUS_PAYLOAD_PROTOCOL, Vec::new()).unwrap();
    let told = ServerStatus::from_payload(&response.payload).unwrap();
    assert_eq!((told.requests_received, told.requests_answered, told.latencies().count()), (1, 1, 1));
    assert_eq!(told.connections_open, 1);
    let counted = server.stats.snapshot();
    assert_eq!((counted.requests_received, counted.latencies()), (1, told.latencies()));
    assert!(counted.uptime() >= told.uptime());
}

#[test]
fn a_peer_that_is_not_served_gets_no_status() {
    let server = TestServer::start(|server| server.authorize(|_| Err(NotAuthorized::new("nobody is"))));
    let connection = server.connect();
    write(&connection, &request(STATUS_PAYLOAD_PROTOCOL, 1, b""));
    assert_eq!(refusal(&read_frames(&connection, 1)[0]), "not authorized (\"nobody is\")");
}

#[test]
fn a_daemon_may_serve_the_status_protocol_itself_move_it_or_switch_it_off() {
    let ask = |server: &TestServer, protocol| -> Frame {
        let connection = server.connect();
        write(&connection, &request(protocol, 1, b"status"));
        read_frames(&connection, 1).remove(0)
    };
    let own = TestServer::start(|server| {
        server.serve_quickly(STATUS_PAYLOAD_PROTOCOL, |request| Ok(request.payload().to_vec()))
    });
    assert_eq!(ask(&own, STATUS_PAYLOAD_PROTOCOL).payload, b"status");
    let moved = TestServer::with_config(|config: &mut ServerConfig| config.status_protocol = Some(0xF0AA));
    assert!(ServerStatus::from_payload(&ask(&moved, 0xF0AA).payload).is_ok());
    assert!(refusal(&ask(&moved, STATUS_PAYLOAD_PROTOCOL)).contains("not served"));
    let off = TestServer::with_config(|config| config.status_protocol = None);
    assert!(refusal(&ask(&off, STATUS_PAYLOAD_PROTOCOL)).contains("not served"));
}
