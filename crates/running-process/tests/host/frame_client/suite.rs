//! Cases that every client must pass.

use super::peer::{Client, event, run, scripted};
use crate::support::{PATIENCE, SHOUT, join, next, watched};
use running_process::broker::backend_sdk::{ClientConnectionError, FrameClientError};
use running_process::broker::protocol::{
    EncodingPolicy, Encodings, Frame, FrameKind, FrameRef, FrameViolation, FramingError, MAX_FRAME_BYTES,
    Refusal, RefusalReason, encode_framed,
};
use std::sync::mpsc;
use std::time::{Duration, Instant};

cases! {
    a_request_gets_its_response
    responses_in_any_order_reach_the_requests_they_answer
    a_response_that_arrives_byte_by_byte_is_one_response
    the_largest_response_arrives_whole
    after_a_timeout_the_connection_goes_on_and_the_late_response_is_dropped
    a_peer_that_drips_bytes_does_not_stretch_the_timeout
    events_come_in_the_order_in_which_they_were_sent
    a_refused_request_says_why_and_the_connection_goes_on
    a_refusal_that_comes_too_late_is_dropped
    a_payload_is_encoded_once_the_daemon_says_that_it_decodes_and_not_where_the_policy_is_off
    a_response_in_another_payload_protocol_is_fatal
    a_response_to_a_request_that_was_never_sent_is_fatal
    a_frame_that_breaks_the_strict_rules_is_fatal
    bytes_that_are_no_frame_are_fatal
    a_client_that_is_dead_has_closed_its_connection_although_it_is_still_there
    a_daemon_that_hangs_up_is_closed_and_inside_a_frame_truncated
    a_request_to_a_daemon_that_is_gone_was_not_received
    responses_that_came_before_the_end_are_still_given_out
    a_request_above_the_cap_sends_nothing_and_the_connection_goes_on
}

/// Returns the client's error if the daemon answers its first request with `answer` and hangs up. The client is dead afterwards.
fn fatal<C: Client>(answer: impl FnOnce(&Frame) -> Vec<u8> + Send + 'static) -> FrameClientError {
    let (mut client, peer) = scripted::<C>(move |mut peer| {
        let request = peer.receive();
        peer.write(&answer(&request));
    });
    let error = watched(move || {
        let error = client.request(b"ping").unwrap_err();
        assert!(!client.is_usable());
        assert!(matches!(client.request(b"again"), Err(FrameClientError::Dead)));
        assert!(matches!(client.request(b"again"), Err(FrameClientError::Dead)));
        error
    });
    join(peer);
    error
}

fn a_request_gets_its_response<C: Client>() {
    run::<C>(
        |mut peer| {
            let request = peer.receive();
            assert_eq!(request.kind, i32::from(FrameKind::Request));
            assert_eq!((request.payload_protocol, &request.payload[..]), (SHOUT, &b"ping"[..]));
            peer.answer(&request);
            peer.expect_end();
        },
        |mut client| {
            let response = client.request(b"ping").unwrap();
            assert_eq!(response.kind, i32::from(FrameKind::Response));
            assert_eq!(response.payload, b"PING");
            assert!(client.is_usable());
        },
    );
}

fn responses_in_any_order_reach_the_requests_they_answer<C: Client>() {
    run::<C>(
        |mut peer| {
            let requests: Vec<Frame> = (0..4).map(|_| peer.receive()).collect();
            for index in [2, 0, 3, 1] {
                peer.answer(&requests[index]);
            }
        },
        |mut client| {
            let names = ["zero", "one", "two", "three"];
            for (response, name) in client.request_all(&names).into_iter().zip(names) {
                assert_eq!(response.unwrap().payload, name.to_ascii_uppercase().as_bytes());
            }
        },
    );
}

fn a_response_that_arrives_byte_by_byte_is_one_response<C: Client>() {
    run::<C>(
        |mut peer| {
            let request = peer.receive();
            let response = Frame::response_to(&request, b"slow".to_vec());
            for byte in encode_framed(&response).unwrap() {
                peer.write(&[byte]);
            }
        },
        |mut client| assert_eq!(client.request(b"x").unwrap().payload, b"slow"),
    );
}

