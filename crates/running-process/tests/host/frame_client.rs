//! The blocking client against a peer that follows a script.

use crate::support::{PATIENCE, SHOUT, join, next, watched};
use running_process::broker::backend_sdk::{
    ClientConnectionError, FrameClient, FrameClientError, MAX_WAITING_EVENTS,
};
use running_process::broker::protocol::{
    Frame, FrameKind, FrameViolation, FramingError, MAX_FRAME_BYTES, PayloadEncoding, encode_framed,
    read_frame,
};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The daemon's end of a connection.
struct Peer(UnixStream);

impl Peer {
    /// The next frame from the client.
    fn receive(&mut self) -> Frame {
        prost::Message::decode(&read_frame(&mut self.0).unwrap()[..]).unwrap()
    }

    fn send(&mut self, frame: &Frame) {
        self.0.write_all(&encode_framed(frame).unwrap()).unwrap();
    }

    fn answer(&mut self, request: &Frame) {
        self.send(&Frame::response_to(request, request.payload.to_ascii_uppercase()));
    }

    /// The client has hung up, and sent nothing more before.
    fn expect_end(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }
}

/// A client whose daemon does what `script` says.
fn scripted(script: impl FnOnce(Peer) + Send + 'static) -> (FrameClient, JoinHandle<()>) {
    let (client, daemon) = UnixStream::pair().unwrap();
    daemon.set_read_timeout(Some(PATIENCE)).unwrap();
    daemon.set_write_timeout(Some(PATIENCE)).unwrap();
    (FrameClient::from_stream(client), thread::spawn(move || script(Peer(daemon))))
}

/// Runs `client` against `script`, and both within the time that anyone has.
fn run(script: impl FnOnce(Peer) + Send + 'static, client: impl FnOnce(FrameClient) + Send + 'static) {
    let (frame_client, peer) = scripted(script);
    watched(move || client(frame_client));
    join(peer);
}

/// What the client says when the daemon answers its first request with `answer` and hangs up. It is dead afterwards.
fn fatal(answer: impl FnOnce(&Frame) -> Vec<u8> + Send + 'static) -> FrameClientError {
    let (mut client, peer) = scripted(move |mut peer| {
        let request = peer.receive();
        peer.0.write_all(&answer(&request)).unwrap();
    });
    let error = watched(move || {
        let error = client.request(SHOUT, b"ping".to_vec()).unwrap_err();
        assert!(!client.is_usable());
        assert!(matches!(client.send(SHOUT, b"again"), Err(FrameClientError::Dead)));
        assert!(matches!(client.request(SHOUT, b"again".to_vec()), Err(FrameClientError::Dead)));
        assert!(matches!(client.next_event(), Err(FrameClientError::Dead)));
        error
    });
    join(peer);
    error
}

fn event(number: usize) -> Frame {
    let frame = Frame::request(SHOUT, number.to_string().into_bytes());
    Frame { kind: FrameKind::Event.into(), ..frame }
}

#[test]
fn a_request_gets_its_response() {
    run(
        |mut peer| {
            let request = peer.receive();
            assert_eq!(request.kind, i32::from(FrameKind::Request));
            assert_eq!((request.payload_protocol, &request.payload[..]), (SHOUT, &b"ping"[..]));
            peer.answer(&request);
            peer.expect_end();
        },
        |mut client| {
            let response = client.request(SHOUT, b"ping".to_vec()).unwrap();
            assert_eq!(response.kind, i32::from(FrameKind::Response));
            assert_eq!(response.payload, b"PING");
            assert!(client.is_usable());
        },
    );
}

