//! The daemon's side of one connection: the choice of its wire, its refusals, and its end.

use crate::common::watch::{Observed, Watched, run};
use crate::common::{Detector, SERVED, UNSERVED, chain, detectors, frame, framed, mux, probe, wire};
use prost::Message;
use running_process::broker::backend_sdk::{Connection, ConnectionConfig, ConnectionEvent, Reclassify};
use running_process::broker::protocol::{Frame, FrameKind, FrameRef, MAX_FRAME_BYTES};
use std::sync::Arc;
use std::time::Instant;

fn connection(detector: Detector) -> Connection<Detector> {
    Connection::new(Arc::new(mux(detector)), ConnectionConfig::default(), Instant::now())
}

fn every_message() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.reclassify = Reclassify::EveryMessage;
    config
}

fn request(id: u64, payload: &[u8]) -> Frame {
    frame(FrameKind::Request, id, payload)
}

/// Returns a request whose body is 42 bytes, which [`detectors::one_and_42`] takes for the legacy wire.
fn looks_legacy() -> Frame {
    let request = request(1, &[7; 32]);
    assert_eq!(request.encoded_len(), 42);
    request
}

#[test]
fn nothing_comes_of_nothing() {
    let mut connection = connection(detectors::never);
    assert!(connection.next_event().unwrap().is_none());
    connection.receive(&[], Instant::now());
    assert!(connection.next_event().unwrap().is_none());
    assert_eq!((connection.output(), connection.buffered()), (&[][..], 0));
}

#[test]
fn a_connection_that_ends_before_it_began_is_closed_once() {
    let seen = run(detectors::never, &ConnectionConfig::default(), &[], true).seen;
    assert_eq!(seen, [Observed::Closed]);
}

#[test]
fn a_request_is_answered_under_its_id_and_trace_context() {
    let mut connection = connection(detectors::never);
    let request = Frame { traceparent: "00-a-b-01".into(), tracestate: "v=1".into(), ..request(9, b"ping") };
    connection.receive(&wire(&request), Instant::now());
    let Some(ConnectionEvent::Request(mut received)) = connection.next_event().unwrap() else {
        panic!("a request came")
    };
    assert_eq!(received.payload(), b"ping");
    received.respond(b"pong").unwrap();
    let response = Frame { kind: 1, payload: b"pong".to_vec(), ..request };
    assert_eq!(connection.output(), wire(&response));
}

#[test]
fn a_response_too_large_leaves_the_output_as_it_was_and_another_may_follow() {
    let mut connection = connection(detectors::never);
    connection.receive(&wire(&request(9, b"")), Instant::now());
    let Some(ConnectionEvent::Request(mut received)) = connection.next_event().unwrap() else {
        panic!("a request came")
    };
    assert!(received.respond(&vec![0; MAX_FRAME_BYTES]).is_err());
    received.respond(b"sorry").unwrap();
    assert_eq!(connection.output(), wire(&frame(FrameKind::Response, 9, b"sorry")));
}

#[test]
fn output_is_written_in_pieces_and_in_order() {
    let mut connection = connection(detectors::never);
    let frames = [request(1, b"a"), frame(FrameKind::Event, 2, b"b"), frame(FrameKind::Response, 3, b"c")];
    let mut written = Vec::new();
    for frame in &frames {
        connection.send(&frame.borrowed()).unwrap();
        written.extend_from_slice(&connection.output()[..3]);
        connection.output_written(3, Instant::now());
    }
    written.extend_from_slice(connection.output());
    connection.output_written(connection.output().len(), Instant::now());
    assert_eq!(written, frames.iter().flat_map(wire).collect::<Vec<u8>>());
    assert!(connection.output().is_empty());
}

#[test]
#[should_panic(expected = "1 bytes more are written than wait")]
fn more_cannot_be_written_than_there_is() {
    connection(detectors::never).output_written(1, Instant::now());
}

