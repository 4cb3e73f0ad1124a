//! The next action of a driver, in each state of a connection.

use super::{CONCURRENT, Connection, INLINE, Server, cancel, payload, probe, request, summary};
use running_process::broker::backend_sdk::{
    Action, Answer, CancelReason, LegacyClassification, Reclassify, ServerSession,
};
use running_process::broker::protocol::RefusalReason;
use std::time::Duration;

/// More than a session reads ahead of a request that waits.
const MUCH: usize = 200 * 1024;

#[test]
fn a_new_connection_and_one_whose_requests_are_in_flight_are_read() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    assert_eq!(connection.action(), Action::Read);
    connection.receive(&request(CONCURRENT, 1, b"one"));
    assert_eq!((connection.action(), connection.session.in_flight()), (Action::Read, 1));
    let head = request(CONCURRENT, 2, b"two");
    connection.receive(&head[..7]);
    assert_eq!(connection.action(), Action::Read);
    connection.receive(&head[7..]);
    assert_eq!(connection.dispatched.len(), 2);
}

#[test]
fn a_probe_waits_for_the_identity() {
    let mut server = Server::with_config(|_| {});
    let mut connection = server.connect();
    assert!(!connection.session.awaits_identity());
    connection.receive(&probe(5));
    assert_eq!(connection.action(), Action::Wait);
    assert!(connection.session.awaits_identity() && !connection.session.has_output());
    server.identify();
    connection.process();
    assert_eq!(connection.action(), Action::Read);
    assert_eq!(connection.written()[0].request_id, 5);
    assert_eq!(server.status().probes_answered, 1);
}

#[test]
fn a_request_that_waits_for_output_goes_on_once_that_is_written() {
    let server = Server::with_config(|config| config.send_high_water = 1);
    let mut connection = server.connect();
    let requests: Vec<u8> = (0..3).flat_map(|id| request(INLINE, id, b"answer")).collect();
    connection.receive(&requests);
    // One is answered; the others wait, and little is buffered yet.
    assert_eq!((connection.action(), connection.session.is_full()), (Action::Read, true));
    connection.receive(&request(INLINE, 3, &vec![7; MUCH]));
    assert_eq!(connection.action(), Action::Wait);
    let answers = summary(&connection.written());
    assert_eq!(answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(connection.action(), Action::Read);
}

#[test]
fn the_driver_processes_again_once_there_is_room() {
    let server = Server::with_config(|config| config.send_high_water = 1);
    let mut connection = server.connect();
    connection.receive(&[request(INLINE, 1, b"first"), request(INLINE, 2, b"second")].concat());
    assert_eq!(connection.action(), Action::Read);
    connection.write(usize::MAX);
    assert_eq!(connection.action(), Action::Process);
    connection.process();
    assert_eq!((connection.action(), connection.session.has_output()), (Action::Read, true));
}

#[test]
fn output_that_a_driver_has_taken_counts_as_unwritten() {
    let server = Server::with_config(|config| config.send_high_water = 100);
    let mut connection = server.connect();
    connection.receive(&[request(INLINE, 1, &[7; 100]), request(INLINE, 2, b"waits")].concat());
    let output = connection.session.take_output();
    let length = output.len();
    assert!(!connection.session.has_output() && connection.session.is_full());
    connection.end_of_input(false);
    assert_eq!(connection.action(), Action::Wait);
    connection.session.restore_output(output, length, connection.now);
    assert!(!connection.session.is_full());
    assert_eq!(connection.action(), Action::Process);
    connection.process();
    assert_eq!(summary(&connection.written()), [(2, Ok(b"waits".to_vec()))]);
    assert_eq!((connection.action(), server.status().bytes_sent > length as u64), (Action::Close, true));
}

#[test]
fn a_request_whose_id_is_in_flight_waits_for_the_first() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&[request(CONCURRENT, 1, b"first"), request(CONCURRENT, 1, b"second")].concat());
    assert_eq!(connection.dispatched.len(), 1);
    connection.serve_next();
    connection.process();
    connection.serve_next();
    let answers = summary(&connection.written());
    assert_eq!(answers, [(1, Ok(b"first".to_vec())), (1, Ok(b"second".to_vec()))]);
}

#[test]
fn after_the_end_of_input_answers_are_still_written() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b"late"));
    connection.end_of_input(false);
    assert_eq!(connection.action(), Action::AwaitHangUp);
    connection.serve_next();
    connection.process();
    assert_eq!(connection.action(), Action::Wait);
    assert_eq!(summary(&connection.written()), [(1, Ok(b"late".to_vec()))]);
    assert_eq!(connection.action(), Action::Close);
    assert_eq!(server.errors(), <[String; 0]>::default());
}

