//! Descriptors on a connection with calls: the answers to a peer that asks, and the number that may wait.

use super::{Server, admit, server, written};
use crate::common::{PROBE, SERVED, UNSERVED, probe};
use running_process::broker::backend_sdk::{ConnectionError, DescriptorFault, Received, ServerEvent};
use running_process::broker::protocol::{DescriptorFields, FrameKind, FrameRef, try_decode_framed_ref};
use std::time::Instant;

const NONE: DescriptorFields = DescriptorFields::NONE;

fn wire(frame: FrameRef<'_>, descriptors: DescriptorFields) -> Vec<u8> {
    let mut wire = Vec::new();
    FrameRef { descriptors, ..frame }.encode_framed(&mut wire).unwrap();
    wire
}

fn request(id: u64, descriptors: DescriptorFields) -> Vec<u8> {
    wire(FrameRef::request(SERVED, id, b"x"), descriptors)
}

/// Returns a connection that takes three descriptors with a frame, and no more before they are taken.
fn accepting(max_in_flight: usize) -> (Server, Instant) {
    let (mut server, now) = server(|config| {
        (config.max_frame_descriptors, config.max_descriptors) = (3, 3);
        config.max_in_flight = max_in_flight;
    });
    server.accept_descriptors();
    (server, now)
}

/// Receives `bytes` with so many descriptors.
fn receive(server: &mut Server, bytes: &[u8], descriptors: usize, truncated: bool, now: Instant) {
    let received = Received::from(bytes).with_descriptors(descriptors, truncated);
    assert_eq!((received.descriptors(), received.is_truncated()), (descriptors, truncated));
    server.receive(received, now);
}

fn fault(server: &mut Server) -> DescriptorFault {
    match server.next_event() {
        Err(ConnectionError::Descriptors(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_and_events_of_a_client_that_asks_say_how_many_are_taken() {
    let (mut server, now) = accepting(9);
    let calls = admit(&mut server, &request(1, NONE.accepting(5)), now);
    assert_eq!(server.peer_descriptors(calls[0].1), 5);
    server.send_event(calls[0].1, b"event").unwrap();
    server.send_event_payload(calls[0].1, b"event").unwrap();
    server.respond(calls[0].1, b"answer").unwrap();
    assert_eq!(server.peer_descriptors(calls[0].1), 0, "it has ended");
    while let Some(decoded) = try_decode_framed_ref(server.output()).unwrap() {
        assert_eq!(decoded.frame.descriptors, NONE.accepting(3), "{:?}", decoded.frame);
        let consumed = decoded.consumed;
        server.output_written(consumed, now);
    }
    // Nothing is said to one that does not ask.
    let calls = admit(&mut server, &request(2, NONE), now);
    server.respond(calls[0].1, b"answer").unwrap();
    let answer = try_decode_framed_ref(server.output()).unwrap().unwrap().frame;
    assert_eq!(answer.descriptors, NONE);
}

#[test]
fn no_descriptors_are_read_ahead_of_a_request_that_waits_once_there_is_no_room_for_more() {
    let (mut server, now) = accepting(1);
    admit(&mut server, &request(1, NONE.accepting(1)), now);
    receive(&mut server, &request(2, NONE), 0, false, now);
    assert!(server.next_event().unwrap().is_none());
    assert!(server.is_blocked() && server.wants_input());
    receive(&mut server, &request(3, NONE.announcing(1)), 1, false, now);
    assert!(!server.wants_input());
}

#[test]
fn only_a_request_that_waits_on_a_connection_that_takes_some_may_have_asked() {
    for accepts in [true, false] {
        let (mut server, now) = server(|config| config.max_in_flight = 1);
        if accepts {
            server.accept_descriptors();
        }
        admit(&mut server, &request(1, NONE), now);
        assert!(!server.takes_descriptors());
        admit(&mut server, &request(2, NONE.accepting(1)), now);
        assert!(server.is_blocked());
        assert_eq!(server.takes_descriptors(), accepts);
    }
}

#[test]
fn once_descriptors_may_come_no_buffer_is_taken_for_a_large_message() {
    let (mut server, now) = accepting(9);
    admit(&mut server, &request(1, NONE), now);
    let large = wire(FrameRef::request(SERVED, 2, &vec![7; 100_000]), NONE.accepting(1));
    server.receive(&large[..100], now);
    assert!(server.next_event().unwrap().is_none());
    let mut buffer = server.take_recv_buffer().unwrap();
    buffer.extend_from_slice(&large[100..]);
    server.restore_recv_buffer(buffer, large.len() - 100, now);
    assert_eq!(admit(&mut server, b"", now).len(), 1);
    server.receive(&large[..100], now);
    assert!(server.next_event().unwrap().is_none());
    assert!(server.takes_descriptors() && server.take_recv_buffer().is_none());
}

#[test]
fn a_frame_that_does_not_ask_begins_no_counting() {
    let cancel = FrameRef { kind: FrameKind::Cancel.into(), ..FrameRef::request(UNSERVED, 1, &[]) };
    for frame in [wire(cancel, NONE), request(1, NONE.of_file(true)), request(1, NONE)] {
        let (mut server, now) = accepting(9);
        server.receive(&frame, now);
        assert!(server.next_event().unwrap().is_some());
        assert!(!server.takes_descriptors(), "{frame:x?}");
    }
}

#[test]
fn descriptors_that_the_system_has_dropped_end_the_connection_before_their_frame_is_whole() {
    let (mut server, now) = accepting(9);
    admit(&mut server, &request(1, NONE.accepting(1)), now);
    receive(&mut server, &request(2, NONE.announcing(1))[..3], 1, true, now);
    assert_eq!(fault(&mut server), DescriptorFault::Truncated);
}

#[test]
fn a_probe_has_no_descriptors_whether_it_announces_them_or_not() {
    let probe = probe(2);
    for (announced, fault) in
        [(0, DescriptorFault::Unannounced { came: 1 }), (1, DescriptorFault::NotTaken { announced: 1 })]
    {
        let (mut server, now) = accepting(9);
        admit(&mut server, &request(1, NONE.accepting(1)), now);
        let frame = FrameRef::request(PROBE, 2, &probe.payload);
        receive(&mut server, &wire(frame, NONE.announcing(announced)), 1, false, now);
        assert_eq!(self::fault(&mut server), fault);
    }
}

#[test]
fn a_client_that_asks_again_loses_none_that_wait() {
    let (mut server, now) = accepting(9);
    admit(&mut server, &request(1, NONE.accepting(1)), now);
    let both = [request(2, NONE.accepting(2)), request(3, NONE.announcing(1))];
    receive(&mut server, &both[0], 0, false, now);
    receive(&mut server, &both[1], 1, false, now);
    let mut counts = Vec::new();
    while let Some(ServerEvent::Request(call)) = server.next_event().unwrap() {
        counts.push(call.frame.descriptors.count());
        call.respond(b"").unwrap();
    }
    assert_eq!(counts, [0, 1]);
    assert_eq!(written(&mut server, now).len(), 2);
}
