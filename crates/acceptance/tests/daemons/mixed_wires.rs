//! Three kinds of traffic on one socket of a real daemon with an ambiguous legacy wire.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process::broker::backend_lifecycle::probe::EndpointProbeChallenge;
use running_process::broker::backend_sdk::{FrameClient, LocalStream};
use running_process::broker::protocol::{
    Frame, FrameRef, Refusal, RefusalReason, encode_framed, try_decode_framed, try_decode_framed_ref,
};
use running_process_acceptance::wire::{self, SHOUT};
use running_process_acceptance::{Daemon, StreamExt, TEST_TIMEOUT, connect, watched};
use std::time::{Duration, Instant};

/// Lengths of messages; every second message starts with the framing byte.
const LENGTHS: [usize; 12] = [1, 0, 257, 2, 513, 255, 769, 256, 65_537, 7680, 131_329, 300];

fn daemon() -> Daemon {
    Daemon::length_prefixed(env!("CARGO_BIN_EXE_length-prefixed-daemon"))
}

fn body(length: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(length).collect()
}

fn shout(payload: &[u8]) -> Vec<u8> {
    encode_framed(&Frame::request(SHOUT, payload.to_vec()).with_request_id(1)).unwrap()
}

fn answer_of(payload: &[u8]) -> Vec<u8> {
    let request = Frame::request(SHOUT, payload.to_vec()).with_request_id(1);
    encode_framed(&Frame::response_to(&request, payload.to_ascii_uppercase())).unwrap()
}

#[track_caller]
fn speak_legacy(connection: &LocalStream, length: usize) {
    let body = body(length);
    connection.send(&wire::message(&body));
    assert_eq!(connection.receive(wire::HEADER_BYTES + length), wire::message(&body.to_ascii_uppercase()));
}

#[test]
fn every_wire_is_served_on_one_socket_by_itself() {
    let mut daemon = daemon();
    assert_eq!(daemon.ready, "ready\n");
    for length in LENGTHS {
        let connection = daemon.connect();
        for _ in 0..2 {
            speak_legacy(&connection, length);
        }
    }
    let mut client = daemon.handle().into_client();
    client.set_timeout(Some(TEST_TIMEOUT));
    for length in LENGTHS {
        let payload = body(length);
        assert_eq!(client.request(SHOUT, payload.clone()).unwrap().payload, payload.to_ascii_uppercase());
    }
    assert!(daemon.stop().success());
    assert!(!daemon.identity_file.exists());
    assert!(LocalStream::connect(&daemon.socket).is_err());
}

#[test]
fn every_wire_is_told_apart_one_byte_at_a_time() {
    let daemon = daemon();
    let drip = |bytes: &[u8]| {
        let connection = daemon.connect();
        for byte in bytes {
            connection.send(&[*byte]);
        }
        connection
    };
    for length in [1, 2, 257, 300] {
        let body = body(length);
        let connection = drip(&wire::message(&body));
        let answer = connection.receive(wire::HEADER_BYTES + length);
        assert_eq!(answer, wire::message(&body.to_ascii_uppercase()));

        let expected = answer_of(&body);
        assert_eq!(drip(&shout(&body)).receive(expected.len()), expected);
    }
    let challenge = EndpointProbeChallenge::random().unwrap();
    let mut probe = Vec::new();
    challenge.request().encode_framed(&mut probe).unwrap();
    assert_eq!(identity_in_answer(&drip(&probe), &challenge), daemon.identity());
}

/// Reads the answer to `challenge` and returns the identity in it.
fn identity_in_answer(
    connection: &LocalStream,
    challenge: &EndpointProbeChallenge,
) -> running_process::broker::backend_handle::DaemonProcess {
    let mut answer = connection.receive(5);
    let length = u32::from_le_bytes(answer[1..].try_into().unwrap());
    answer.extend(connection.receive(length as usize));
    let decoded = try_decode_framed_ref(&answer).unwrap().unwrap();
    challenge.identity(&decoded.frame).unwrap()
}

#[test]
fn a_probe_and_the_legacy_wire_in_one_write_are_both_answered() {
    let daemon = daemon();
    for length in LENGTHS {
        let challenge = EndpointProbeChallenge::random().unwrap();
        let mut bytes = Vec::new();
        challenge.request().encode_framed(&mut bytes).unwrap();
        let body = body(length);
        bytes.extend(wire::message(&body));
        let connection = daemon.connect();
        connection.send(&bytes);
        assert_eq!(identity_in_answer(&connection, &challenge).pid, daemon.child.id());
        let answer = connection.receive(wire::HEADER_BYTES + length);
        assert_eq!(answer, wire::message(&body.to_ascii_uppercase()));
        speak_legacy(&connection, length);
    }
}

