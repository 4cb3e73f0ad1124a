//! A session whose server was handed over: it serves on, and tells a peer that follows, once.

use super::{CONCURRENT, Connection, INLINE, Server, request, summary};
use running_process::broker::backend_sdk::{Action, Phase};
use running_process::broker::protocol::{Frame, FrameKind, FrameRef, Notice, NoticeKind, WANTS_MOVED};

/// Encodes a request of a peer that follows.
fn following_request(payload_protocol: u32, request_id: u64, payload: &[u8]) -> Vec<u8> {
    let request = FrameRef::request(payload_protocol, request_id, payload);
    let mut wire = Vec::new();
    FrameRef { accepted_encodings: WANTS_MOVED, ..request }.encode_framed(&mut wire).unwrap();
    wire
}

/// Removes the notices from `frames`, and returns how many there were.
fn take_moved(frames: &mut Vec<Frame>) -> usize {
    let before = frames.len();
    frames.retain(|frame| {
        frame.kind != i32::from(FrameKind::Event)
            || Notice::from_frame(&frame.borrowed()).is_none_or(|notice| notice.kind() != NoticeKind::Moved)
    });
    before - frames.len()
}

/// Makes the server of `connection` be handed over, as a driver does. Returns what the peer reads.
fn hand_over(connection: &mut Connection) -> Vec<Frame> {
    assert!(!connection.session.enter(Phase::HandedOver, connection.now), "reading goes on");
    connection.process();
    connection.written()
}

#[test]
fn a_peer_that_follows_is_told_once_and_served_on() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&following_request(CONCURRENT, 1, b"before"));
    connection.receive(&following_request(INLINE, 2, b"before"));
    connection.written();
    let mut told = hand_over(&mut connection);
    assert_eq!((take_moved(&mut told), told), (1, vec![]));
    for id in 3..6 {
        connection.receive(&following_request(INLINE, id, b"after"));
        assert_eq!(summary(&connection.written()), [(id, Ok(b"after".to_vec()))]);
    }
    connection.serve_next();
    connection.process();
    assert_eq!(summary(&connection.written()), [(1, Ok(b"before".to_vec()))]);
    assert_eq!(hand_over(&mut connection), []);
    assert_eq!(connection.action(), Action::Read);
}

#[test]
fn a_peer_that_does_not_follow_is_never_told() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&request(INLINE, 1, b"before"));
    connection.written();
    assert_eq!(hand_over(&mut connection), []);
    connection.receive(&request(INLINE, 2, b"after"));
    assert_eq!(summary(&connection.written()), [(2, Ok(b"after".to_vec()))]);
}

#[test]
fn a_peer_whose_first_request_comes_after_the_handover_is_told_with_its_answer() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    assert_eq!(hand_over(&mut connection), []);
    connection.receive(&following_request(INLINE, 1, b"first"));
    let mut answers = connection.written();
    assert_eq!(take_moved(&mut answers), 1);
    assert_eq!(summary(&answers), [(1, Ok(b"first".to_vec()))]);
}

#[test]
fn a_connection_of_the_legacy_wire_is_handed_to_its_handler_after_the_handover_too() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    assert_eq!(hand_over(&mut connection), []);
    connection.receive(b"\x7fold");
    assert_eq!(connection.action(), Action::ServeLegacy(b"\x7fold".to_vec()));
}

#[test]
fn a_peer_that_sends_nothing_more_or_is_gone_is_not_told() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&following_request(CONCURRENT, 1, b"last"));
    connection.end_of_input(false);
    assert_eq!(hand_over(&mut connection), []);
    let mut connection = server.connect();
    connection.receive(&following_request(CONCURRENT, 1, b"last"));
    connection.session.reset();
    assert_eq!(hand_over(&mut connection), []);
}

#[test]
fn a_server_that_was_handed_over_drains_in_the_end() {
    let server = Server::with_config(|_| {});
    let mut connection = server.connect();
    connection.receive(&following_request(INLINE, 1, b"before"));
    connection.written();
    hand_over(&mut connection);
    assert!(connection.session.enter(Phase::Draining, connection.now));
    connection.receive(&following_request(INLINE, 2, b"arrived"));
    connection.end_of_input(false);
    assert_eq!(summary(&connection.written()), [(2, Ok(b"arrived".to_vec()))]);
    assert_eq!(connection.action(), Action::Close);
}
