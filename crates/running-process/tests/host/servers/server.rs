//! A running server and its clients on a real endpoint.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{
    REVERSE, SHOUT, TempEndpoint, echo, eventually, frames, join, next, read, read_frames, read_to_end,
    refusal, request, soon, watched, write,
};
use running_process::broker::backend_lifecycle::probe::{EndpointProbeChallenge, probe_endpoint};
use running_process::broker::backend_sdk::{
    BindError, FrameClientError, LegacyClassification, LocalStream, ServerConfig, ServerError,
};
use running_process::broker::protocol::{Frame, FrameKind, Refusal, RefusalReason, encode_framed, registry};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Short enough to wait for, long enough not to pass by chance while a test prepares.
const SHORT: Duration = Duration::from_millis(100);

/// Sends `sent` on a new connection. Returns the frames that the server sends until it closes the connection, and what its
/// observer is told. Checks that the server still serves.
#[track_caller]
fn ended(server: &TestServer, sent: &[u8]) -> (Vec<Frame>, String) {
    let connection = server.connect();
    write(&connection, sent);
    let received = frames(&read_to_end(&connection));
    let error = server.error();
    server.assert_serves();
    (received, error)
}

/// Sends numbered requests. Returns the ids and texts of those that were refused, in the order of the requests.
fn refusals(connection: &LocalStream, protocol: u32, payloads: &[&[u8]]) -> Vec<(u64, String)> {
    let wire: Vec<u8> =
        (1..).zip(payloads).flat_map(|(id, payload)| request(protocol, id, payload)).collect();
    write(connection, &wire);
    let mut answers = read_frames(connection, payloads.len());
    answers.sort_by_key(|answer| answer.request_id);
    let refused = answers.iter().filter(|answer| answer.payload_protocol != protocol);
    refused.map(|answer| (answer.request_id, refusal(answer))).collect()
}

#[test]
fn probes_requests_and_the_legacy_wire_share_one_endpoint() {
    let server = TestServer::start(|server| server.legacy(|_| LegacyClassification::NotLegacy, echo));
    watched(move || {
        let handle = server.handle();
        let legacy = server.connect();
        write(&legacy, b"PING\r\n");
        assert_eq!(read(&legacy, 6), b"PING\r\n");
        let another = handle.connect().unwrap();
        let mut client = handle.into_client();
        for round in 0..3_u8 {
            let payload = vec![b'a' + round; 100];
            assert_eq!(client.request(SHOUT, payload.clone()).unwrap().payload, payload.to_ascii_uppercase());
            write(&legacy, &payload);
            assert_eq!(read(&legacy, 100), payload);
        }
        // A connection that was only probed may still speak either wire.
        write(&another, b"legacy after a probe");
        assert_eq!(read(&another, 20), b"legacy after a probe");
        assert!(!server.has_more_errors());
    });
}

#[test]
fn each_protocol_has_its_own_handler() {
    let server = TestServer::start(|server| server);
    let mut client = server.client();
    let shout = client.send(SHOUT, b"abc").unwrap();
    let reverse = client.send(REVERSE, b"abc").unwrap();
    let response = client.wait(reverse).unwrap();
    assert_eq!((response.payload_protocol, &response.payload[..]), (REVERSE, &b"cba"[..]));
    assert_eq!(client.wait(shout).unwrap().payload, b"ABC");
}

/// Sends two thousand numbered requests on one connection and returns the ids of the answers in their order.
fn pipeline(server: &TestServer, protocol: u32) -> Vec<u64> {
    let connection = server.connect();
    let wire: Vec<u8> =
        (1..=2000).flat_map(|id| request(protocol, id, format!("r{id}").as_bytes())).collect();
    let writer = connection.try_clone().unwrap();
    let writing = std::thread::spawn(move || write(&writer, &wire));
    let answers = read_frames(&connection, 2000);
    join(writing);
    for frame in &answers {
        assert_eq!(frame.kind, i32::from(FrameKind::Response));
        assert_eq!(frame.payload, format!("R{}", frame.request_id).as_bytes());
    }
    answers.iter().map(|frame| frame.request_id).collect()
}