#[test]
fn requests_of_a_peer_that_is_gone_are_cancelled_before_they_begin() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    // The bytes that are processed with the end of the input had come before it.
    connection.session.receive(&request(CONCURRENT, 1, b"")[..], connection.now);
    let mut last = None;
    connection.session.end_of_input(
        || true,
        |dispatched| {
            // Its driver may start the handler at once.
            assert_eq!(dispatched.request().cancelled(), Some(CancelReason::PeerGone));
            last = Some(dispatched);
        },
    );
    let dispatched = last.unwrap();
    assert_eq!((connection.action(), connection.session.is_reset()), (Action::Wait, true));
    let call = dispatched.call();
    let answer = dispatched.serve(|_, _| unreachable!("the request is cancelled"));
    assert!(matches!(answer, Answer::Abandoned));
    connection.session.finish(call, answer, connection.now);
    connection.process();
    assert_eq!((connection.action(), connection.session.has_output()), (Action::Close, false));
    let status = server.status();
    assert_eq!((status.requests_cancelled, status.requests_in_flight), (1, 0));
}

#[test]
fn the_driver_is_not_asked_whether_the_peer_is_gone_if_no_request_is_in_flight() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b"quick"));
    connection.session.end_of_input(|| unreachable!("no request is in flight"), drop);
    assert_eq!(connection.action(), Action::Wait);
    assert_eq!(connection.written().len(), 1);
    assert_eq!(connection.action(), Action::Close);
}

#[test]
fn a_hang_up_cancels_what_is_in_flight() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    connection.end_of_input(false);
    assert_eq!(connection.action(), Action::AwaitHangUp);
    connection.session.reset();
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::PeerGone));
    assert_eq!(connection.action(), Action::Wait);
}

#[test]
fn a_part_of_a_message_at_the_end_of_input_is_an_error() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b"cut")[..9]);
    connection.end_of_input(false);
    assert_eq!(connection.action(), Action::Close);
    assert_eq!(server.errors().len(), 1);
}

#[test]
fn the_legacy_handler_starts_with_what_has_come_and_its_memory_is_released_later() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(b"*legacy");
    assert!(server.status().memory_bytes >= 7);
    assert_eq!(connection.action(), Action::ServeLegacy(b"*legacy".to_vec()));
    assert_eq!(connection.action(), Action::Close);
    connection.session.release_legacy();
    assert_eq!(server.status().memory_bytes, 0);
}

#[test]
fn the_legacy_wire_begins_after_the_answers_of_the_framed_one() {
    let server = Server::configured(|builder| {
        let mut config = running_process::broker::backend_sdk::ServerConfig::default();
        config.connection.reclassify = Reclassify::EveryMessage;
        builder.config(config).legacy_detector(|_| LegacyClassification::NotLegacy)
    });
    let mut connection = server.connect();
    connection.receive(&[request(CONCURRENT, 1, b"framed"), b"*legacy".to_vec()].concat());
    // Nothing more is read as frames.
    assert_eq!(connection.action(), Action::AwaitHangUp);
    connection.serve_next();
    connection.process();
    assert_eq!(connection.action(), Action::Wait);
    assert_eq!(summary(&connection.written()), [(1, Ok(b"framed".to_vec()))]);
    assert_eq!(connection.action(), Action::ServeLegacy(b"*legacy".to_vec()));
}

#[test]
fn a_cancelled_request_is_refused_and_ends_without_an_answer() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    connection.receive(&cancel(1));
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::Requested));
    assert_eq!(connection.refusal().reason(), RefusalReason::Cancelled);
    assert!(connection.session.take_progress() && !connection.session.take_progress());
    let call = connection.dispatched[0].call();
    connection.session.finish(call, payload(b"nobody reads it"), connection.now);
    // The same call ends once.
    connection.session.finish(call, payload(b"twice"), connection.now);
    assert_eq!(connection.written(), []);
    let status = server.status();
    assert_eq!((status.requests_cancelled, status.requests_answered, status.requests_in_flight), (1, 0, 0));
}

#[test]
fn a_deadline_of_the_peer_passes_with_the_time_that_the_driver_tells() {
    let server =
        Server::with_config(|config| config.connection.first_message_timeout = Duration::from_secs(3));
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b"")[..8]);
    let deadline = connection.session.deadline().unwrap();
    assert_eq!(deadline, connection.now + Duration::from_secs(3));
    connection.wait(Duration::from_secs(2));
    assert_eq!(connection.action(), Action::Read);
    connection.wait(Duration::from_secs(1));
    assert_eq!(connection.action(), Action::Close);
    assert_eq!(server.status().first_message_deadline_hit, 1);
}

#[test]
fn a_large_message_is_read_onto_the_end_of_the_receive_buffer() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b"small"));
    assert_eq!(connection.session.take_recv_buffer(), None);
    let large = request(INLINE, 2, &vec![7; MUCH]);
    connection.receive(&large[..4096]);
    let mut buffer = connection.session.take_recv_buffer().unwrap();
    buffer.extend_from_slice(&large[4096..]);
    connection.session.restore_recv_buffer(buffer, large.len() - 4096, connection.now);
    connection.process();
    assert_eq!(connection.written()[1].payload.len(), MUCH);
}

#[test]
fn sessions_can_be_sent_to_other_threads() {
    fn assert_send<T: Send>() {}
    assert_send::<ServerSession<super::Handler>>();
    assert_send::<Connection>();
}
