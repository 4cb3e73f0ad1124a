//! The fields of a frame that are about descriptors, and a connection that takes some.

use crate::common::{SERVED, daemon, detectors, mux, probe, wire};
use prost::Message;
use running_process::broker::backend_sdk::{
    Connection, ConnectionConfig, ConnectionError, ConnectionEvent, DescriptorFault, Received,
};
use running_process::broker::protocol::{DescriptorFields, Frame, FrameRef, try_decode_framed_ref};
use std::sync::Arc;
use std::time::Instant;

/// As docs/wire.md shows it.
const ASKING: &[u8] = b"\x01\x0f\x00\x00\x00\x08\x01\x18\xe3\xf4\x01\x22\x02\x6f\x6b\x28\x01\xd0\x3e\x10";

fn encoded(frame: &FrameRef<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    frame.encode_framed(&mut wire).expect("it fits");
    wire
}

fn request(id: u64, descriptors: DescriptorFields) -> Vec<u8> {
    encoded(&FrameRef { descriptors, ..FrameRef::request(SERVED, id, b"x") })
}

/// Returns a connection that takes at most three descriptors with a frame.
fn connection(now: Instant) -> Connection<crate::common::Detector> {
    let mut config = ConnectionConfig::default();
    (config.max_frame_descriptors, config.max_descriptors) = (3, 3);
    Connection::new(Arc::new(mux(detectors::never)), config, now)
}

#[test]
fn the_fields_are_written_as_documented_and_a_reader_of_before_skips_them() {
    let fields = DescriptorFields::NONE.accepting(16);
    let asking = FrameRef { descriptors: fields, ..FrameRef::request(0x7A63, 1, b"ok") };
    assert_eq!(encoded(&asking), ASKING);
    let all = DescriptorFields::NONE.announcing(253).accepting(200).of_file(true);
    let frame = FrameRef { descriptors: all, accepted_encodings: 9, ..asking };
    let bytes = encoded(&frame);
    assert!(bytes.ends_with(b"\xc0\x3e\x09\xc8\x3e\xfd\x01\xd0\x3e\xc8\x01\xd8\x3e\x01"));
    assert_eq!(try_decode_framed_ref(&bytes).unwrap().unwrap().frame, frame);
    let skipped = Frame::decode(&bytes[5..]).unwrap();
    assert_eq!(skipped, Frame::request(0x7A63, b"ok".to_vec()).with_request_id(1));
    assert_eq!((all.count(), all.accepted(), all.is_file()), (253, 200, true));
}

#[test]
fn numbers_that_no_frame_can_have_are_the_largest_and_a_value_of_another_type_is_skipped() {
    let body = |field: &[u8]| FrameRef::decode(field).unwrap_or_default().descriptors;
    assert_eq!(body(b"\xc8\x3e\x80\x02"), DescriptorFields::NONE.announcing(255));
    assert_eq!(
        body(b"\xd0\x3e\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        DescriptorFields::NONE.accepting(255)
    );
    assert_eq!(body(b"\xd8\x3e\x05"), DescriptorFields::NONE.of_file(true));
    assert_eq!(body(b"\xc8\x3e\x02\xc8\x3e\x01"), DescriptorFields::NONE.announcing(1));
    assert_eq!(body(b"\xca\x3e\x01\x07"), DescriptorFields::NONE);
}

#[test]
fn a_connection_that_takes_none_says_nothing_and_ends_at_a_frame_with_some() {
    let now = Instant::now();
    let mut connection = connection(now);
    connection.receive(&request(1, DescriptorFields::NONE.accepting(5)), now);
    let Some(ConnectionEvent::Request(mut asked)) = connection.next_event().unwrap() else { panic!() };
    assert_eq!(asked.frame.descriptors, DescriptorFields::NONE);
    asked.respond(b"answer").unwrap();
    let answer = try_decode_framed_ref(connection.output()).unwrap().unwrap().frame;
    assert_eq!(answer.descriptors, DescriptorFields::NONE);
    assert!(!connection.takes_descriptors());
    connection.receive(&request(2, DescriptorFields::NONE.announcing(1)), now);
    let error = connection.next_event().unwrap_err();
    assert!(
        matches!(error, ConnectionError::Descriptors(DescriptorFault::NotTaken { announced: 1 })),
        "{error}"
    );
}

#[test]
fn a_request_and_a_probe_ask_how_many_are_taken_and_the_answer_says_it() {
    let now = Instant::now();
    let mut connections = [connection(now), connection(now)];
    let [asked_by_request, asked_by_probe] = &mut connections;
    asked_by_request.accept_descriptors();
    asked_by_request.receive(&request(1, DescriptorFields::NONE.accepting(5)), now);
    let Some(ConnectionEvent::Request(mut asked)) = asked_by_request.next_event().unwrap() else { panic!() };
    assert_eq!(asked.frame.descriptors.accepted(), 5);
    asked.respond(b"answer").unwrap();
    asked_by_probe.accept_descriptors();
    let asking = probe(1);
    let asking = encoded(&FrameRef { descriptors: DescriptorFields::NONE.accepting(1), ..asking.borrowed() });
    asked_by_probe.receive(&asking, now);
    assert!(matches!(asked_by_probe.next_event(), Ok(Some(ConnectionEvent::ProbeAnswered))));
    for connection in &mut connections {
        let answer = try_decode_framed_ref(connection.output()).unwrap().unwrap().frame;
        assert_eq!(answer.descriptors, DescriptorFields::NONE.accepting(3));
        assert!(connection.takes_descriptors() && connection.take_recv_buffer().is_none());
    }
}

#[test]
fn a_probe_that_does_not_ask_is_answered_as_before() {
    let now = Instant::now();
    let mut connection = connection(now);
    connection.accept_descriptors();
    connection.receive(&wire(&probe(1)), now);
    assert!(matches!(connection.next_event(), Ok(Some(ConnectionEvent::ProbeAnswered))));
    let mut expected = vec![7; 32];
    expected.extend(daemon().to_proto().encode_to_vec());
    let answer = try_decode_framed_ref(connection.output()).unwrap().unwrap().frame;
    assert!(answer.payload.starts_with(&expected[..32]) && answer.descriptors == DescriptorFields::NONE);
    assert!(!connection.takes_descriptors());
}

#[test]
fn frames_say_which_descriptors_are_theirs_however_their_bytes_are_cut() {
    let now = Instant::now();
    let frames = [0, 2, 3, 0, 1].map(|count| request(9, DescriptorFields::NONE.announcing(count)));
    for step in 1..=frames.concat().len() {
        let mut connection = connection(now);
        connection.accept_descriptors();
        connection.receive(&request(8, DescriptorFields::NONE.accepting(1)), now);
        assert!(matches!(connection.next_event(), Ok(Some(ConnectionEvent::Request(_)))));
        let mut counts = Vec::new();
        for (frame, count) in frames.iter().zip([0, 2, 3, 0, 1]) {
            for (index, bytes) in frame.chunks(step).enumerate() {
                let came = if index == 0 { count } else { 0 };
                connection.receive(Received::from(bytes).with_descriptors(came, false), now);
                while let Some(ConnectionEvent::Request(request)) = connection.next_event().unwrap() {
                    counts.push(request.frame.descriptors.count());
                }
            }
        }
        assert_eq!(counts, [0, 2, 3, 0, 1], "{step} bytes at a time");
    }
}