#[test]
fn pipelined_requests_are_each_answered() {
    let server = TestServer::start(|server| server);
    let mut ids = pipeline(&server, SHOUT);
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=2000));
}

#[test]
fn pipelined_requests_are_answered_in_order_inline() {
    let server = TestServer::start(|server| {
        server.serve_inline(0xF00F, |request| Ok(request.payload().to_ascii_uppercase()))
    });
    assert!(pipeline(&server, 0xF00F).into_iter().eq(1..=2000));
}

#[test]
fn a_request_that_arrives_byte_by_byte_is_one_request() {
    let server = TestServer::start(|server| server);
    let connection = server.connect();
    let mut wire = EndpointProbeChallenge::new([9; 32], 1).request().to_frame();
    wire.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into();
    let bytes = [encode_framed(&wire).unwrap(), request(SHOUT, 2, b"drip")].concat();
    for byte in bytes {
        write(&connection, &[byte]);
    }
    let answers = read_frames(&connection, 2);
    assert_eq!(answers[0].payload[..32], [9; 32]);
    assert_eq!(answers[0].traceparent, wire.traceparent);
    assert_eq!(answers[1].payload, b"DRIP");
}

#[test]
fn responses_echo_the_request_and_other_kinds_are_not_answered() {
    let server = TestServer::start(|server| server);
    let connection = server.connect();
    let mut traced = Frame::request(SHOUT, b"x".to_vec()).with_request_id(u64::MAX);
    traced.traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into();
    traced.tracestate = "vendor=1".into();
    for kind in [FrameKind::Response, FrameKind::Event, FrameKind::Cancel] {
        let other = Frame { kind: kind.into(), ..Frame::request(SHOUT, b"not a request".to_vec()) };
        write(&connection, &encode_framed(&other).unwrap());
    }
    write(&connection, &encode_framed(&traced).unwrap());
    let expected = encode_framed(&Frame::response_to(&traced, b"X".to_vec())).unwrap();
    assert_eq!(read(&connection, expected.len()), expected);
}

