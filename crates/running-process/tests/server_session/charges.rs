//! The memory that a session is charged with, and the moment of each charge.

use super::{CONCURRENT, Connection, INLINE, Server, cancel, payload, request, summary};
use running_process::broker::backend_sdk::{
    Action, Answer, CancelReason, HandlerError, SendEventError, ServerConfig,
};
use running_process::broker::protocol::RefusalReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const KIB: usize = 1024;

/// Returns a server with memory for less than a megabyte.
fn small() -> Server {
    Server::with_config(little)
}

fn little(config: &mut ServerConfig) {
    config.max_connections = 1;
    config.memory_limit = 600 * KIB;
}

/// Lets a second pass, after which empty buffers are released.
fn charged_at_rest(server: &Server, connection: &mut Connection) -> u64 {
    connection.written();
    connection.wait(Duration::from_secs(1));
    server.status().memory_bytes
}

#[test]
fn a_connection_whose_requests_have_ended_is_charged_with_nothing_after_a_while() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&[request(CONCURRENT, 1, &vec![7; 50 * KIB]), request(CONCURRENT, 2, b"")].concat());
    assert!(server.status().memory_bytes > 50 * 1024);
    for _ in 0..2 {
        connection.serve_next();
    }
    assert_eq!(charged_at_rest(&server, &mut connection), 0);
}

#[test]
fn an_answer_that_nobody_waits_for_is_not_charged() {
    for reset in [false, true] {
        let server = small();
        let mut connection = server.connect();
        connection.receive(&request(CONCURRENT, 1, b""));
        let call = connection.dispatched[0].call();
        if reset {
            connection.session.reset();
        } else {
            connection.receive(&cancel(1));
        }
        connection.session.finish(call, payload(&vec![7; 900 * KIB]), connection.now);
        connection.process();
        assert_eq!((connection.session.is_reset(), server.errors()), (reset, Vec::new()));
        assert_eq!(server.status().memory_limit_hit, 0);
    }
}

#[test]
fn an_event_of_a_connection_that_is_reset_is_not_charged() {
    let server = small();
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    connection.session.reset();
    let sent = connection.session.send_event(connection.dispatched[0].call(), &vec![7; 900 * KIB]);
    assert!(matches!(sent, Err(SendEventError::Cancelled)));
    assert_eq!((server.errors(), server.status().memory_limit_hit), (Vec::new(), 0));
}

#[test]
fn what_comes_after_a_reset_is_no_second_failure() {
    let server = small();
    let mut connection = server.connect();
    connection.session.reset();
    connection.receive(&request(CONCURRENT, 1, &vec![7; 900 * KIB]));
    assert_eq!((server.errors(), server.status().memory_limit_hit), (Vec::new(), 0));
}

#[test]
fn the_memory_of_a_request_is_released_with_its_end_although_nothing_is_written() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, &vec![7; 300 * KIB]));
    connection.receive(&cancel(1));
    let before = server.status().memory_bytes;
    let call = connection.dispatched[0].call();
    connection.session.finish(call, payload(b"late"), connection.now);
    assert!(server.status().memory_bytes + 300 * 1024 <= before);
}

#[test]
fn once_there_is_no_memory_for_an_inline_answer_nothing_more_is_run_and_all_is_cancelled() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let server = Server::configured(|builder| {
        let mut config = ServerConfig::default();
        little(&mut config);
        builder.config(config).serve_inline(0x7010, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(vec![7; 900 * KIB])
        })
    });
    let mut connection = server.connect();
    let requests = [request(CONCURRENT, 1, b""), request(0x7010, 2, b""), request(0x7010, 3, b"")];
    connection.receive(&requests.concat());
    assert!(connection.session.is_reset());
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(connection.dispatched[0].request().cancelled(), Some(CancelReason::PeerGone));
    assert_eq!((server.errors().len(), server.status().requests_answered), (1, 0));
}

#[test]
fn a_request_waits_for_memory_that_unwritten_output_has() {
    let server = small();
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, &vec![7; 100 * KIB]));
    assert!(connection.session.has_output() && connection.session.in_flight() == 0);
    connection.receive(&request(CONCURRENT, 2, &vec![7; 100 * KIB]));
    assert_eq!((connection.dispatched.len(), server.status().memory_limit_hit), (0, 0), "it waits");
    assert_eq!(summary(&connection.written()).len(), 1);
    assert_eq!(connection.dispatched.len(), 1);
}

