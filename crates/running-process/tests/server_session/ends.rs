//! The ends of a connection: failures, timeouts of writes, the end of the server, and what is counted.

use super::{CONCURRENT, Connection, INLINE, Server, TICK, payload, probe, request, summary};
use running_process::broker::backend_sdk::{Action, CancelReason, Phase, SendEventError};
use running_process::broker::protocol::RefusalReason;
use std::io;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for which a server that drains waits for a peer that reads nothing.
const STALL: Duration = Duration::from_secs(1);

/// Returns a connection whose peer reads nothing of an answer.
fn blocked(server: &Server) -> Connection {
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, &[7; 1000]));
    connection.session.write_blocked(connection.now);
    connection
}

#[test]
fn a_failure_is_told_once_and_cancels_what_is_in_flight() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&[request(INLINE, 1, b"unread"), request(CONCURRENT, 2, b"")].concat());
    for _ in 0..2 {
        connection.session.fail(io::Error::other("the cable is cut"));
    }
    assert_eq!(server.errors(), ["a connection failed: the cable is cut"]);
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::PeerGone));
    assert_eq!((connection.action(), connection.session.has_output()), (Action::Wait, false));
    connection.serve_next();
    connection.process();
    assert_eq!((connection.action(), connection.written()), (Action::Close, vec![]));
}

#[test]
fn a_reset_is_not_told() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    connection.session.reset();
    connection.session.fail(io::ErrorKind::BrokenPipe.into());
    assert!(connection.session.is_reset());
    assert_eq!(server.errors(), <[String; 0]>::default());
    // Nothing that comes is looked at.
    connection.receive(&request(CONCURRENT, 2, b""));
    assert_eq!(connection.dispatched.len(), 1);
}

#[test]
fn a_write_of_no_bytes_is_a_failure() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b"unread"));
    connection.session.output_written(0, connection.now);
    assert!(connection.session.is_reset());
    assert_eq!(server.errors().len(), 1);
}

#[test]
fn a_peer_that_reads_nothing_is_disconnected_after_the_write_timeout() {
    let server = Server::with_config(|_| {});
    let mut connection = blocked(&server);
    assert_eq!(connection.session.deadline(), Some(connection.now + TIMEOUT));
    connection.wait(TIMEOUT.saturating_sub(TICK));
    // A write that blocks again begins no second timeout.
    connection.session.write_blocked(connection.now);
    assert!(!connection.session.is_reset());
    connection.wait(TICK);
    assert_eq!((connection.action(), server.errors().len()), (Action::Close, 1));
    assert_eq!(server.status().write_deadline_hit, 1);
}

#[test]
fn a_peer_that_reads_all_in_time_has_no_deadline() {
    let server = Server::with_config(|_| {});
    let mut connection = blocked(&server);
    connection.now += TIMEOUT.saturating_sub(TICK);
    connection.written();
    connection.wait(TIMEOUT);
    assert_eq!((connection.action(), server.errors().len()), (Action::Read, 0));
}

#[test]
fn a_peer_that_reads_some_in_time_is_disconnected_all_the_same() {
    let server = Server::with_config(|_| {});
    let mut connection = blocked(&server);
    connection.wait(TIMEOUT / 2);
    assert_eq!(connection.write(100), 100);
    connection.wait(TIMEOUT / 2);
    assert!(connection.session.is_reset());
}

#[test]
fn a_process_that_was_stopped_past_the_deadline_extends_it_once() {
    let server = Server::with_config(|_| {});
    let mut connection = blocked(&server);
    // The driver writes before it judges.
    connection.now += 2 * TIMEOUT;
    assert_eq!(connection.write(100), 100);
    connection.wait(Duration::ZERO);
    assert!(!connection.session.is_reset());
    assert_eq!(connection.session.deadline(), Some(connection.now + TIMEOUT));
    connection.now += TIMEOUT;
    assert_eq!(connection.write(100), 100);
    connection.wait(Duration::ZERO);
    assert!(connection.session.is_reset());
}

#[test]
fn each_phase_is_entered_once_and_none_is_left() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    let now = connection.now;
    assert!(!connection.session.enter(Phase::Serving, now));
    assert!(!connection.session.enter(Phase::HandedOver, now));
    assert!(connection.session.enter(Phase::Draining, now));
    assert!(!connection.session.enter(Phase::Draining, now));
    assert!(connection.session.enter(Phase::Cancelling, now));
    assert!(!connection.session.enter(Phase::Draining, now));
}