#[test]
fn responses_in_any_order_reach_the_requests_they_answer() {
    run(
        |mut peer| {
            let requests: Vec<Frame> = (0..4).map(|_| peer.receive()).collect();
            for index in [2, 0, 3, 1] {
                peer.answer(&requests[index]);
            }
        },
        |mut client| {
            let names = ["zero", "one", "two", "three"];
            let requests = names.map(|name| client.send(SHOUT, name.as_bytes()).unwrap());
            for index in [0, 1, 3, 2] {
                let response = client.wait(requests[index]).unwrap();
                assert_eq!(response.payload, names[index].to_ascii_uppercase().as_bytes());
            }
            assert!(matches!(client.wait(requests[0]), Err(FrameClientError::NotInFlight)));
        },
    );
}

#[test]
fn a_response_that_arrives_byte_by_byte_is_one_response() {
    run(
        |mut peer| {
            let request = peer.receive();
            let response = Frame::response_to(&request, b"slow".to_vec());
            for byte in encode_framed(&response).unwrap() {
                peer.0.write_all(&[byte]).unwrap();
            }
        },
        |mut client| assert_eq!(client.request(SHOUT, b"x".to_vec()).unwrap().payload, b"slow"),
    );
}

#[test]
fn the_largest_response_arrives_whole() {
    run(
        |mut peer| {
            let request = peer.receive();
            peer.send(&Frame::response_to(&request, vec![7; MAX_FRAME_BYTES - 64]));
        },
        |mut client| {
            let response = client.request(SHOUT, b"big".to_vec()).unwrap();
            assert_eq!(response.payload.len(), MAX_FRAME_BYTES - 64);
            assert!(response.payload.iter().all(|byte| *byte == 7));
        },
    );
}

#[test]
fn after_a_timeout_the_connection_goes_on_and_the_late_response_is_dropped() {
    let (too_late, wait_for_it) = mpsc::channel();
    run(
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
            client.set_timeout(Some(timeout));
            let request = client.send(SHOUT, b"first").unwrap();
            let began = Instant::now();
            let error = client.wait(request).unwrap_err();
            assert!(matches!(error, FrameClientError::TimedOut { timeout: told } if told == timeout));
            assert!(began.elapsed() >= timeout);
            assert!(client.is_usable());
            assert!(matches!(client.wait(request), Err(FrameClientError::NotInFlight)));

            too_late.send(()).unwrap();
            client.set_timeout(Some(PATIENCE));
            assert_eq!(client.request(SHOUT, b"second".to_vec()).unwrap().payload, b"SECOND");
        },
    );
}

#[test]
fn a_peer_that_drips_bytes_does_not_stretch_the_timeout() {
    let (finished, end) = mpsc::channel();
    run(
        move |mut peer| {
            let request = peer.receive();
            let response = encode_framed(&Frame::response_to(&request, vec![0; 1 << 20])).unwrap();
            for byte in response {
                // Whether the client has finished is also what paces the bytes.
                if end.recv_timeout(Duration::from_millis(5)) == Ok(()) {
                    return;
                }
                peer.0.write_all(&[byte]).unwrap();
            }
        },
        move |mut client| {
            client.set_timeout(Some(Duration::from_millis(100)));
            let began = Instant::now();
            let error = client.request(SHOUT, b"x".to_vec()).unwrap_err();
            assert!(matches!(error, FrameClientError::TimedOut { .. }));
            assert!(began.elapsed() < PATIENCE / 4);
            finished.send(()).unwrap();
        },
    );
}

#[test]
fn a_daemon_that_does_not_read_costs_the_timeout_and_the_connection() {
    let (finished, end) = mpsc::channel();
    run(
        move |_peer| next::<()>(&end),
        move |mut client| {
            client.set_timeout(Some(Duration::from_millis(50)));
            let error = client.send(SHOUT, &vec![0; 8 << 20]).unwrap_err();
            assert!(matches!(&error, FrameClientError::Stream(error)
                if error.kind() == std::io::ErrorKind::TimedOut));
            assert!(!client.is_usable());
            finished.send(()).unwrap();
        },
    );
}

