//! The limits of a server: output, requests in flight, memory, and connections.

use super::{CONCURRENT, INLINE, Server, TICK, cancel, payload, probe, refusal_of, request, summary};
use running_process::broker::backend_sdk::{
    Action, CancelReason, LegacyClassification, SendEventError, Slot,
};
use running_process::broker::protocol::RefusalReason;
use std::time::{Duration, Instant};

const KIB: usize = 1024;

#[test]
fn a_peer_that_leaves_much_unread_holds_back_handlers_and_events() {
    let server = Server::with_config(|config| config.send_high_water = 1000);
    let mut connection = server.connect();
    connection.receive(&[request(CONCURRENT, 1, b""), request(CONCURRENT, 2, b"")].concat());
    let calls = [connection.dispatched[0].call(), connection.dispatched[1].call()];
    assert!(!connection.session.is_full() && !connection.session.holds_back(calls[0]));
    connection.session.send_event(calls[0], &[7; 1000]).unwrap();
    assert!(connection.session.is_full() && calls.iter().all(|call| connection.session.holds_back(*call)));
    // A request that is cancelled waits for nothing.
    connection.receive(&cancel(2));
    assert!(connection.session.holds_back(calls[0]) && !connection.session.holds_back(calls[1]));
    connection.session.take_progress();
    connection.write(100);
    assert!(connection.session.take_progress());
    assert!(!connection.session.holds_back(calls[0]));
    // Nor does one that has ended.
    connection.session.finish(calls[0], payload(&[7; 2000]), connection.now);
    assert!(connection.session.is_full() && !connection.session.holds_back(calls[0]));
    connection.session.reset();
    assert!(!connection.session.is_full());
}

#[test]
fn one_request_beyond_the_limit_is_refused_as_overloaded() {
    let server = Server::with_config(|config| {
        config.max_in_flight = 2;
        config.retry_after = Duration::from_millis(70);
    });
    let mut connections = [server.connect(), server.connect(), server.connect()];
    for connection in &mut connections {
        connection.receive(&request(CONCURRENT, 1, b""));
    }
    let [first, _, third] = &mut connections;
    let refusal = third.refusal();
    assert_eq!((refusal.reason(), refusal.retry_after_ms), (RefusalReason::Overloaded, Some(70)));
    assert_eq!(server.errors(), ["2 requests are being served, one more was refused"]);
    assert_eq!(server.status().in_flight_limit_hit, 1);
    first.serve_next();
    third.receive(&request(CONCURRENT, 2, b"now"));
    third.serve_next();
    assert_eq!(summary(&third.written()), [(2, Ok(b"now".to_vec()))]);
}

#[test]
fn in_a_crowd_each_connection_has_one_request_at_a_time() {
    let server = Server::with_config(|config| config.max_in_flight = 4);
    let (mut crowd, mut flood) = (server.connect(), server.connect());
    crowd.receive(&[request(CONCURRENT, 1, b""), request(CONCURRENT, 2, b"")].concat());
    assert_eq!(crowd.dispatched.len(), 2);
    let requests: Vec<u8> = (0..10).flat_map(|id| request(CONCURRENT, id, b"")).collect();
    flood.receive(&requests);
    assert_eq!(flood.dispatched.len(), 1);
    flood.serve_next();
    flood.process();
    assert_eq!(flood.dispatched.len(), 1);
    crowd.serve_next();
    crowd.serve_next();
    // Three more until half of all places are taken again.
    flood.process();
    assert_eq!(flood.dispatched.len(), 2);
    assert_eq!(server.errors(), <[String; 0]>::default());
}

#[test]
fn the_limit_of_a_connection_holds_requests_and_refuses_none() {
    let server = Server::with_config(|config| config.connection.max_in_flight = 2);
    let mut connection = server.connect();
    let requests: Vec<u8> = (0..5).flat_map(|id| request(CONCURRENT, id, b"")).collect();
    connection.receive(&requests);
    for _ in 0..5 {
        assert!((1..=2).contains(&connection.dispatched.len()));
        connection.serve_next();
        connection.process();
    }
    assert_eq!(connection.written().len(), 5);
}

#[test]
fn a_connection_that_receives_more_than_there_is_memory_for_is_ended() {
    let server = Server::with_config(|config| {
        config.max_connections = 1;
        config.memory_limit = 600 * KIB;
    });
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    connection.receive(&request(CONCURRENT, 2, &vec![7; 900 * KIB])[..700 * KIB]);
    assert!(connection.session.is_reset());
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::PeerGone));
    let errors = server.errors();
    assert!(errors.len() == 1 && errors[0].contains("the budget of 614400 bytes"), "{errors:?}");
    assert_eq!(server.status().memory_limit_hit, 1);
    connection.serve_next();
    connection.process();
    assert_eq!(connection.action(), Action::Close);
    connection.session.close();
    assert_eq!(server.status().memory_bytes, 0);
}

