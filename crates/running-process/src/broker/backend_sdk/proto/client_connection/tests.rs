//! Descriptors on a client's connection, counted without a socket.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use super::*;
use crate::broker::backend_sdk::proto::descriptors::DescriptorFault;
use crate::broker::protocol::{Notice, NoticeKind, Refusal, RefusalReason, try_decode_framed_ref};
use prost::Message;

const SERVED: u32 = 0xF00D;

/// Returns a client that has asked how many descriptors the daemon takes, and takes `accepted` itself.
fn asking(accepted: u8) -> (ClientConnection, RequestId) {
    let mut client = ClientConnection::new();
    let id = ask(&mut client, accepted);
    (client, id)
}

fn ask(client: &mut ClientConnection, accepted_descriptors: u8) -> RequestId {
    let head = RequestHead { accepted_descriptors, ..RequestHead::default() };
    client.send_request_with(SERVED, b"ping", &head).unwrap()
}

/// Reads as a driver does: `bytes` come with so many descriptors.
fn read(client: &mut ClientConnection, bytes: &[u8], descriptors: usize) {
    client.receive_buffer().extend_from_slice(bytes);
    client.count_read(bytes.len(), descriptors, false);
}

fn wire(frame: FrameRef<'_>, descriptors: DescriptorFields) -> Vec<u8> {
    let mut wire = Vec::new();
    FrameRef { descriptors, ..frame }.encode_framed(&mut wire).unwrap();
    wire
}

fn answer(id: RequestId, descriptors: DescriptorFields) -> Vec<u8> {
    wire(FrameRef::response_to(&FrameRef::request(SERVED, id.0, &[]), b"pong"), descriptors)
}

fn announcing(count: u8) -> DescriptorFields {
    DescriptorFields::NONE.announcing(count)
}