#[test]
fn a_session_that_is_closed_cancels_its_requests_and_is_no_failure() {
    let server = Server::with_config(|_| {});
    let mut ended = server.connect();
    ended.receive(&request(CONCURRENT, 1, b""));
    ended.end_of_input(false);
    assert_eq!(ended.action(), Action::AwaitHangUp);
    ended.session.close();
    assert_eq!(ended.dispatched[0].request().cancelled(), Some(CancelReason::PeerGone));
    assert!(ended.session.is_reset());

    let mut idle = server.connect();
    idle.session.close();
    assert!(idle.session.is_reset(), "nothing more is read");

    let mut over = server.connect();
    over.end_of_input(false);
    assert_eq!(over.action(), Action::Close);
    over.session.close();
    assert!(!over.session.is_reset() && server.errors().is_empty());
}

#[test]
fn a_failure_of_a_handler_is_told_only_if_its_peer_waits() {
    let failed = || Answer::Failed(HandlerError::Failed("the disk is full".into()));
    for (cancels, resets, told) in [(false, false, 1), (true, false, 0), (false, true, 0)] {
        let server = Server::with_config(|_| {});
        let mut connection = server.connect();
        connection.receive(&request(CONCURRENT, 1, b""));
        if cancels {
            connection.receive(&cancel(1));
        }
        if resets {
            connection.session.reset();
        }
        let call = connection.dispatched[0].call();
        connection.session.finish(call, failed(), connection.now);
        assert_eq!(server.errors().len(), told, "cancelled {cancels}, reset {resets}");
    }
}

#[test]
fn a_peer_that_the_driver_refuses_is_told_so() {
    use running_process::broker::protocol::Refusal;
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.session.refuse_peer(Refusal::new(RefusalReason::NotAuthorized, "not today"));
    connection.receive(&request(INLINE, 1, b""));
    assert_eq!(connection.refusal().message, "not today");
}

#[test]
fn a_payload_of_many_megabytes_reaches_its_handler_whole() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    let sent: Vec<u8> = (0..5 << 20).map(|index: u32| index.to_le_bytes()[1]).collect();
    connection.receive(&request(CONCURRENT, 1, &sent));
    assert!(connection.dispatched[0].request().frame().payload == sent);
    connection.receive(&request(CONCURRENT, 2, b"next"));
    assert_eq!(connection.dispatched[1].request().frame().payload, b"next");
}

#[test]
fn a_session_is_shown_with_its_requests_in_flight() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(CONCURRENT, 1, b""));
    let shown = format!("{:?}", connection.session);
    assert!(shown.contains("in_flight: 1") && shown.contains("Serving"), "{shown}");
}

#[test]
fn a_server_that_drains_reads_into_the_buffer_of_its_driver() {
    use running_process::broker::backend_sdk::Phase;
    let server = Server::with_config(|_| {});
    let large = request(INLINE, 2, &vec![7; 200 * KIB]);
    for (phase, taken) in [(Phase::HandedOver, true), (Phase::Draining, false)] {
        let mut connection = server.connect();
        connection.receive(&[&request(INLINE, 1, b"")[..], &large[..4 * KIB]].concat());
        connection.session.enter(phase, connection.now);
        assert_eq!(connection.session.take_recv_buffer().is_some(), taken, "{phase:?}");
    }
}

#[test]
fn an_encoded_payload_that_is_damaged_is_refused_and_a_whole_one_is_decoded() {
    use running_process::broker::protocol::{Encodings, FrameRef, encode_payload};
    for encoding in Encodings::SUPPORTED.iter() {
        let server = Server::with_config(|_| {});
        let mut connection = server.connect();
        for protocol in [INLINE, CONCURRENT] {
            let mut wire = Vec::new();
            let damaged =
                FrameRef { payload_encoding: encoding.into(), ..FrameRef::request(protocol, 1, b"?") };
            damaged.encode_framed(&mut wire).unwrap();
            connection.receive(&wire);
            assert_eq!(connection.refusal().reason(), RefusalReason::BadEncoding, "{encoding:?}");
        }
        let (sent, mut payload, mut wire) = ([7; 1000], Vec::new(), Vec::new());
        encode_payload(encoding, &sent, &mut payload).unwrap();
        let whole = FrameRef { payload_encoding: encoding.into(), ..FrameRef::request(INLINE, 2, &payload) };
        whole.encode_framed(&mut wire).unwrap();
        connection.receive(&wire);
        assert_eq!(summary(&connection.written()), [(2, Ok(sent.to_vec()))]);
        assert_eq!(server.errors(), <[String; 0]>::default());
    }
}