#[test]
fn what_was_sent_before_the_end_is_served_before_it() {
    let mut connection = connection(detectors::never);
    connection.receive(&[wire(&request(1, b"a")), wire(&request(2, b"b"))].concat(), Instant::now());
    connection.receive_eof();
    for _ in 0..2 {
        assert!(matches!(connection.next_event(), Ok(Some(ConnectionEvent::Request(_)))));
    }
    assert!(matches!(connection.next_event(), Ok(Some(ConnectionEvent::Closed))));
    assert!(matches!(connection.next_event(), Ok(None)));
}

#[test]
fn the_end_inside_a_frame_says_how_much_had_come() {
    let wire = wire(&request(1, b"ping"));
    for length in 1..wire.len() {
        let seen = run(detectors::never, &ConnectionConfig::default(), &[&wire[..length]], true).seen;
        let message = format!("the peer ended the connection {length} bytes into a message");
        assert_eq!(seen, [Observed::Failed(message)]);
    }
}

#[test]
fn after_an_error_there_are_no_more_events_but_the_bytes_are_still_held() {
    let refused = wire(&Frame { payload_protocol: UNSERVED, ..request(1, b"x") });
    let mut connection = connection(detectors::never);
    connection.receive(&[wire(&request(1, b"x")), refused.clone()].concat(), Instant::now());
    assert!(matches!(connection.next_event(), Ok(Some(ConnectionEvent::Request(_)))));
    assert!(connection.next_event().is_err());
    assert_eq!(connection.buffered(), refused.len());
    connection.receive(&wire(&request(2, b"y")), Instant::now());
    assert!(matches!(connection.next_event(), Ok(None)));
    connection.receive_eof();
    assert!(matches!(connection.next_event(), Ok(None)));
    assert!(connection.is_over());
    assert_eq!(connection.deadline(), None);
}

#[test]
fn what_was_answered_before_an_error_is_still_to_be_written() {
    let mut connection = connection(detectors::never);
    connection.receive(&[wire(&probe(1)), vec![1, 1, 0, 0, 1]].concat(), Instant::now());
    assert!(matches!(connection.next_event(), Ok(Some(ConnectionEvent::ProbeAnswered))));
    assert!(connection.next_event().is_err());
    assert!(!connection.output().is_empty());
}

#[test]
fn the_legacy_wire_is_handed_over_with_every_byte() {
    let stream = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*1\r\n$4\r\nPI";
    for length in 1..stream.len() {
        let stream = &stream[..length];
        let seen = run(detectors::asterisk, &ConnectionConfig::default(), &[stream], true).seen;
        assert_eq!(seen, [Observed::Legacy(stream.to_vec())]);
    }
}

#[test]
fn what_is_no_frame_and_was_never_framed_goes_to_the_old_decoder() {
    let seen = run(detectors::never, &ConnectionConfig::default(), &[b"GET / HTTP/1.1"], false).seen;
    assert_eq!(seen, [Observed::Legacy(b"GET / HTTP/1.1".to_vec())]);
}

#[test]
fn after_a_probe_the_legacy_wire_may_follow() {
    let stream = [wire(&probe(1)), wire(&probe(2)), b"*1\r\n".to_vec()].concat();
    let outcome = run(detectors::asterisk, &ConnectionConfig::default(), &[&stream], true);
    let seen = [Observed::ProbeAnswered, Observed::ProbeAnswered, Observed::Legacy(b"*1\r\n".to_vec())];
    assert_eq!(outcome.seen, seen);
    assert!(!outcome.output.is_empty(), "the answers are to be written before the old decoder writes");
}

#[test]
fn a_connection_stays_framed_for_later_frames_that_look_legacy() {
    let first = request(5, b"x");
    let stream = [wire(&first), wire(&looks_legacy())].concat();
    let config = ConnectionConfig::default();
    let seen = run(detectors::one_and_42, &config, &[&stream], true).seen;
    assert_eq!(seen, [Observed::Request(first.clone()), Observed::Request(looks_legacy()), Observed::Closed]);

    let seen = run(detectors::one_and_42, &every_message(), &[&stream], true).seen;
    assert_eq!(seen, [Observed::Request(first), Observed::Legacy(wire(&looks_legacy()))]);
}