fn fault(client: &mut ClientConnection) -> DescriptorFault {
    match client.next_event() {
        Err(ClientConnectionError::Descriptors(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_says_how_many_descriptors_its_client_takes() {
    let (client, _) = asking(3);
    let sent = try_decode_framed_ref(client.output()).unwrap().unwrap().frame;
    assert_eq!(sent.descriptors, DescriptorFields::NONE.accepting(3));
    assert!(client.takes_descriptors());
    let (client, _) = asking(0);
    let sent = try_decode_framed_ref(client.output()).unwrap().unwrap().frame;
    assert_eq!(sent.descriptors, DescriptorFields::NONE);
    assert!(!client.takes_descriptors());
}

#[test]
fn a_daemon_that_was_not_asked_must_send_none() {
    let (mut client, id) = asking(0);
    client.receive(&answer(id, announcing(1)));
    assert_eq!(fault(&mut client), DescriptorFault::NotTaken { announced: 1 });
    assert!(client.next_event().unwrap().is_none());
}

#[test]
fn the_last_frame_that_says_it_tells_how_many_the_daemon_takes() {
    let (mut client, first) = asking(2);
    let second = ask(&mut client, 2);
    assert_eq!(client.daemon_descriptors(), 0);
    for (id, said, known) in [(first, 3, 3), (second, 0, 3)] {
        read(&mut client, &answer(id, DescriptorFields::NONE.accepting(said)), 0);
        assert!(matches!(client.next_event(), Ok(Some(ClientEvent::Response(..)))));
        assert_eq!(client.daemon_descriptors(), known);
    }
}

#[test]
fn a_client_gets_an_answer_with_the_number_of_its_descriptors() {
    let (mut client, id) = asking(3);
    let answer = answer(id, announcing(2));
    read(&mut client, &answer[..1], 2);
    assert!(client.next_counted_event().unwrap().is_none());
    read(&mut client, &answer[1..], 0);
    let Some(ClientEvent::Response(of, (frame, fields))) = client.next_counted_event().unwrap() else {
        panic!("a response came")
    };
    assert_eq!((of, &frame.payload[..], fields.count()), (id, &b"pong"[..], 2));
    assert_eq!(client.take_dropped_descriptors(), 0);
}

#[test]
fn the_descriptors_of_two_frames_may_wait_and_no_more() {
    for (asked, most) in [(&[3][..], 3), (&[3, 4], 4), (&[4, 3], 4), (&[1], 1)] {
        let mut client = ClientConnection::new();
        for accepted in asked {
            ask(&mut client, *accepted);
        }
        for _ in 0..2 {
            read(&mut client, b"\x01", most);
            assert!(client.next_event().unwrap().is_none(), "{asked:?}");
        }
        read(&mut client, b"\0", 1);
        let too_many = DescriptorFault::TooMany { came: 2 * most + 1, limit: 2 * most };
        assert_eq!(fault(&mut client), too_many, "{asked:?}");
    }
}

#[test]
fn bytes_that_came_before_the_client_asked_have_no_descriptors() {
    let (mut client, first) = asking(0);
    let event =
        wire(FrameRef { kind: FrameKind::Event.into(), ..FrameRef::request(SERVED, 9, &[]) }, announcing(0));
    client.receive(&event);
    let second = ask(&mut client, 1);
    read(&mut client, &answer(second, announcing(1)), 1);
    read(&mut client, &answer(first, announcing(0)), 0);
    assert!(matches!(client.next_event(), Ok(Some(ClientEvent::Event(_)))));
    for expected in [second, first] {
        let event = client.next_event().unwrap();
        assert!(matches!(event, Some(ClientEvent::Response(id, _)) if id == expected), "{event:?}");
    }
}

#[test]
fn descriptors_of_frames_that_are_dropped_are_counted_for_the_driver() {
    let (mut client, given_up) = asking(9);
    let refused = ask(&mut client, 9);
    client.cancel(given_up);
    read(&mut client, &answer(given_up, announcing(2)), 2);
    let refusal = Refusal::new(RefusalReason::Overloaded, "full").encode_to_vec();
    let frame = FrameRef::refusal_of(&FrameRef::request(SERVED, refused.0, &[]), &refusal);
    read(&mut client, &wire(frame, announcing(3)), 3);
    let notice = Notice::new(NoticeKind::Moved).encode_to_vec();
    read(&mut client, &wire(FrameRef::notice(&notice), announcing(4)), 4);
    assert!(matches!(client.next_event(), Ok(Some(ClientEvent::Refused(id, _))) if id == refused));
    assert_eq!(client.take_dropped_descriptors(), 2 + 3);
    assert!(matches!(client.next_event(), Ok(Some(ClientEvent::Moved))));
    assert_eq!(client.take_dropped_descriptors(), 4);
    assert_eq!(client.take_dropped_descriptors(), 0);
}

/// Returns a client that wants to be told of a move and has asked nothing but a probe, whose answer says what the daemon accepts.
fn probed(accepted_encodings: u32, descriptors: DescriptorFields) -> ClientConnection {
    let mut client = ClientConnection::new();
    client.want_moved();
    let probe = client.send_request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, b"nonce").unwrap();
    client.output_written(client.unwritten());
    let asked = FrameRef::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, probe.0, &[]);
    let answer = FrameRef { accepted_encodings, ..FrameRef::response_to(&asked, b"pong") };
    read(&mut client, &wire(answer, descriptors), 0);
    assert!(matches!(client.next_event(), Ok(Some(ClientEvent::Response(..)))));
    client
}

/// Checks that the next request tells the daemon of the wish, and the one behind it does not.
fn assert_tells_once(client: &mut ClientConnection) {
    let own = EncodingPolicy::default().accepted().bits();
    for told in [own | WANTS_MOVED, own] {
        client.send_request(SERVED, b"ping").unwrap();
        assert_eq!(accepted(client), told);
        client.output_written(client.unwritten());
    }
}

/// Returns the encodings that the first frame of the output accepts.
fn accepted(client: &ClientConnection) -> u32 {
    try_decode_framed_ref(client.output()).unwrap().unwrap().frame.accepted_encodings
}

/// A daemon may say which encodings it takes before it gets a request: with the answer to a probe.
#[test]
fn a_daemon_that_has_listed_encodings_is_told_that_its_move_is_of_interest() {
    assert_tells_once(&mut probed(0b1110, DescriptorFields::NONE));
}

#[test]
fn descriptors_that_the_system_has_dropped_end_the_connection_before_their_frame_is_whole() {
    let (mut client, _) = asking(3);
    client.receive_buffer().push(1);
    client.count_read(1, 1, true);
    assert_eq!(fault(&mut client), DescriptorFault::Truncated);
}

#[cfg(feature = "tokio")]
#[test]
fn a_request_is_pending_until_it_is_answered() {
    let (mut client, id) = asking(0);
    assert!(client.has_pending());
    client.receive(&answer(id, announcing(0)));
    assert!(client.next_event().unwrap().is_some());
    assert!(!client.has_pending());
}

/// The wish to be told of a move goes with the first request. If that is not sent, the next one has it.
#[cfg(unix)]
#[test]
fn the_wish_to_be_told_of_a_move_outlives_a_request_that_the_system_does_not_send() {
    use std::os::fd::OwnedFd;
    let mut client = probed(0, DescriptorFields::NONE.accepting(1));
    let file = OwnedFd::from(tempfile::tempfile().unwrap());
    let payload = Payload::from(b"ping").with_descriptors([file]);
    let unsent = client.send_payload(SERVED, payload, &RequestHead::default()).unwrap();
    assert_eq!(accepted(&client) & WANTS_MOVED, WANTS_MOVED);
    assert_eq!(client.remove_unsent(), Some(unsent));
    assert_tells_once(&mut client);
}

#[cfg(unix)]
#[test]
fn a_request_with_descriptors_that_the_system_does_not_send_is_taken_back() {
    use std::os::fd::OwnedFd;
    let (mut client, first) = asking(1);
    client.output_written(client.unwritten());
    read(&mut client, &answer(first, DescriptorFields::NONE.accepting(1)), 0);
    assert!(client.next_event().unwrap().is_some());
    let file = OwnedFd::from(tempfile::tempfile().unwrap());
    let payload = Payload::from(b"ping").with_descriptors([file]);
    let head = RequestHead::default();
    let id = client.send_payload(SERVED, payload, &head).unwrap();
    assert_eq!(client.output_descriptors().len(), 1);
    assert_eq!(client.unwritten(), client.output().len());
    let behind = client.send_payload(SERVED, b"behind".into(), &head).unwrap();
    assert_eq!(client.remove_unsent(), Some(id));
    assert!(!client.is_pending(id));
    let unwritten = client.unwritten();
    assert_eq!(client.unwritten_requests().collect::<Vec<_>>(), [(behind, unwritten)]);
    client.output_written(unwritten);
    assert_eq!((client.unwritten_requests().count(), client.output_descriptors().len()), (0, 0));
    let plain = client.send_payload(SERVED, b"ping".into(), &head).unwrap();
    assert_eq!(client.remove_unsent(), None);
    assert!(client.is_pending(plain));
}

#[test]
fn a_large_payload_with_nothing_behind_it_has_room_as_well() {
    let payload = vec![7; 100_000];
    let event = FrameRef { kind: FrameKind::Event.into(), ..FrameRef::request(SERVED, 0, &payload) };
    let wire = wire(event, DescriptorFields::NONE);
    let mut client = ClientConnection::new();
    client.receive(&wire[..100]);
    let tail = client.receive_buffer();
    assert!(tail.capacity() - tail.len() >= 64 * 1024);
    client.receive(&wire[100..]);
    let Some(ClientEvent::Event(frame)) = client.next_owned_event().unwrap() else { panic!("an event came") };
    assert!(frame.payload == payload);
}