#[test]
fn events_come_in_the_order_in_which_they_were_sent() {
    run(
        |mut peer| {
            peer.send(&event(0));
            let request = peer.receive();
            peer.send(&event(1));
            peer.send(&Frame::request(SHOUT, b"2".to_vec()));
            peer.answer(&request);
            peer.send(&event(3));
        },
        |mut client| {
            assert_eq!(client.request(SHOUT, b"x".to_vec()).unwrap().payload, b"X");
            for number in 0..4 {
                assert_eq!(client.next_event().unwrap().payload, number.to_string().as_bytes());
            }
            assert!(matches!(client.next_event(), Err(FrameClientError::Closed)));
        },
    );
}

#[test]
fn waiting_for_an_event_ends_with_the_timeout() {
    let (finished, end) = mpsc::channel();
    run(
        move |mut peer| {
            next::<()>(&end);
            peer.send(&event(0));
        },
        move |mut client| {
            client.set_timeout(Some(Duration::from_millis(20)));
            assert!(matches!(client.next_event(), Err(FrameClientError::TimedOut { .. })));
            finished.send(()).unwrap();
            client.set_timeout(Some(PATIENCE));
            assert_eq!(client.next_event().unwrap().payload, b"0");
        },
    );
}

#[test]
fn as_many_events_wait_as_promised_and_one_more_ends_the_connection() {
    let flood = |count: usize| {
        move |mut peer: Peer| {
            let request = peer.receive();
            let mut wire = Vec::new();
            for number in 0..count {
                wire.extend(encode_framed(&event(number)).unwrap());
            }
            wire.extend(encode_framed(&Frame::response_to(&request, b"done".to_vec())).unwrap());
            // The client may have hung up by then.
            let _ = peer.0.write_all(&wire);
        }
    };
    run(flood(MAX_WAITING_EVENTS), |mut client| {
        assert_eq!(client.request(SHOUT, b"x".to_vec()).unwrap().payload, b"done");
        for number in 0..MAX_WAITING_EVENTS {
            assert_eq!(client.next_event().unwrap().payload, number.to_string().as_bytes());
        }
    });
    run(flood(MAX_WAITING_EVENTS + 1), |mut client| {
        let error = client.request(SHOUT, b"x".to_vec()).unwrap_err();
        assert!(matches!(error, FrameClientError::TooManyEvents));
        assert!(matches!(client.send(SHOUT, b"again"), Err(FrameClientError::Dead)));
    });
}