#[test]
fn a_first_frame_that_looks_legacy_is_the_consumers() {
    let stream = wire(&looks_legacy());
    let seen = run(detectors::one_and_42, &ConnectionConfig::default(), &[&stream], true).seen;
    assert_eq!(seen, [Observed::Legacy(stream)]);
}

#[test]
fn on_a_framed_connection_a_foreign_byte_is_an_error() {
    let stream = [wire(&request(1, b"x")), b"*1\r\n".to_vec()].concat();
    let seen = run(detectors::asterisk, &ConnectionConfig::default(), &[&stream], false).seen;
    assert_eq!(
        seen[1],
        Observed::Failed(
            "the peer sent bytes that this daemon does not serve: \
             not a frame: framing version is 42, this side speaks 1"
                .into()
        )
    );
    let seen = run(detectors::asterisk, &every_message(), &[&stream], false).seen;
    assert_eq!(seen[1], Observed::Legacy(b"*1\r\n".to_vec()));
}

#[test]
fn a_length_and_version_header_is_told_from_a_frame_by_its_eighth_byte() {
    let legacy = [1, 1, 0, 0, 1, 0, 0, 0, 42];
    let config = ConnectionConfig::default();
    for cut in 0..legacy.len() {
        let (first, second) = legacy.split_at(cut);
        let mut watched = Watched::new(detectors::length_and_version, &config, Instant::now());
        watched.receive(first, Instant::now());
        assert_eq!(watched.outcome.seen.is_empty(), cut < 8, "{cut} bytes");
        watched.receive(second, Instant::now());
        assert_eq!(watched.outcome.seen, [Observed::Legacy(legacy.to_vec())]);
    }
    let request = request(1, b"ping");
    let seen = run(detectors::length_and_version, &config, &[&wire(&request)], false).seen;
    assert_eq!(seen, [Observed::Request(request)]);
}

/// Returns seven bytes: five of header, two of body. [`detectors::length_and_version`] needs one more.
fn seven_bytes() -> Vec<u8> {
    framed(&Frame { kind: 2, ..Frame::default() }.encode_to_vec())
}

#[test]
fn a_frame_too_short_for_the_detector_is_held_until_the_end_and_is_a_frame_then() {
    assert_eq!(seven_bytes().len(), 7);
    let config = ConnectionConfig::default();
    let held = run(detectors::length_and_version, &config, &[&seven_bytes()], false);
    assert_eq!(held.seen, []);
    let seen = run(detectors::length_and_version, &config, &[&seven_bytes()], true).seen;
    assert_eq!(
        seen,
        [Observed::Failed(
            "the peer sent bytes that this daemon does not serve: \
             payload protocol 0x0000 is first-party and not served by a daemon"
                .into()
        )]
    );

    let request = request(1, b"short");
    let seen = run(detectors::thirty_two, &config, &[&wire(&request)], true).seen;
    assert_eq!(seen, [Observed::Request(request), Observed::Closed]);
}

#[test]
fn at_the_end_what_the_detector_leaves_open_and_is_no_complete_frame_is_legacy() {
    let short_of_a_frame = &wire(&request(1, b"short"))[..15];
    for bytes in [&b"*"[..], &[1], &[1, 1, 0, 0, 1], short_of_a_frame, &framed(&[0xff])] {
        let seen = run(detectors::thirty_two, &ConnectionConfig::default(), &[bytes], true).seen;
        assert_eq!(seen, [Observed::Legacy(bytes.to_vec())]);
    }
}