#[test]
fn a_handler_that_fails_refuses_its_request_and_nothing_else() {
    let fail = |payload: &[u8]| match payload {
        b"fail" => Err("out of disk".into()),
        b"busy" => Err(Refusal::new(RefusalReason::Overloaded, "three builds wait").into()),
        _ => Ok(b"fine".to_vec()),
    };
    let server = TestServer::start(|server| {
        server
            .serve(0xF00F, move |request| fail(request.payload()))
            .serve_inline(0xF010, move |request| fail(request.payload()))
    });
    for protocol in [0xF00F, 0xF010] {
        let connection = server.connect();
        let refusals = refusals(&connection, protocol, &[b"", b"fail", b"busy", b""]);
        // The text of an error stays here; a refusal is for the client.
        let expected = [(2, "the handler failed"), (3, r#"overloaded ("three builds wait")"#)];
        assert_eq!(refusals, expected.map(|(id, refusal)| (id, refusal.to_owned())));
        let error = format!("the handler of payload protocol 0x{protocol:04X} failed: out of disk");
        assert_eq!(server.error(), error);
        assert!(!server.has_more_errors(), "a refusal on purpose is not reported");
    }
}

#[test]
fn an_error_of_a_handler_whose_request_was_cancelled_is_not_reported() {
    let (begins, begun) = mpsc::channel();
    let server = TestServer::start(|server| {
        server
            .serve(0xF00F, move |request| {
                begins.send(())?;
                request.wait_cancelled();
                Err("the compiler was killed".into())
            })
            .serve(0xF010, |_| Err("out of disk".into()))
    });
    let cancel = Frame { kind: FrameKind::Cancel.into(), ..Frame::request(0xF00F, Vec::new()) };
    let cancel = encode_framed(&cancel.with_request_id(1)).unwrap();
    let cancels: [fn(LocalStream, &[u8]); 2] = [
        |connection, cancel| {
            write(&connection, cancel);
            assert_eq!(refusal(&read_frames(&connection, 1)[0]), "cancelled");
        },
        |connection, _| drop(connection),
    ];
    for (times, end) in (1..).zip(cancels) {
        let connection = server.connect();
        write(&connection, &request(0xF00F, 1, b""));
        next(&begun);
        end(connection, &cancel);
        eventually(|| {
            let status = server.stats.snapshot();
            (status.requests_cancelled == times && status.requests_in_flight == 0).then_some(())
        });
        assert!(!server.has_more_errors());
    }
    // The failure of a request that was not cancelled is reported.
    let connection = server.connect();
    write(&connection, &request(0xF010, 1, b""));
    read_frames(&connection, 1);
    assert_eq!(server.error(), "the handler of payload protocol 0xF010 failed: out of disk");
}

#[test]
fn an_observer_is_told_the_peer() {
    let (report, errors) = mpsc::channel();
    let server = TestServer::start(|server| {
        server
            .serve(0xF00F, |_| Err("out of disk".into()))
            .observe_with_peer(move |error, peer| {
                let _ = report.send((error.to_string(), peer.map(|peer| (*peer, peer.to_string()))));
            })
    });
    let connection = server.connect();
    // A handler that fails, and then half a frame.
    write(&connection, &[&request(0xF00F, 1, b"")[..], b"\x01\x09"].concat());
    read_frames(&connection, 1);
    drop(connection);
    for expected in ["the handler of payload protocol 0xF00F failed", "a connection was ended"] {
        let (error, peer) = next(&errors);
        let (peer, shown) = peer.expect("a peer");
        assert_eq!(error, expected);
        assert!(peer.is_same_user());
        #[cfg(unix)]
        assert_eq!(shown, format!("process {} of user {}", std::process::id(), peer.uid.unwrap()));
        #[cfg(not(unix))]
        assert!(shown.contains("process"), "{shown}");
    }
}

#[test]
fn a_handler_that_panics_refuses_its_request_and_nothing_else() {
    let fail = |payload: &[u8]| {
        assert!(payload != b"panic", "this panic is part of the test");
        Ok(b"fine".to_vec())
    };
    let server = TestServer::start(|server| {
        server
            .serve(0xF00F, move |request| fail(request.payload()))
            .serve_inline(0xF010, move |request| fail(request.payload()))
    });
    for protocol in [0xF00F, 0xF010] {
        let connection = server.connect();
        let refusals = refusals(&connection, protocol, &[b"", b"panic", b""]);
        assert_eq!(refusals, [(2, r#"the handler failed ("the handler panicked")"#.to_owned())]);
        assert_eq!(server.error(), "a handler panicked");
    }
}

#[test]
fn a_response_above_the_cap_is_refused() {
    let server = TestServer::start(|server| {
        server
            .serve(0xF00F, |request| Ok(vec![0; request.payload().len() << 20]))
            .serve_inline(0xF010, |request| Ok(vec![0; request.payload().len() << 20]))
    });
    for protocol in [0xF00F, 0xF010] {
        let connection = server.connect();
        let [(2, refusal)] = &refusals(&connection, protocol, &[b"", &[0; 17], b""])[..] else { panic!() };
        assert!(refusal.starts_with("the answer does not fit a frame (\"frame body is "), "{refusal}");
        let error = server.error();
        let expected = format!("the handler of payload protocol 0x{protocol:04X} failed: frame body is ");
        assert!(error.starts_with(&expected) && error.ends_with("the cap is 16777216"), "{error}");
    }
}

#[test]
fn frames_that_are_not_served_end_their_connection() {
    let server = TestServer::start(|server| server);
    let prefix = "a connection was ended: the peer sent bytes that this daemon does not serve: ";
    let cases = [
        (request(0xF0F0, 1, b"x"), "payload protocol 0xF0F0 is not served by this daemon"),
        (
            request(registry::ADMIN_PAYLOAD_PROTOCOL, 1, b"x"),
            "payload protocol 0xAD01 is first-party and not served by a daemon",
        ),
        (
            request(registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, 1, b"short"),
            "malformed identity probe: probe payload is 5 bytes, a nonce is 32",
        ),
        (vec![1, 0, 0, 0, 2], "not a frame: frame body is 33554432 bytes, the cap is 16777216"),
    ];
    for (wire, reason) in cases {
        let served_before = [request(SHOUT, 7, b"before"), wire].concat();
        let (answers, error) = ended(&server, &served_before);
        assert_eq!(error, format!("{prefix}{reason}"));
        let (answered, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.payload_protocol == SHOUT);
        assert_eq!(answered[0].payload, b"BEFORE", "the request before is answered");
        let refusals: Vec<_> = refused.into_iter().map(refusal).collect();
        if reason.ends_with("is not served by this daemon") {
            assert_eq!(refusals, [format!("the payload protocol is not served ({reason:?})")]);
        } else {
            assert!(refusals.is_empty(), "{refusals:?}");
        }
    }
}

#[test]
fn frames_that_break_the_strict_rules_end_their_connection_unless_allowed() {
    let odd = Frame { envelope_version: 2, ..Frame::request(SHOUT, b"x".to_vec()) };
    let unknown_kind = Frame { kind: 9, ..Frame::request(SHOUT, b"x".to_vec()) };
    let encoded = Frame { payload_encoding: 9, ..Frame::request(SHOUT, b"x".to_vec()) };
    let strict = TestServer::start(|server| server);
    let prefix = "a connection was ended: the peer sent a frame that this daemon refuses: ";
    for (frame, reason) in
        [(&odd, "envelope version is 2, this side speaks 1"), (&unknown_kind, "frame kind 9 is unknown")]
    {
        let (answers, error) = ended(&strict, &encode_framed(frame).unwrap());
        assert_eq!((answers, error), (vec![], format!("{prefix}{reason}")));
    }
    let connection = strict.connect();
    write(&connection, &[encode_framed(&encoded).unwrap(), request(SHOUT, 2, b"x")].concat());
    let answers = read_frames(&connection, 2);
    let expected = r#"the payload's encoding cannot be decoded ("payload encoding 9 is not accepted")"#;
    assert_eq!((refusal(&answers[0]), &answers[1].payload[..]), (expected.to_owned(), &b"X"[..]));

    let lenient = TestServer::with_config(|config| config.connection.strict = false);
    let connection = lenient.connect();
    for frame in [&unknown_kind, &odd] {
        write(&connection, &encode_framed(frame).unwrap());
    }
    let expected = encode_framed(&Frame::response_to(&odd, b"X".to_vec())).unwrap();
    assert_eq!(read(&connection, expected.len()), expected);
}

#[test]
fn a_peer_that_hangs_up_inside_a_frame_is_reported() {
    let server = TestServer::start(|server| server);
    let connection = server.connect();
    write(&connection, &request(SHOUT, 1, b"cut")[..9]);
    drop(connection);
    let error = server.error();
    assert_eq!(error, "a connection was ended: the peer ended the connection 9 bytes into a message");
    drop(server.connect());
    server.assert_serves();
    assert!(!server.has_more_errors());
}

#[test]
fn one_connection_more_than_allowed_is_not_served_until_another_has_ended() {
    let server = TestServer::with_config(|config| config.max_connections = 3);
    let expected = "3 connections are open, one more is not served";
    // The probe that showed that the server runs may still be on its way out.
    let mut held = Vec::new();
    while held.len() < 3 {
        let mut client = server.client();
        match client.request(SHOUT, b"held".to_vec()) {
            Ok(_) => held.push(client),
            Err(FrameClientError::Refused(_)) => assert_eq!(server.error(), expected),
            Err(error) => panic!("{error}"),
        }
    }
    for _ in 0..5 {
        let refused = server.client().request(SHOUT, b"one more".to_vec());
        assert!(matches!(refused, Err(FrameClientError::Refused(_))), "{refused:?}");
        assert_eq!(server.error(), expected);
    }
    for client in &mut held {
        assert_eq!(client.request(SHOUT, b"on".to_vec()).unwrap().payload, b"ON");
    }
    held.pop();
    eventually(|| server.client().request(SHOUT, b"x".to_vec()).ok());
}

#[test]
fn the_first_message_has_a_deadline() {
    let server = TestServer::with_config(|config| config.connection.first_message_timeout = SHORT);
    let expected = "a connection was ended: the peer was too slow: waited for the first message";
    for sent in [&b""[..], &[1], &request(SHOUT, 1, b"almost")[..12]] {
        let began = Instant::now();
        assert_eq!(ended(&server, sent), (vec![], expected.to_owned()));
        assert!(began.elapsed() >= SHORT);
    }
}

#[test]
fn the_deadline_of_the_first_message_is_not_stretched_by_dripping() {
    let server = TestServer::with_config(|config| config.connection.first_message_timeout = SHORT);
    let connection = server.connect();
    let wire = request(SHOUT, 1, &vec![0; 100_000]);
    let (tell, told) = mpsc::channel();
    let writer = connection.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        for byte in wire {
            // The timeout is the pause between the bytes.
            if told.recv_timeout(Duration::from_millis(5)) == Ok(())
                || writer.write_all_deadline(&[byte], None).is_err()
            {
                return;
            }
        }
    });
    assert_eq!(read_to_end(&connection), b"");
    assert_eq!(
        server.error(),
        "a connection was ended: the peer was too slow: waited for the first message"
    );
    // The writer may have ended by itself.
    let _ = tell.send(());
    join(dripping);
}

#[test]
fn a_message_that_has_begun_and_idleness_have_deadlines() {
    let server = TestServer::with_config(|config| config.connection.message_timeout = SHORT);
    let wire = [request(SHOUT, 1, b"whole"), request(SHOUT, 2, b"half")].concat();
    let (answers, error) = ended(&server, &wire[..wire.len() - 1]);
    assert_eq!(answers.len(), 1);
    assert_eq!(error, "a connection was ended: the peer was too slow: waited for the rest of a message");

    let server = TestServer::with_config(|config| config.connection.idle_timeout = Some(SHORT));
    let began = Instant::now();
    let (answers, error) = ended(&server, &request(SHOUT, 1, b"whole"));
    assert_eq!(answers.len(), 1);
    assert_eq!(error, "a connection was ended: the peer was too slow: waited for the next message");
    assert!(began.elapsed() >= SHORT);
}

#[test]
fn an_undecided_frame_is_a_frame_after_its_deadline() {
    let server = TestServer::start(|server| {
        server.legacy(|_| LegacyClassification::NeedMoreBytes, |_| panic!("no connection of this test is legacy"))
    });
    let mut client = server.client();
    for round in ["one", "two"] {
        let response = client.request(SHOUT, round.as_bytes().to_vec()).unwrap();
        assert_eq!(response.payload, round.to_ascii_uppercase().as_bytes());
    }
    probe_endpoint(&server.temp.endpoint, soon()).unwrap();
}

#[test]
fn a_peer_that_reads_too_slowly_is_disconnected() {
    let mut config = ServerConfig::default();
    config.write_timeout = SHORT;
    let server = TestServer::start(|server| server.config(config).serve(0xF00F, |_| Ok(vec![0; 8 << 20])));
    let connection = server.connect();
    write(&connection, &request(0xF00F, 1, b""));
    assert_eq!(server.error(), "a connection failed: the deadline has passed");
    server.assert_serves();
    let received = read_to_end(&connection);
    assert!(received.len() < 8 << 20, "the connection is closed");
}

#[test]
fn an_endpoint_has_one_server() {
    let server = TestServer::start(|server| server);
    assert!(matches!(TestServer::bind(server.temp.endpoint.clone()), Err(BindError::InUse { .. })));
    server.assert_serves();
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let server = TestServer::start(|server| server);
    std::thread::scope(|scope| {
        for client in 0..16 {
            let mut connection = server.client();
            scope.spawn(move || {
                for round in 0..50 {
                    let payload = format!("client {client} round {round}");
                    let response = connection.request(SHOUT, payload.clone().into_bytes()).unwrap();
                    assert_eq!(response.payload, payload.to_ascii_uppercase().into_bytes());
                }
            });
        }
    });
    assert!(!server.has_more_errors());
}

#[test]
fn an_identity_file_that_cannot_be_written_is_an_error_and_the_endpoint_is_free_again() {
    let temp = TempEndpoint::new();
    let identity_file = temp.directory.path().join("nowhere/identity.json");
    let server = TestServer::bind(temp.endpoint.clone()).unwrap().identity_file(&identity_file);
    let error = watched(move || server.run().unwrap_err());
    assert!(matches!(&error, ServerError::IdentityFile { path, .. } if *path == identity_file), "{error:?}");
    drop(TestServer::bind(temp.endpoint.clone()).unwrap());
}