fn the_largest_response_arrives_whole<C: Client>() {
    run::<C>(
        |mut peer| {
            let request = peer.receive();
            peer.send(&Frame::response_to(&request, vec![7; MAX_FRAME_BYTES - 64]));
        },
        |mut client| {
            let response = client.request(b"big").unwrap();
            assert_eq!(response.payload.len(), MAX_FRAME_BYTES - 64);
            assert!(response.payload.iter().all(|byte| *byte == 7));
        },
    );
}

fn after_a_timeout_the_connection_goes_on_and_the_late_response_is_dropped<C: Client>() {
    let (too_late, wait_for_it) = mpsc::channel();
    run::<C>(
        move |mut peer| {
            let given_up = peer.receive();
            next::<()>(&wait_for_it);
            let cancel = peer.receive();
            assert_eq!(cancel.kind, i32::from(FrameKind::Cancel));
            assert_eq!(cancel.request_id, given_up.request_id);
            let second = peer.receive();
            peer.answer(&given_up);
            peer.answer(&second);
        },
        move |mut client| {
            let timeout = Duration::from_millis(30);
            let began = Instant::now();
            let error = client.request_within(b"first", timeout).unwrap_err();
            assert!(matches!(error, FrameClientError::TimedOut { timeout: told } if told <= timeout));
            assert!(began.elapsed() >= timeout);
            assert!(client.is_usable());

            too_late.send(()).unwrap();
            assert_eq!(client.request_within(b"second", PATIENCE).unwrap().payload, b"SECOND");
        },
    );
}

fn a_peer_that_drips_bytes_does_not_stretch_the_timeout<C: Client>() {
    let (finished, end) = mpsc::channel();
    run::<C>(
        move |mut peer| {
            let request = peer.receive();
            let response = encode_framed(&Frame::response_to(&request, vec![0; 1 << 20])).unwrap();
            for byte in response {
                // Whether the client has finished is also what paces the bytes.
                if end.recv_timeout(Duration::from_millis(5)) == Ok(()) {
                    return;
                }
                peer.write(&[byte]);
            }
        },
        move |mut client| {
            let began = Instant::now();
            let error = client.request_within(b"x", Duration::from_millis(100)).unwrap_err();
            assert!(matches!(error, FrameClientError::TimedOut { .. }));
            assert!(began.elapsed() < PATIENCE / 4);
            finished.send(()).unwrap();
        },
    );
}

fn events_come_in_the_order_in_which_they_were_sent<C: Client>() {
    run::<C>(
        |mut peer| {
            peer.send(&event(0));
            let request = peer.receive();
            peer.send(&event(1));
            peer.send(&Frame::request(SHOUT, b"2".to_vec()));
            peer.answer(&request);
            peer.send(&event(3));
        },
        |mut client| {
            client.want_events();
            assert_eq!(client.request(b"x").unwrap().payload, b"X");
            for number in 0..4 {
                assert_eq!(client.next_event().unwrap().unwrap().payload, number.to_string().as_bytes());
            }
            assert!(matches!(client.next_event(), Some(Err(FrameClientError::Closed))));
            assert!(client.next_event().is_none());
        },
    );
}

fn a_refused_request_says_why_and_the_connection_goes_on<C: Client>() {
    let overloaded =
        Refusal::new(RefusalReason::Overloaded, "no room").retry_after(Duration::from_millis(20));
    let failed = Refusal::new(RefusalReason::HandlerFailed, "no such file");
    let expected = [overloaded.clone(), failed.clone()];
    run::<C>(
        move |mut peer| {
            let requests = [peer.receive(), peer.receive(), peer.receive()];
            peer.refuse(&requests[0], &overloaded);
            peer.answer(&requests[1]);
            peer.refuse(&requests[2], &failed);
            let next = peer.receive();
            peer.answer(&next);
        },
        move |mut client| {
            let responses = client.request_all(&["a", "b", "c"]);
            let [Err(first), Ok(second), Err(third)] = &responses[..] else { panic!("{responses:?}") };
            assert_eq!(second.payload, b"B");
            for ((error, refusal), ran) in [first, third].into_iter().zip(&expected).zip([false, true]) {
                assert!(matches!(error, FrameClientError::Refused(got) if got == refusal), "{error:?}");
                assert_eq!(error.may_have_run(), ran);
            }
            assert!(client.is_usable());
            assert_eq!(client.request(b"next").unwrap().payload, b"NEXT");
        },
    );
}