#[test]
fn a_response_in_another_payload_protocol_is_fatal() {
    let error = fatal(|request| {
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

#[test]
fn a_response_to_a_request_that_was_never_sent_is_fatal() {
    let error = fatal(|request| {
        let response = Frame::response_to(request, Vec::new()).with_request_id(request.request_id + 1);
        encode_framed(&response).unwrap()
    });
    assert!(matches!(error, FrameClientError::Connection(ClientConnectionError::UnknownRequest { got: 2 })));
}

#[test]
fn a_frame_that_breaks_the_strict_rules_is_fatal() {
    let error = fatal(|request| {
        let response = Frame { envelope_version: 2, ..Frame::response_to(request, Vec::new()) };
        encode_framed(&response).unwrap()
    });
    let violation = FrameViolation::EnvelopeVersion { got: 2 };
    assert!(
        matches!(error, FrameClientError::Connection(ClientConnectionError::Violation(got)) if got == violation)
    );
    let error = fatal(|request| {
        let encoding = PayloadEncoding::Zstd.into();
        let response = Frame { payload_encoding: encoding, ..Frame::response_to(request, Vec::new()) };
        encode_framed(&response).unwrap()
    });
    let violation = FrameViolation::UnsupportedEncoding { encoding: PayloadEncoding::Zstd };
    assert!(
        matches!(error, FrameClientError::Connection(ClientConnectionError::Violation(got)) if got == violation)
    );
}

#[test]
fn bytes_that_are_no_frame_are_fatal() {
    let error = fatal(|_| b"-ERR unknown command\r\n".to_vec());
    let FrameClientError::Connection(ClientConnectionError::Framing(framing)) = error else {
        panic!("{error:?}")
    };
    assert!(matches!(framing, FramingError::UnsupportedFramingVersion { got: b'-', expected: 1 }));
    let error = fatal(|_| vec![1, 0xff, 0xff, 0xff, 0xff]);
    let FrameClientError::Connection(ClientConnectionError::Framing(framing)) = error else {
        panic!("{error:?}")
    };
    assert!(matches!(framing, FramingError::FrameTooLarge { body_length: 0xffff_ffff, .. }));
}

#[test]
fn a_daemon_that_hangs_up_is_closed_and_inside_a_frame_truncated() {
    assert!(matches!(fatal(|_| Vec::new()), FrameClientError::Closed));
    let error = fatal(|request| {
        let mut wire = encode_framed(&Frame::response_to(request, vec![0; 100])).unwrap();
        wire.truncate(50);
        wire
    });
    assert!(matches!(error, FrameClientError::Connection(ClientConnectionError::Truncated { buffered: 50 })));
}

#[test]
fn a_daemon_that_hangs_up_with_the_request_unread_has_closed_the_connection() {
    let (sent, hang_up) = mpsc::channel();
    run(
        move |_peer| next::<()>(&hang_up),
        move |mut client| {
            let request = client.send(SHOUT, b"never read").unwrap();
            sent.send(()).unwrap();
            assert!(matches!(client.wait(request), Err(FrameClientError::Closed)));
            assert!(matches!(client.wait(request), Err(FrameClientError::Dead)));
        },
    );
}

#[test]
fn a_daemon_that_is_gone_when_the_request_is_sent_has_closed_the_connection() {
    let (mut client, peer) = scripted(drop);
    join(peer);
    let error = watched(move || client.send(SHOUT, b"to nobody").unwrap_err());
    assert!(matches!(error, FrameClientError::Closed), "{error:?}");
}

#[test]
fn a_request_that_finds_the_connection_closed_loses_no_earlier_response() {
    let (mut client, peer) = scripted(|mut peer| {
        let request = peer.receive();
        peer.answer(&request);
    });
    let answered = client.send(SHOUT, b"a").unwrap();
    join(peer);
    watched(move || {
        assert!(matches!(client.send(SHOUT, b"b"), Err(FrameClientError::Closed)));
        assert!(!client.is_usable());
        assert_eq!(client.wait(answered).unwrap().payload, b"A");
    });
}

#[test]
fn responses_that_came_before_the_end_are_still_given_out() {
    run(
        |mut peer| {
            let requests = [peer.receive(), peer.receive(), peer.receive()];
            peer.answer(&requests[1]);
            peer.answer(&requests[0]);
        },
        |mut client| {
            let requests = [b"a", b"b", b"c"].map(|payload| client.send(SHOUT, payload).unwrap());
            assert!(matches!(client.wait(requests[2]), Err(FrameClientError::Closed)));
            assert_eq!(client.wait(requests[0]).unwrap().payload, b"A");
            assert_eq!(client.wait(requests[1]).unwrap().payload, b"B");
            assert!(matches!(client.wait(requests[2]), Err(FrameClientError::Dead)));
        },
    );
}

#[test]
fn a_request_above_the_cap_sends_nothing_and_the_connection_goes_on() {
    run(
        |mut peer| {
            let first = peer.receive();
            assert_eq!(first.payload, b"small");
            peer.answer(&first);
            peer.expect_end();
        },
        |mut client| {
            let error = client.send(SHOUT, &vec![0; MAX_FRAME_BYTES + 1]).unwrap_err();
            let FrameClientError::Request(FramingError::FrameTooLarge { body_length, cap }) = error else {
                panic!("{error:?}")
            };
            assert!(body_length > MAX_FRAME_BYTES && cap == MAX_FRAME_BYTES);
            assert!(client.is_usable());
            assert_eq!(client.request(SHOUT, b"small".to_vec()).unwrap().payload, b"SMALL");
        },
    );
}