#[test]
fn legacy_clients_probes_and_frame_clients_do_not_disturb_each_other() {
    let mut daemon = daemon();
    let identity = daemon.identity();
    let socket = daemon.socket.clone();
    watched(move || {
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (socket, identity) = (&socket, &identity);
                scope.spawn(move || {
                    for round in 0..12 {
                        let connection = connect(socket);
                        speak_legacy(&connection, LENGTHS[(client + round) % LENGTHS.len()]);
                        speak_legacy(&connection, LENGTHS[round % LENGTHS.len()]);
                    }
                });
                scope.spawn(move || {
                    for _ in 0..12 {
                        let challenge = EndpointProbeChallenge::random().unwrap();
                        let mut probe = Vec::new();
                        challenge.request().encode_framed(&mut probe).unwrap();
                        let connection = connect(socket);
                        connection.send(&probe);
                        assert_eq!(identity_in_answer(&connection, &challenge), *identity);
                    }
                });
                scope.spawn(move || {
                    let mut connection = FrameClient::from_stream(connect(socket));
                    connection.set_timeout(Some(TEST_TIMEOUT));
                    for round in 0..4 {
                        // No more than a socket buffer is in flight at once.
                        let (small, large): (Vec<usize>, Vec<usize>) = LENGTHS
                            .map(|length| length + client + round)
                            .into_iter()
                            .partition(|length| *length < 2048);
                        let small: Vec<_> = small.into_iter().map(body).collect();
                        let requests: Vec<_> =
                            small.iter().map(|body| connection.send(SHOUT, body.clone()).unwrap()).collect();
                        for (request, body) in requests.into_iter().zip(small) {
                            assert_eq!(connection.wait(request).unwrap().payload, body.to_ascii_uppercase());
                        }
                        for body in large.into_iter().map(body) {
                            let response = connection.request(SHOUT, body.clone()).unwrap();
                            assert_eq!(response.payload, body.to_ascii_uppercase());
                        }
                    }
                });
            }
        });
    });
    assert!(daemon.stop().success());
}

/// Returns seven bytes that are a whole frame, and also the start of the header of a legacy message of 513 bytes.
fn seven_bytes() -> Vec<u8> {
    let mut frame = Vec::new();
    FrameRef { envelope_version: 1, ..FrameRef::default() }.encode_framed(&mut frame).unwrap();
    assert_eq!(frame, [1, 2, 0, 0, 0, 8, 1]);
    assert_eq!(frame, wire::message(&body(513))[..7]);
    frame
}

#[test]
fn a_frame_shorter_than_a_legacy_header_is_taken_as_a_frame_when_nothing_follows() {
    let daemon = daemon();
    let connection = daemon.connect();
    let began = Instant::now();
    connection.send(&seven_bytes());
    // As a frame it belongs to the control protocol, which no daemon serves, so the connection ends. As the start of a
    // legacy message it would wait for the rest.
    assert_eq!(connection.receive_all(), b"");
    assert!(began.elapsed() >= Duration::from_millis(50), "the detector had time for more bytes");
}

#[test]
fn the_start_of_a_legacy_header_that_is_also_a_frame_is_legacy_when_the_rest_follows() {
    let daemon = daemon();
    let body = body(513);
    let message = wire::message(&body);
    let connection = daemon.connect();
    connection.send(&seven_bytes());
    connection.send(&message[7..]);
    assert_eq!(connection.receive(message.len()), wire::message(&body.to_ascii_uppercase()));
}

#[test]
fn one_misbehaving_client_costs_its_own_connection() {
    let daemon = daemon();
    let neighbour = daemon.connect();
    speak_legacy(&neighbour, 257);
    let unserved = encode_framed(&Frame::request(0xF0F0, vec![1])).unwrap();
    // Read as a frame its body is empty.
    let mut wrong_version = wire::message(b"x");
    wrong_version[7] = 0x08;
    let too_large = [1, 0, 0, 0, 2, 9, 9, 9];
    for bytes in [&wrong_version[..], &too_large, b"\x02\0\0\0not the version"] {
        let connection = daemon.connect();
        connection.send(bytes);
        assert_eq!(connection.receive_all(), b"");
    }
    let connection = daemon.connect();
    connection.send(&unserved);
    let refused = try_decode_framed(&connection.receive_all()).unwrap().unwrap().frame;
    let refusal = Refusal::from_frame(&refused.borrowed()).unwrap();
    assert_eq!(refusal.reason(), RefusalReason::UnservedProtocol);
    // A client sends half a message and closes its connection.
    daemon.connect().send(&wire::message(b"half")[..10]);
    speak_legacy(&neighbour, 257);
}