#[test]
fn a_draining_server_answers_what_has_arrived() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b"before"));
    connection.session.enter(Phase::Draining, connection.now);
    assert_eq!(connection.action(), Action::Read);
    connection.receive(&request(CONCURRENT, 2, b"arrived"));
    connection.end_of_input(false);
    connection.serve_next();
    connection.serve_next();
    connection.process();
    let answers = summary(&connection.written());
    assert_eq!(answers, [(1, Ok(b"before".to_vec())), (2, Ok(b"arrived".to_vec()))]);
    assert_eq!(connection.action(), Action::Close);
}

#[test]
fn a_draining_server_answers_no_probe_and_finishes_its_requests() {
    let mut server = Server::with_config(|_| {});
    server.identify();
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b"before"));
    connection.session.enter(Phase::Draining, connection.now);
    connection.receive(&[probe(2), request(CONCURRENT, 3, b"behind it")].concat());
    connection.end_of_input(false);
    connection.serve_next();
    connection.process();
    assert_eq!(summary(&connection.written()), [(1, Ok(b"before".to_vec()))]);
    assert_eq!((connection.action(), server.status().probes_answered), (Action::Close, 0));
}

#[test]
fn a_draining_server_waits_a_second_for_a_peer_that_reads_nothing() {
    let server = Server::with_config(|_| {});
    let mut connection = blocked(&server);
    connection.wait(TICK);
    connection.session.enter(Phase::Draining, connection.now);
    assert_eq!(connection.session.deadline(), Some(connection.now + STALL));
    connection.wait(STALL.saturating_sub(TICK));
    assert_eq!(connection.write(100), 100);
    // It reads on.
    connection.wait(STALL.saturating_sub(TICK));
    assert!(!connection.session.is_reset());
    connection.wait(TICK);
    assert!(connection.session.is_reset());
    assert_eq!(server.status().write_deadline_hit, 1);
}

#[test]
fn a_server_that_gives_up_cancels_requests_and_tells_their_clients() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    connection.session.enter(Phase::Draining, connection.now);
    connection.end_of_input(false);
    connection.session.enter(Phase::Cancelling, connection.now);
    connection.process();
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::ShuttingDown));
    assert_eq!(connection.refusal().reason(), RefusalReason::HandlerFailed);
    connection.serve_next();
    connection.process();
    assert_eq!((connection.action(), connection.written()), (Action::Close, vec![]));
}

#[test]
fn a_connection_counts_as_open_until_it_is_closed_once() {
    let server = Server::with_config(|_| {});
    let (mut first, second) = (server.connect(), server.connect());
    assert_eq!((server.status().connections_open, server.status().connections_accepted), (2, 2));
    first.session.close();
    first.session.close();
    assert_eq!(server.status().connections_open, 1);
    drop(first);
    assert_eq!(server.status().connections_open, 1);
    drop(second);
    assert_eq!(server.status().connections_open, 0);
}

#[test]
fn a_closed_session_uses_no_memory_although_handlers_run() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, &vec![7; 50_000]));
    assert!(server.status().memory_bytes >= 50_000);
    connection.session.close();
    let status = server.status();
    assert_eq!((status.memory_bytes, status.requests_in_flight), (0, 1));
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::PeerGone));
    connection.serve_next();
    connection.process();
    let status = server.status();
    assert_eq!((status.memory_bytes, status.requests_in_flight), (0, 0));
}

#[test]
fn requests_of_a_session_that_is_dropped_are_no_longer_in_flight() {
    let server = Server::with_config(|config| config.max_in_flight = 1);
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    let dispatched = connection.dispatched.remove(0);
    drop(connection);
    assert_eq!(dispatched.request().cancelled(), Some(CancelReason::PeerGone));
    let status = server.status();
    assert_eq!((status.requests_in_flight, status.memory_bytes), (0, 0));
    // The next connection finds the place of the request free.
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b"next"));
    connection.serve_next();
    assert_eq!(summary(&connection.written()), [(1, Ok(b"next".to_vec()))]);
}

#[test]
fn events_go_ahead_of_the_answer_until_the_request_is_cancelled() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    let call = connection.dispatched[0].call();
    connection.session.send_event(call, b"half").unwrap();
    connection.session.finish(call, payload(b"whole"), connection.now);
    let payloads: Vec<_> = connection.written().into_iter().map(|frame| frame.payload).collect();
    assert_eq!(payloads, [b"half".to_vec(), b"whole".to_vec()]);
    let late = connection.session.send_event(call, b"late");
    assert!(matches!(late, Err(SendEventError::Cancelled)));
    assert_eq!(server.status().events_sent, 1);
}
