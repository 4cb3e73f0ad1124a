//! Requests in an encoding that is compiled in, and answers in one.

use super::{admit, refusal, server, written};
use crate::common::SERVED;
use running_process::broker::backend_sdk::ServerEvent;
use running_process::broker::protocol::{
    EncodingPolicy, Encodings, FrameRef, MAX_FRAME_BYTES, RefusalReason, decode_payload, encode_payload,
    try_decode_framed,
};

/// Returns a request with an encoded `payload`, of a client that accepts the encodings that it uses.
fn request(payload: &[u8], accepted: Encodings) -> Vec<u8> {
    let encoding = Encodings::SUPPORTED.iter().next().unwrap();
    let mut encoded = Vec::new();
    encode_payload(encoding, payload, &mut encoded).unwrap();
    let request = FrameRef {
        payload_encoding: encoding.into(),
        accepted_encodings: accepted.bits(),
        ..FrameRef::request(SERVED, 1, &encoded)
    };
    let mut wire = Vec::new();
    request.encode_framed(&mut wire).unwrap();
    wire
}

#[test]
fn a_payload_is_decoded_and_its_answer_encoded_inline_and_later() {
    for later in [false, true] {
        let (mut server, now) = server(|_| {});
        server.receive(&request(&[7; 10_000], Encodings::SUPPORTED), now);
        let Some(ServerEvent::Request(call)) = server.next_event().unwrap() else { panic!() };
        assert!(call.payload() == [7; 10_000]);
        let answer = call.payload().to_vec();
        if later {
            let call = call.admit(None);
            server.send_event(call, &answer).unwrap();
            server.respond(call, answer.clone()).unwrap();
        } else {
            call.respond(answer.clone()).unwrap();
        }
        for frame in written(&mut server, now) {
            let encoding = frame.payload_encoding.try_into().unwrap();
            assert!(Encodings::SUPPORTED.contains(encoding) && frame.payload.len() < 1000);
            let mut decoded = Vec::new();
            decode_payload(encoding, &frame.payload, MAX_FRAME_BYTES, &mut decoded).unwrap();
            assert!(decoded == answer);
        }
    }
}

#[test]
fn a_client_that_takes_no_encoding_sees_none() {
    let (mut server, now) = server(|_| {});
    server.receive(&request(&[7; 10_000], Encodings::NONE), now);
    let Some(ServerEvent::Request(call)) = server.next_event().unwrap() else { panic!() };
    call.respond([8; 10_000]).unwrap();
    assert!(written(&mut server, now)[0].payload == [8; 10_000]);
}

#[test]
fn what_decodes_to_too_much_is_refused_and_the_next_request_is_served() {
    let (mut server, now) = server(|config| config.encodings.max_decoded = 9_999);
    let bomb = request(&[7; 10_000], Encodings::SUPPORTED);
    server.receive(&[bomb, super::request(2)].concat(), now);
    assert!(matches!(server.next_event().unwrap(), Some(ServerEvent::Refused(_))));
    assert_eq!(admit(&mut server, b"", now).len(), 1);
    assert_eq!(refusal(&written(&mut server, now)[0]), RefusalReason::BadEncoding);
    assert!(server.memory() < 100_000);
}

#[test]
fn a_daemon_may_take_none() {
    let (mut server, now) = server(|config| config.encodings = EncodingPolicy::OFF);
    server.receive(&request(&[7; 10_000], Encodings::SUPPORTED), now);
    assert!(matches!(server.next_event().unwrap(), Some(ServerEvent::Refused(_))));
    assert_eq!(refusal(&written(&mut server, now)[0]), RefusalReason::BadEncoding);
}

#[test]
fn the_memory_of_a_decoded_payload_counts() {
    let (mut server, now) = server(|_| {});
    let length = 300_000;
    server.receive(&request(&vec![7; length], Encodings::SUPPORTED), now);
    let Some(ServerEvent::Request(call)) = server.next_event().unwrap() else { panic!() };
    let _call = call.admit(None);
    assert!(server.memory() >= length);
}

#[test]
fn a_large_answer_is_encoded_if_that_makes_it_shorter_and_is_large_after_that_too() {
    let mut random = 7_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        random.to_le_bytes()[3]
    })
    .take(40_000)
    .collect();
    for (answer, shorter) in [(noise.clone(), false), ([noise, vec![0; 40_000]].concat(), true)] {
        let (mut server, now) = server(|_| {});
        server.receive(&request(b"", Encodings::SUPPORTED), now);
        let Some(ServerEvent::Request(call)) = server.next_event().unwrap() else { panic!() };
        call.respond(answer.clone()).unwrap();
        let mut wire = Vec::new();
        while !server.output().is_empty() {
            wire.extend_from_slice(server.output());
            server.output_written(server.output().len(), now);
        }
        let frame = try_decode_framed(&wire).unwrap().unwrap().frame;
        assert_eq!((frame.payload.len() < answer.len(), frame.payload.len() > 32 * 1024), (shorter, true));
        let mut decoded = Vec::new();
        let encoding = frame.payload_encoding.try_into().unwrap();
        decode_payload(encoding, &frame.payload, MAX_FRAME_BYTES, &mut decoded).unwrap();
        assert!(decoded == answer);
    }
}