fn a_refusal_that_comes_too_late_is_dropped<C: Client>() {
    let (too_late, wait_for_it) = mpsc::channel();
    run::<C>(
        move |mut peer| {
            let given_up = peer.receive();
            next::<()>(&wait_for_it);
            assert_eq!(peer.receive().kind, i32::from(FrameKind::Cancel));
            peer.refuse(&given_up, &Refusal::new(RefusalReason::Cancelled, ""));
            let second = peer.receive();
            peer.answer(&second);
        },
        move |mut client| {
            let error = client.request_within(b"first", Duration::from_millis(30)).unwrap_err();
            assert!(matches!(error, FrameClientError::TimedOut { .. }) && error.may_have_run());
            too_late.send(()).unwrap();
            assert_eq!(client.request_within(b"second", PATIENCE).unwrap().payload, b"SECOND");
        },
    );
}

fn a_payload_is_encoded_once_the_daemon_says_that_it_decodes_and_not_where_the_policy_is_off<C: Client>() {
    const PAYLOAD: [u8; 8192] = [b'p'; 8192];
    run::<C>(
        |mut peer| {
            let policy = EncodingPolicy::default();
            for encoded in [false, true, false] {
                let request = peer.receive();
                let expected = if encoded { Encodings::SUPPORTED.iter().next() } else { None };
                assert_eq!(request.payload_encoding, i32::from(expected.unwrap_or_default()));
                let (mut decoded, mut buffer) = (Vec::new(), Vec::new());
                let request = policy.decode(request.borrowed(), &mut decoded).unwrap();
                assert_eq!(request.payload, PAYLOAD);
                // The client is taken to accept what this library does, until its policy is off.
                let accepted = if expected.is_some() { Encodings::SUPPORTED } else { Encodings::NONE };
                let response = FrameRef::response_to(&request, request.payload);
                let told = FrameRef { accepted_encodings: Encodings::SUPPORTED.bits(), ..response };
                peer.send_borrowed(&policy.encode(told, accepted, &mut buffer));
            }
        },
        |mut client| {
            assert_eq!(client.request(&PAYLOAD).unwrap().payload, PAYLOAD);
            let response = client.request(&PAYLOAD).unwrap();
            assert_eq!((&response.payload[..], response.payload_encoding), (&PAYLOAD[..], 0));
            client.set_encoding_policy(EncodingPolicy::OFF);
            assert_eq!(client.request(&PAYLOAD).unwrap().payload, PAYLOAD);
        },
    );
}

fn a_response_in_another_payload_protocol_is_fatal<C: Client>() {
    let error = fatal::<C>(|request| {
        let response = Frame { payload_protocol: 0xF00E, ..Frame::response_to(request, Vec::new()) };
        encode_framed(&response).unwrap()
    });
    let FrameClientError::Connection(ClientConnectionError::PayloadProtocolMismatch { got, expected }) =
        error
    else {
        panic!("{error:?}")
    };
    assert_eq!((got, expected), (0xF00E, SHOUT));
}