#[test]
fn an_answer_that_there_is_no_memory_for_ends_its_connection() {
    let server = Server::with_config(|config| {
        config.max_connections = 1;
        config.memory_limit = 600 * KIB;
    });
    let mut connection = server.connect();
    connection.receive(&[request(CONCURRENT, 1, b""), request(CONCURRENT, 2, b"")].concat());
    let calls = [connection.dispatched[0].call(), connection.dispatched[1].call()];
    connection.session.finish(calls[0], payload(&vec![7; 900 * KIB]), connection.now);
    assert!(connection.session.is_reset());
    assert_eq!(connection.dispatched[1].request().cancelled(), Some(CancelReason::PeerGone));
    let late = connection.session.send_event(calls[1], b"late");
    assert!(matches!(late, Err(SendEventError::Cancelled)));
    let status = server.status();
    assert_eq!((status.requests_answered, status.requests_cancelled, status.memory_limit_hit), (0, 2, 1));
    assert_eq!(connection.written(), []);
}

#[test]
fn an_event_that_there_is_no_memory_for_ends_its_connection() {
    let server = Server::with_config(|config| {
        config.max_connections = 1;
        config.memory_limit = 600 * KIB;
    });
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    let sent = connection.session.send_event(connection.dispatched[0].call(), &vec![7; 900 * KIB]);
    assert!(matches!(sent, Err(SendEventError::Cancelled)) && connection.session.is_reset());
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::PeerGone));
    assert_eq!(server.errors().len(), 1);
}

#[test]
fn an_inline_answer_that_there_is_no_memory_for_ends_its_connection() {
    let server = Server::configured(|builder| {
        let mut config = running_process::broker::backend_sdk::ServerConfig::default();
        (config.max_connections, config.memory_limit) = (1, 600 * KIB);
        builder.config(config).serve_inline(0x7010, |_| Ok(vec![7; 900 * KIB]))
    });
    let mut connection = server.connect();
    connection.receive(&request(0x7010, 1, b""));
    assert!(connection.session.is_reset());
    assert_eq!((connection.written(), server.errors().len()), (vec![], 1));
}

#[test]
fn a_request_without_memory_waits_for_earlier_ones_and_is_refused_if_there_are_none() {
    // Beside each request 256 KiB are to be left.
    let server = Server::with_config(|config| {
        config.max_connections = 1;
        config.memory_limit = 1000 * KIB;
    });
    let mut connection = server.connect();
    let large = vec![7; 150 * KIB];
    connection.receive(&[request(CONCURRENT, 1, &large), request(CONCURRENT, 2, &large)].concat());
    assert_eq!(connection.dispatched.len(), 1);
    let first = connection.dispatched.remove(0);
    let call = first.call();
    drop(first);
    connection.session.finish(call, payload(b"done"), connection.now);
    connection.process();
    connection.written();
    assert_eq!(connection.dispatched.len(), 1, "the second has its turn");

    let server = Server::with_config(|config| {
        config.max_connections = 1;
        config.memory_limit = 400 * KIB;
    });
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 3, &vec![7; 190 * KIB]));
    assert_eq!(connection.refusal().reason(), RefusalReason::Overloaded);
    assert_eq!(server.status().memory_limit_hit, 1);
}

#[test]
fn a_connection_beyond_the_limit_is_told_so_and_closed() {
    let mut server = Server::with_config(|config| config.max_connections = 1);
    server.identify();
    let now = Instant::now();
    let mut connection = server.accept(Slot::OverCapacity(now), now);
    connection.receive(&[probe(1), request(INLINE, 2, b"")].concat());
    let frames = connection.written();
    assert_eq!((frames[0].request_id, frames.len()), (1, 2));
    let refusal = refusal_of(&frames[1]);
    assert_eq!(refusal.reason(), RefusalReason::Overloaded);
    assert_eq!(refusal.message, "the limit of 1 connections is reached");
    assert_eq!(connection.action(), Action::Close);
    assert_eq!(server.errors(), ["1 connections are open, one more is not served"]);
    assert_eq!(server.status().connections_refused, 1);
}

#[test]
fn a_connection_beyond_the_limit_has_a_second_to_speak_and_no_legacy_wire() {
    let server = Server::configured(|builder| builder.legacy_detector(|_| LegacyClassification::NotLegacy));
    let now = Instant::now();
    let mut silent = server.accept(Slot::OverCapacity(now), now);
    silent.process();
    assert_eq!(silent.action(), Action::Read);
    silent.wait(Duration::from_secs(1).saturating_sub(TICK));
    assert_eq!(silent.action(), Action::Read);
    silent.wait(TICK);
    assert_eq!(silent.action(), Action::Close);
    let mut legacy = server.accept(Slot::OverCapacity(now), now);
    legacy.receive(b"*legacy");
    assert_eq!(legacy.action(), Action::Close);
}
