//! The results of `poll`: rule by rule, in their order, for every cut of the bytes.

use crate::common::{
    Detector, PROBE, SERVED, UNSERVED, chain, daemon, detectors, frame, framed, mux, probe, streams, wire,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use running_process::broker::backend_lifecycle::probe::{
    EndpointProbeServerError, MAX_PROBE_REQUEST_BYTES, endpoint_probe_request_from_frame,
    endpoint_probe_response_frame,
};
use running_process::broker::backend_sdk::{
    BackendEndpointMux, LegacyClassification, MuxError, MuxPoll, MuxPollRef,
};
use running_process::broker::protocol::registry::FIRST_PARTY_PAYLOAD_PROTOCOLS;
use running_process::broker::protocol::{Frame, FrameKind, FramingError};
use std::cell::RefCell;

const KINDS: [FrameKind; 4] = [FrameKind::Request, FrameKind::Response, FrameKind::Event, FrameKind::Cancel];

fn poll(bytes: &[u8]) -> Result<MuxPoll, MuxError> {
    mux(detectors::never).poll(bytes)
}

fn payload(frame: &Frame) -> MuxPoll {
    MuxPoll::Payload { frame: frame.clone(), consumed: wire(frame).len() }
}

fn refusal(frame: &Frame) -> String {
    chain(&poll(&wire(frame)).expect_err("it is refused"))
}

#[test]
fn a_mux_names_its_daemon_and_what_it_serves() {
    let told = format!("{:?}", mux(detectors::never));
    assert!(told.starts_with("BackendEndpointMux") && told.contains("4242"), "{told}");
    assert!(told.contains(&format!("{SERVED}")), "{told}");
}

#[test]
fn an_empty_buffer_needs_more_and_the_detector_is_not_asked() {
    let mux = mux(|_| panic!("there is nothing to classify"));
    assert_eq!(mux.poll(&[]).unwrap(), MuxPoll::NeedMoreBytes);
}

#[test]
fn the_detector_sees_the_whole_buffer_once_and_before_the_frame_decoder() {
    let seen = RefCell::new(Vec::new());
    let mux = BackendEndpointMux::new(daemon(), &[SERVED], |bytes: &[u8]| {
        seen.borrow_mut().push(bytes.to_vec());
        LegacyClassification::Legacy
    });
    let over_the_cap = [1, 1, 0, 0, 1];
    let buffers = [&[1][..], &over_the_cap, b"*3", &wire(&probe(1)), &framed(&[0xff])];
    for buffer in buffers {
        assert_eq!(mux.poll(buffer).unwrap(), MuxPoll::Legacy);
    }
    assert_eq!(*seen.borrow(), buffers);
}

#[test]
fn a_detector_that_needs_more_bytes_is_final_even_for_a_complete_frame() {
    for buffer in [&b"*"[..], &[1, 1, 0, 0, 1], &framed(&[0xff]), &wire(&probe(1))] {
        assert_eq!(mux(detectors::undecided).poll(buffer).unwrap(), MuxPoll::NeedMoreBytes);
    }
}

#[test]
fn what_does_not_start_with_the_framing_byte_is_legacy() {
    for first in (0..=255).filter(|first| *first != 1) {
        assert_eq!(poll(&[first]).unwrap(), MuxPoll::Legacy, "{first}");
        assert_eq!(poll(&[first, 0xff, 0xff, 0xff, 0xff]).unwrap(), MuxPoll::Legacy, "{first}");
    }
}

#[test]
fn a_body_above_the_cap_is_refused_at_exactly_five_bytes() {
    let header = [1, 1, 0, 0, 1];
    for length in 1..5 {
        assert_eq!(poll(&header[..length]).unwrap(), MuxPoll::NeedMoreBytes, "{length} bytes");
    }
    let error = poll(&header).unwrap_err();
    assert_eq!(chain(&error), "not a frame: frame body is 16777217 bytes, the cap is 16777216");
    assert!(matches!(poll(&[1, 0xff, 0xff, 0xff, 0xff]), Err(MuxError::Framing(_))));
}

#[test]
fn a_body_of_exactly_the_cap_is_waited_for() {
    assert_eq!(poll(&[1, 0, 0, 0, 1]).unwrap(), MuxPoll::NeedMoreBytes);
}

#[test]
fn a_complete_body_that_is_no_frame_is_refused() {
    let error = poll(&framed(&[0xff])).unwrap_err();
    assert!(matches!(error, MuxError::Framing(FramingError::Decode(_))));
    assert_eq!(
        chain(&error),
        "not a frame: frame body is not a Frame: failed to decode Protobuf message: invalid varint"
    );
}

#[test]
fn a_probe_is_answered_with_its_id_and_trace_context() {
    let request = Frame { traceparent: "00-a-b-01".into(), tracestate: "v=1".into(), ..probe(77) };
    let wire = wire(&request);
    let MuxPoll::ProbeAnswered { reply, consumed } = poll(&wire).unwrap() else { panic!("not answered") };
    assert_eq!(consumed, wire.len());
    let expected = Frame {
        envelope_version: 1,
        kind: FrameKind::Response.into(),
        payload_protocol: PROBE,
        payload: [&[7; 32][..], &daemon().to_proto().encode_to_vec()].concat(),
        request_id: 77,
        traceparent: "00-a-b-01".into(),
        tracestate: "v=1".into(),
        ..Frame::default()
    };
    assert_eq!(Frame::decode(&reply[5..]).unwrap(), expected);
    assert_eq!(reply, crate::common::wire(&expected));
    let validated = endpoint_probe_request_from_frame(&request).unwrap();
    assert_eq!(endpoint_probe_response_frame(&validated, &daemon()), expected);
}

#[test]
fn a_probe_that_breaks_several_rules_is_refused_for_the_first() {
    type Break = fn(&mut Frame);
    let rules: [(Break, &str); 5] = [
        (|frame| frame.envelope_version = 2, "probe has envelope version 2, this side speaks 1"),
        (|frame| frame.kind = 1, "probe has kind 1, due is Request (0)"),
        (|frame| frame.payload_protocol = UNSERVED, "probe has payload protocol 0x7002, a probe's is 0xB232"),
        (|frame| frame.payload_encoding = 3, "probe has payload encoding 3, a probe is not encoded (0)"),
        (|frame| frame.payload.push(0), "probe payload is 33 bytes, a nonce is 32"),
    ];
    for first in 0..rules.len() {
        let mut broken = probe(1);
        broken.tracestate = "x".repeat(MAX_PROBE_REQUEST_BYTES);
        for (break_rule, _) in &rules[first..] {
            break_rule(&mut broken);
        }
        let message = rules[first].1;
        assert_eq!(endpoint_probe_request_from_frame(&broken).unwrap_err().to_string(), message);
        // Only the protocol makes a frame a probe.
        broken.payload_protocol = PROBE;
        if first != 2 {
            assert_eq!(refusal(&broken), format!("malformed identity probe: {message}"));
        }
    }
}

#[test]
fn a_nonce_is_exactly_thirty_two_bytes() {
    for length in [0, 31, 33] {
        let error = poll(&wire(&Frame { payload: vec![0; length], ..probe(1) })).unwrap_err();
        let MuxError::MalformedProbe(EndpointProbeServerError::NonceLength { length: got }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(got, length);
    }
}

#[test]
fn a_probe_is_at_most_four_kibibytes() {
    let with_trace = |length| Frame { tracestate: "x".repeat(length), ..probe(1) };
    let largest = 4096 - with_trace(4000).encoded_len() + 4000;
    assert!(matches!(poll(&wire(&with_trace(largest))), Ok(MuxPoll::ProbeAnswered { .. })));
    assert_eq!(
        refusal(&with_trace(largest + 1)),
        "malformed identity probe: probe is 4097 bytes, the limit is 4096"
    );
    // Bytes of unknown fields count as well.
    let padding = crate::common::protobuf::delimited(99, &[0; 4096]);
    let padded = framed(&[probe(1).encode_to_vec(), padding].concat());
    assert!(matches!(
        poll(&padded),
        Err(MuxError::MalformedProbe(EndpointProbeServerError::TooLarge { .. }))
    ));
}

#[test]
fn first_party_frames_are_refused_even_when_they_are_served() {
    let mux = BackendEndpointMux::new(daemon(), &FIRST_PARTY_PAYLOAD_PROTOCOLS, detectors::never as Detector);
    for id in FIRST_PARTY_PAYLOAD_PROTOCOLS.into_iter().filter(|id| *id != PROBE) {
        for kind in KINDS {
            let foreign = Frame { payload_protocol: id, ..frame(kind, 1, b"x") };
            let error = mux.poll(&wire(&foreign)).unwrap_err();
            assert!(
                matches!(error, MuxError::UnexpectedFirstPartyFrame { payload_protocol } if payload_protocol == id)
            );
            let message = format!("payload protocol 0x{id:04X} is first-party and not served by a daemon");
            assert_eq!(error.to_string(), message);
        }
    }
}

#[test]
fn a_probe_is_answered_whether_or_not_its_id_is_listed() {
    let listed = BackendEndpointMux::new(daemon(), &[PROBE], detectors::never as Detector);
    let wire = wire(&probe(1));
    assert_eq!(listed.poll(&wire).unwrap(), poll(&wire).unwrap());
}

#[test]
fn an_id_that_is_not_served_is_named_in_hex() {
    let messages = [
        (0x7002, "payload protocol 0x7002 is not served by this daemon"),
        (0xF00D, "payload protocol 0xF00D is not served by this daemon"),
        (0x12, "payload protocol 0x0012 is not served by this daemon"),
        (0x12_7001, "payload protocol 0x127001 is not served by this daemon"),
    ];
    for (payload_protocol, message) in messages {
        let unserved = Frame { payload_protocol, ..frame(FrameKind::Request, 1, b"x") };
        assert_eq!(refusal(&unserved), message);
    }
}

#[test]
fn every_kind_of_frame_is_the_daemons() {
    for kind in KINDS {
        let frame = frame(kind, 9, b"payload");
        assert_eq!(poll(&wire(&frame)).unwrap(), payload(&frame));
    }
}

#[test]
fn a_payload_frame_is_not_judged_beyond_its_protocol() {
    let good = frame(FrameKind::Request, 1, b"x");
    let odd = [
        Frame { envelope_version: 0, ..good.clone() },
        Frame { envelope_version: 2, ..good.clone() },
        Frame { kind: -7, ..good.clone() },
        Frame { payload_encoding: 1, ..good.clone() },
        Frame { payload_encoding: 99, ..good },
    ];
    for frame in odd {
        assert_eq!(poll(&wire(&frame)).unwrap(), payload(&frame));
    }
}

#[test]
fn several_frames_in_one_buffer_come_one_by_one() {
    let frames = KINDS.map(|kind| frame(kind, 5, b"x"));
    let stream = frames.iter().flat_map(wire).chain(wire(&probe(6))).collect::<Vec<u8>>();
    let mut rest = &stream[..];
    for frame in &frames {
        let answer = poll(rest).unwrap();
        assert_eq!(answer, payload(frame));
        rest = &rest[wire(frame).len()..];
    }
    assert!(matches!(poll(rest), Ok(MuxPoll::ProbeAnswered { consumed, .. }) if consumed == rest.len()));
}

#[test]
fn one_mux_serves_many_threads() {
    fn shared<T: Send + Sync>(value: T) -> T {
        value
    }
    let mux = std::sync::Arc::new(shared(mux(detectors::never)));
    assert_eq!(mux.daemon(), &daemon());
}

/// Returns a borrowed result as an owned one.
fn owned(mux: &BackendEndpointMux<Detector>, answer: MuxPollRef<'_>) -> MuxPoll {
    match answer {
        MuxPollRef::NeedMoreBytes => MuxPoll::NeedMoreBytes,
        MuxPollRef::Legacy => MuxPoll::Legacy,
        MuxPollRef::Probe { probe, consumed } => {
            let mut reply = Vec::new();
            mux.answer(&probe, &mut reply).expect("a small identity fits");
            MuxPoll::ProbeAnswered { reply, consumed }
        }
        MuxPollRef::Payload { frame, consumed } => MuxPoll::Payload { frame: frame.to_frame(), consumed },
    }
}

fn consumed(answer: &MuxPoll) -> usize {
    match answer {
        MuxPoll::NeedMoreBytes | MuxPoll::Legacy => 0,
        MuxPoll::ProbeAnswered { consumed, .. } | MuxPoll::Payload { consumed, .. } => *consumed,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn both_polls_agree_and_consume_no_more_than_there_is(
        bytes in prop_oneof![vec(any::<u8>(), 0..60), streams::any_stream()],
        detector in detectors::any_detector(),
    ) {
        let mux = mux(detector);
        let answer = mux.poll(&bytes).map_err(|error| chain(&error));
        let borrowed = mux.poll_ref(&bytes).map(|answer| owned(&mux, answer));
        prop_assert_eq!(&answer, &borrowed.map_err(|error| chain(&error)));
        prop_assert!(answer.map_or(0, |answer| consumed(&answer)) <= bytes.len());
    }

    #[test]
    fn every_prefix_of_a_wire_needs_more_until_the_answer_is_there(
        wire in prop_oneof![
            streams::served_frame().prop_map(|frame| wire(&frame)),
            Just(wire(&probe(3))),
            Just(wire(&Frame { payload_protocol: UNSERVED, ..probe(3) })),
            Just(wire(&Frame { payload: vec![], ..probe(3) })),
            Just(framed(&[0xff; 12])),
        ],
        appended in vec(any::<u8>(), 0..50),
    ) {
        for length in 0..wire.len() {
            prop_assert_eq!(poll(&wire[..length]).unwrap(), MuxPoll::NeedMoreBytes, "{} bytes", length);
        }
        let answer = poll(&wire).map_err(|error| chain(&error));
        prop_assert_ne!(&answer, &Ok(MuxPoll::NeedMoreBytes));
        let longer = poll(&[wire, appended].concat()).map_err(|error| chain(&error));
        prop_assert_eq!(answer, longer);
    }

    #[test]
    fn a_stream_gives_the_same_answers_however_it_is_cut(
        stream in streams::any_stream(),
        sizes in streams::cuts(),
        detector in detectors::any_detector(),
    ) {
        let whole = answers(detector, &[&stream]);
        prop_assert_eq!(answers(detector, &streams::reads(&stream, &sizes)), whole);
    }
}

/// Returns the results for a daemon that drops the consumed front of its buffer, and the bytes that are left in the
/// end.
fn answers(detector: Detector, reads: &[&[u8]]) -> (Vec<Result<MuxPoll, String>>, Vec<u8>) {
    let mux = mux(detector);
    let (mut buffer, mut answers) = (Vec::new(), Vec::new());
    for read in reads {
        buffer.extend_from_slice(read);
        while !matches!(answers.last(), Some(Err(_) | Ok(MuxPoll::Legacy))) {
            match mux.poll(&buffer).map_err(|error| chain(&error)) {
                Ok(MuxPoll::NeedMoreBytes) => break,
                answer => {
                    buffer.drain(..answer.as_ref().map_or(0, consumed));
                    answers.push(answer);
                }
            }
        }
    }
    (answers, buffer)
}

#[test]
fn a_mux_is_shown_with_its_daemon_and_what_it_serves() {
    let shown = format!("{:?}", mux(detectors::never));
    assert!(shown.contains("4242") && shown.contains(&format!("{SERVED}")), "{shown}");
}