fn a_response_to_a_request_that_was_never_sent_is_fatal<C: Client>() {
    let error = fatal::<C>(|request| {
        let response = Frame::response_to(request, Vec::new()).with_request_id(u64::MAX);
        encode_framed(&response).unwrap()
    });
    let FrameClientError::Connection(ClientConnectionError::UnknownRequest { got }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(got, u64::MAX);
}

fn a_frame_that_breaks_the_strict_rules_is_fatal<C: Client>() {
    let error = fatal::<C>(|request| {
        let response = Frame { envelope_version: 2, ..Frame::response_to(request, Vec::new()) };
        encode_framed(&response).unwrap()
    });
    let violation = FrameViolation::EnvelopeVersion { got: 2 };
    assert!(
        matches!(error, FrameClientError::Connection(ClientConnectionError::Violation(got)) if got == violation)
    );
    let error = fatal::<C>(|request| {
        let response = Frame { payload_encoding: 9, ..Frame::response_to(request, Vec::new()) };
        encode_framed(&response).unwrap()
    });
    let violation = FrameViolation::UnknownEncoding { got: 9 };
    assert!(
        matches!(error, FrameClientError::Connection(ClientConnectionError::Violation(got)) if got == violation)
    );
}

fn bytes_that_are_no_frame_are_fatal<C: Client>() {
    let error = fatal::<C>(|_| b"-ERR unknown command\r\n".to_vec());
    let FrameClientError::Connection(ClientConnectionError::Framing(framing)) = error else {
        panic!("{error:?}")
    };
    assert!(matches!(*framing, FramingError::UnsupportedFramingVersion { got: b'-', expected: 1 }));
    let error = fatal::<C>(|_| vec![1, 0xff, 0xff, 0xff, 0xff]);
    let FrameClientError::Connection(ClientConnectionError::Framing(framing)) = error else {
        panic!("{error:?}")
    };
    assert!(matches!(*framing, FramingError::FrameTooLarge { body_length: 0xffff_ffff, .. }));
}

fn a_client_that_is_dead_has_closed_its_connection_although_it_is_still_there<C: Client>() {
    let (mut client, peer) = scripted::<C>(|mut peer| {
        peer.receive();
        peer.write(b"-ERR unknown command\r\n");
        peer.expect_end();
    });
    let client = watched(move || {
        assert!(matches!(client.request(b"ping"), Err(FrameClientError::Connection(_))));
        client
    });
    join(peer);
    assert!(!client.is_usable());
}

fn a_daemon_that_hangs_up_is_closed_and_inside_a_frame_truncated<C: Client>() {
    assert!(matches!(fatal::<C>(|_| Vec::new()), FrameClientError::Closed));
    let error = fatal::<C>(|request| {
        let mut wire = encode_framed(&Frame::response_to(request, vec![0; 100])).unwrap();
        wire.truncate(50);
        wire
    });
    assert!(matches!(error, FrameClientError::Connection(ClientConnectionError::Truncated { buffered: 50 })));
}

fn a_request_to_a_daemon_that_is_gone_was_not_received<C: Client>() {
    let (mut client, peer) = scripted::<C>(drop);
    join(peer);
    let error = watched(move || client.request(b"to nobody").unwrap_err());
    assert!(matches!(error, FrameClientError::NotReceived) && !error.may_have_run(), "{error:?}");
}

fn responses_that_came_before_the_end_are_still_given_out<C: Client>() {
    run::<C>(
        |mut peer| {
            let requests = [peer.receive(), peer.receive(), peer.receive()];
            peer.answer(&requests[1]);
            peer.answer(&requests[0]);
        },
        |mut client| {
            let responses = client.request_all(&["a", "b", "c"]);
            let [Ok(first), Ok(second), Err(FrameClientError::Closed)] = &responses[..] else {
                panic!("{responses:?}")
            };
            assert_eq!((&first.payload[..], &second.payload[..]), (&b"A"[..], &b"B"[..]));
            assert!(matches!(client.request(b"d"), Err(FrameClientError::Dead)));
        },
    );
}

fn a_request_above_the_cap_sends_nothing_and_the_connection_goes_on<C: Client>() {
    run::<C>(
        |mut peer| {
            let first = peer.receive();
            assert_eq!(first.payload, b"small");
            peer.answer(&first);
            peer.expect_end();
        },
        |mut client| {
            let error = client.request(&vec![0; MAX_FRAME_BYTES + 1]).unwrap_err();
            let FrameClientError::Request(reason) = &error else { panic!("{error:?}") };
            let FramingError::FrameTooLarge { body_length, cap } = **reason else { panic!("{error:?}") };
            assert!(body_length > MAX_FRAME_BYTES && cap == MAX_FRAME_BYTES);
            assert!(!error.may_have_run());
            assert!(client.is_usable());
            assert_eq!(client.request(b"small").unwrap().payload, b"SMALL");
        },
    );
}