#[test]
fn a_strict_connection_refuses_what_it_cannot_understand_and_a_lenient_one_hands_it_over() {
    let mut lenient = ConnectionConfig::default();
    lenient.strict = false;
    let good = request(1, b"x");
    let cases = [
        (Frame { envelope_version: 0, ..good.clone() }, "envelope version is 0, this side speaks 1"),
        (Frame { envelope_version: 2, ..good.clone() }, "envelope version is 2, this side speaks 1"),
        (Frame { kind: 4, ..good.clone() }, "frame kind 4 is unknown"),
        (Frame { payload_encoding: 1, ..good.clone() }, "payload encoding 1 is not accepted"),
        (Frame { payload_encoding: 4, ..good }, "payload encoding 4 is not accepted"),
    ];
    for (frame, message) in cases {
        let seen = run(detectors::never, &ConnectionConfig::default(), &[&wire(&frame)], true).seen;
        let refused = if frame.payload_encoding == 0 {
            vec![Observed::Failed(format!("the peer sent a frame that this daemon refuses: {message}"))]
        } else {
            vec![Observed::Refused(message.to_owned()), Observed::Closed]
        };
        assert_eq!(seen, refused);

        let handed_over = if frame.kind == 4 {
            Observed::UnknownKind(frame.clone())
        } else {
            Observed::Request(frame.clone())
        };
        let seen = run(detectors::never, &lenient, &[&wire(&frame)], true).seen;
        assert_eq!(seen, [handed_over, Observed::Closed]);
    }
}

#[test]
fn a_cancel_of_a_protocol_that_is_not_served_has_the_version_of_a_strict_connection() {
    let mut lenient = ConnectionConfig::default();
    lenient.strict = false;
    for payload_protocol in [0, UNSERVED] {
        let cancel = Frame { payload_protocol, ..frame(FrameKind::Cancel, 1, b"") };
        let other = Frame { envelope_version: 2, ..cancel.clone() };
        let seen = run(detectors::never, &ConnectionConfig::default(), &[&wire(&cancel)], false).seen;
        assert_eq!(seen, [Observed::Cancel(cancel)]);
        let seen = run(detectors::never, &ConnectionConfig::default(), &[&wire(&other)], false).seen;
        let message =
            "the peer sent a frame that this daemon refuses: envelope version is 2, this side speaks 1";
        assert_eq!(seen, [Observed::Failed(message.into())]);
        let seen = run(detectors::never, &lenient, &[&wire(&other)], false).seen;
        assert_eq!(seen, [Observed::Cancel(other)]);
    }
}

#[test]
fn a_connection_is_validated_by_a_probe_as_well() {
    let mut connection = connection(detectors::never);
    assert!(!connection.is_validated());
    connection.receive(&wire(&probe(1)), Instant::now());
    assert!(matches!(connection.next_event(), Ok(Some(ConnectionEvent::ProbeAnswered))));
    assert!(connection.is_validated());
}

#[test]
fn a_lenient_connection_still_refuses_a_malformed_probe() {
    let mut lenient = ConnectionConfig::default();
    lenient.strict = false;
    let malformed = Frame { envelope_version: 2, ..probe(1) };
    let mut connection = Connection::new(Arc::new(mux(detectors::never)), lenient, Instant::now());
    connection.receive(&wire(&malformed), Instant::now());
    assert_eq!(
        chain(&connection.next_event().unwrap_err()),
        "the peer sent bytes that this daemon does not serve: \
         malformed identity probe: probe has envelope version 2, this side speaks 1"
    );
}

#[test]
fn a_daemon_sends_requests_of_its_own_and_gets_their_responses() {
    let mut connection = connection(detectors::never);
    connection.send(&FrameRef::request(SERVED, 77, b"are you there")).unwrap();
    assert_eq!(connection.output(), wire(&request(77, b"are you there")));
    connection.receive(&wire(&frame(FrameKind::Response, 77, b"yes")), Instant::now());
    let Some(ConnectionEvent::Response(response)) = connection.next_event().unwrap() else {
        panic!("a response came")
    };
    assert_eq!((response.request_id, response.payload), (77, &b"yes"[..]));
}
