//! The client's side of one connection: matching responses with requests, and the errors that end it.

mod late;
mod unwritten;

use crate::common::streams::{cuts, reads};
use crate::common::{Detector, SERVED, UNSERVED, chain, detectors, frame, framed, mux, wire};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use running_process::broker::backend_sdk::{
    ClientConnection, ClientConnectionError, ClientEvent, Connection, ConnectionConfig, ConnectionEvent,
    RequestHead, RequestId,
};
use running_process::broker::protocol::{
    EncodingPolicy, Frame, FrameKind, FrameRef, MAX_FRAME_BYTES, PayloadEncoding, Refusal, RefusalReason,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An event of a client, or the error that ended it, owned.
#[derive(Clone, Debug, PartialEq)]
enum Observed {
    Response(RequestId, Vec<u8>),
    Refused(RequestId, Refusal),
    RequestEvent(RequestId, Vec<u8>),
    Event(Frame),
    Other(Frame),
    Failed(String),
}

fn take_events(client: &mut ClientConnection) -> Vec<Observed> {
    let mut seen = Vec::new();
    loop {
        seen.push(match client.next_event() {
            Ok(None) => return seen,
            Ok(Some(ClientEvent::Response(id, frame))) => Observed::Response(id, frame.payload.to_vec()),
            Ok(Some(ClientEvent::Refused(id, refusal))) => Observed::Refused(id, refusal),
            Ok(Some(ClientEvent::RequestEvent(id, frame))) => {
                Observed::RequestEvent(id, frame.payload.to_vec())
            }
            Ok(Some(ClientEvent::Event(frame))) => Observed::Event(frame.to_frame()),
            Ok(Some(ClientEvent::Other(frame))) => Observed::Other(frame.to_frame()),
            Ok(Some(other)) => panic!("{other:?}"),
            Err(error) => Observed::Failed(chain(&error)),
        });
        assert!(!matches!(seen[..], [.., Observed::Failed(_), _]), "{seen:?}: an event after the end");
    }
}

/// Takes the client's output, and returns the frames in it.
fn sent(client: &mut ClientConnection) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [_, a, b, c, d, rest @ ..] = client.output() {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        frames.push(Frame::decode(&rest[..length]).expect("the client writes frames"));
        client.output_written(5 + length);
    }
    assert!(client.output().is_empty());
    frames
}

/// Returns a client with `count` requests in flight, and the requests.
fn client_with(count: usize) -> (ClientConnection, Vec<(RequestId, Frame)>) {
    let mut client = ClientConnection::new();
    let mut send = || client.send_request(SERVED, b"ping").expect("a small request fits");
    let ids = (0..count).map(|_| send()).collect::<Vec<_>>();
    let frames = sent(&mut client);
    (client, ids.into_iter().zip(frames).collect())
}

#[test]
fn a_request_tells_the_daemon_its_deadline() {
    let mut client = ClientConnection::new();
    client.send_request_deadline(SERVED, b"ping", 1_767_225_600_123).unwrap();
    client.send_request(SERVED, b"ping").unwrap();
    let deadlines: Vec<_> = sent(&mut client).iter().map(|frame| frame.deadline_unix_ms).collect();
    assert_eq!(deadlines, [1_767_225_600_123, 0]);
}

#[test]
fn an_owned_event_has_the_frame_that_came() {
    let (mut client, requests) = client_with(1);
    assert!(client.next_owned_event().unwrap().is_none());
    let answer = response(&requests[0].1, b"pong");
    client.receive(&wire(&answer));
    let Some(ClientEvent::Response(id, frame)) = client.next_owned_event().unwrap() else { panic!() };
    assert_eq!((id, frame), (requests[0].0, answer));
    assert!(client.next_owned_event().unwrap().is_none());
}

fn response(request: &Frame, payload: &[u8]) -> Frame {
    Frame { kind: 1, payload: payload.to_vec(), ..request.clone() }
}

/// Returns the frame of a refusal: a response under the control protocol.
fn refusal(request: &Frame, payload: &[u8]) -> Frame {
    Frame { payload_protocol: 0, ..response(request, payload) }
}

#[test]
fn requests_are_frames_under_ids_of_their_own_and_none_is_zero() {
    let (client, requests) = client_with(3);
    let mut ids = requests.iter().map(|(_, request)| request.request_id).collect::<Vec<_>>();
    ids.dedup();
    assert!(ids.len() == 3 && !ids.contains(&0));
    for (id, request) in requests {
        assert_eq!(request, frame(FrameKind::Request, request.request_id, b"ping"));
        assert!(client.is_pending(id));
    }
}

#[test]
fn a_cancel_is_written_as_documented() {
    let mut client = ClientConnection::new();
    let id = client.send_request(0x7A63, b"ping").unwrap();
    sent(&mut client);
    client.cancel(id);
    assert_eq!(client.output(), b"\x01\x0a\0\0\0\x08\x01\x10\x03\x18\xe3\xf4\x01\x28\x01");
}

#[test]
fn responses_find_their_requests_in_any_order() {
    let (mut client, requests) = client_with(3);
    for index in [2, 0, 1] {
        let (id, request) = &requests[index];
        client.receive(&wire(&response(request, &[7; 3])));
        assert_eq!(take_events(&mut client), [Observed::Response(*id, vec![7; 3])]);
        assert!(!client.is_pending(*id));
    }
    client.receive_eof().unwrap();
}

#[test]
fn a_response_that_is_cut_anywhere_comes_once_it_is_whole() {
    let (client, requests) = client_with(1);
    drop(client);
    let wire = wire(&response(&requests[0].1, b"pong"));
    for cut in 0..wire.len() {
        let (mut client, requests) = client_with(1);
        client.receive(&wire[..cut]);
        assert_eq!(take_events(&mut client), []);
        client.receive(&wire[cut..]);
        assert_eq!(take_events(&mut client), [Observed::Response(requests[0].0, b"pong".to_vec())]);
    }
}

#[test]
fn a_cancelled_request_is_announced_and_its_late_response_dropped() {
    let (mut client, requests) = client_with(2);
    let (id, request) = &requests[0];
    client.cancel(*id);
    assert!(!client.is_pending(*id));
    assert_eq!(sent(&mut client), [frame(FrameKind::Cancel, request.request_id, b"")]);
    client.cancel(*id);
    assert_eq!(sent(&mut client), [], "it is announced once");

    let late = wire(&response(request, b"late"));
    let other = wire(&response(&requests[1].1, b"other"));
    client.receive(&[late, other].concat());
    assert_eq!(take_events(&mut client), [Observed::Response(requests[1].0, b"other".to_vec())]);
}

#[test]
fn cancelling_what_has_been_answered_says_nothing() {
    let (mut client, requests) = client_with(1);
    client.receive(&wire(&response(&requests[0].1, b"pong")));
    assert_eq!(take_events(&mut client).len(), 1);
    client.cancel(requests[0].0);
    assert_eq!(sent(&mut client), []);
}

#[test]
fn a_response_to_what_was_never_sent_ends_the_connection() {
    for got in [0, 3, u64::MAX] {
        let (mut client, _) = client_with(2);
        client.receive(&wire(&frame(FrameKind::Response, got, b"")));
        client.receive(&wire(&frame(FrameKind::Event, 1, b"")));
        let message = format!("the daemon answered request {got}, which was never sent");
        assert_eq!(take_events(&mut client), [Observed::Failed(message)]);
    }
}

#[test]
fn a_response_in_another_protocol_ends_the_connection() {
    let (mut client, requests) = client_with(1);
    client
        .receive(&wire(&Frame { payload_protocol: UNSERVED, ..response(&requests[0].1, b"from elsewhere") }));
    assert!(matches!(
        client.next_event(),
        Err(ClientConnectionError::PayloadProtocolMismatch { got: UNSERVED, expected: SERVED })
    ));
    assert_eq!(
        ClientConnectionError::PayloadProtocolMismatch { got: UNSERVED, expected: SERVED }.to_string(),
        "the daemon answered in payload protocol 0x7002, asked was 0x7001"
    );
    client.receive(&wire(&frame(FrameKind::Event, 1, b"")));
    assert_eq!(take_events(&mut client), [], "nothing that follows can be trusted");
}

#[test]
fn a_refusal_answers_its_request_and_the_connection_goes_on() {
    let (mut client, requests) = client_with(2);
    let (refused, request) = &requests[0];
    // reason (tag 1000) = 1, message (1001) = "full", retry_after_ms (1002) = 20
    let overloaded = b"\xc0\x3e\x01\xca\x3e\x04full\xd0\x3e\x14";
    client.receive(&wire(&refusal(request, overloaded)));
    client.receive(&wire(&response(&requests[1].1, b"pong")));
    let why = Refusal::new(RefusalReason::Overloaded, "full").retry_after(Duration::from_millis(20));
    let seen = [Observed::Refused(*refused, why), Observed::Response(requests[1].0, b"pong".to_vec())];
    assert_eq!(take_events(&mut client), seen);
    assert!(!client.is_pending(*refused));

    client.receive(&wire(&response(request, b"after all")));
    assert_eq!(take_events(&mut client), [], "what answers a refused request is late");
}

#[test]
fn a_refusal_of_a_request_that_was_given_up_is_dropped() {
    let (mut client, requests) = client_with(2);
    client.cancel(requests[0].0);
    client.receive(&wire(&refusal(&requests[0].1, b"\xc0\x3e\x03")));
    client.receive(&wire(&response(&requests[1].1, b"pong")));
    assert_eq!(take_events(&mut client), [Observed::Response(requests[1].0, b"pong".to_vec())]);
}

#[test]
fn a_refusal_of_what_was_never_sent_ends_the_connection() {
    for got in [0, 2] {
        let (mut client, requests) = client_with(1);
        client.receive(&wire(&Frame { request_id: got, ..refusal(&requests[0].1, b"\xc0\x3e\x03") }));
        let message = format!("the daemon answered request {got}, which was never sent");
        assert_eq!(take_events(&mut client), [Observed::Failed(message)]);
    }
}

#[test]
fn a_response_under_the_control_protocol_that_is_no_refusal_ends_the_connection() {
    let (mut client, requests) = client_with(1);
    client.receive(&wire(&refusal(&requests[0].1, b"\xff")));
    let message = "the daemon answered in payload protocol 0x0000, asked was 0x7001";
    assert_eq!(take_events(&mut client), [Observed::Failed(message.into())]);
}

#[test]
fn bytes_that_are_no_strict_frame_end_the_connection() {
    let event = frame(FrameKind::Event, 1, b"");
    let violated = "the daemon sent a frame that cannot be used";
    let cases = [
        (
            b"HTTP/1.1 400".to_vec(),
            "the daemon sent no frame: framing version is 72, this side speaks 1".into(),
        ),
        (
            vec![1, 1, 0, 0, 1],
            "the daemon sent no frame: frame body is 16777217 bytes, the cap is 16777216".into(),
        ),
        (
            framed(&[0xff]),
            "the daemon sent no frame: frame body is not a Frame: \
             failed to decode Protobuf message: invalid varint"
                .into(),
        ),
        (
            wire(&Frame { envelope_version: 2, ..event.clone() }),
            format!("{violated}: envelope version is 2, this side speaks 1"),
        ),
        (wire(&Frame { kind: 9, ..event.clone() }), format!("{violated}: frame kind 9 is unknown")),
        (
            wire(&Frame { payload_encoding: 2, ..event.clone() }),
            format!("{violated}: payload encoding Snappy is not supported"),
        ),
    ];
    for (bytes, message) in cases {
        let (mut client, _) = client_with(1);
        client.set_encoding_policy(EncodingPolicy::OFF);
        client.receive(&[bytes, wire(&event)].concat());
        assert_eq!(take_events(&mut client), [Observed::Failed(message)]);
    }
}

#[test]
fn events_and_requests_of_the_daemons_come_with_all_they_carry() {
    let (mut client, requests) = client_with(1);
    let event = Frame { tracestate: "v=1".into(), ..frame(FrameKind::Event, 1, b"progress") };
    let request = frame(FrameKind::Request, 77, b"are you there");
    let cancel = frame(FrameKind::Cancel, 77, b"");
    let answer = response(&requests[0].1, b"pong");
    client.receive(&[&event, &request, &cancel, &answer].map(wire).concat());
    let seen = [
        Observed::Event(event),
        Observed::Other(request),
        Observed::Other(cancel),
        Observed::Response(requests[0].0, b"pong".to_vec()),
    ];
    assert_eq!(take_events(&mut client), seen);
}

/// Returns a client with two requests whose events are wanted, and the requests.
fn streaming_client() -> (ClientConnection, Vec<(RequestId, Frame)>) {
    let mut client = ClientConnection::new();
    let mut head = RequestHead::default();
    head.events = true;
    let ids = [0, 1].map(|_| client.send_request_with(SERVED, b"ping", &head).expect("a small request fits"));
    let frames = sent(&mut client);
    (client, ids.into_iter().zip(frames).collect())
}

#[test]
fn events_of_requests_whose_events_are_wanted_come_with_their_request() {
    let (mut client, requests) = streaming_client();
    let [(first, one), (second, two)] = &requests[..] else { panic!("two requests") };
    let event = |request: &Frame, payload: &[u8]| Frame { kind: 2, ..response(request, payload) };
    let other = frame(FrameKind::Event, 0, b"of none");
    let wires = [&event(two, b"b"), &other, &event(one, b"a"), &response(one, b"x")].map(wire);
    client.receive(&wires.concat());
    let seen = [
        Observed::RequestEvent(*second, b"b".to_vec()),
        Observed::Event(other),
        Observed::RequestEvent(*first, b"a".to_vec()),
        Observed::Response(*first, b"x".to_vec()),
    ];
    assert_eq!(take_events(&mut client), seen);

    // Events of a cancelled request are dropped until its answer has come.
    client.cancel(*second);
    client.receive(
        &[event(two, b"late"), response(two, b"late"), event(two, b"again")].map(|f| wire(&f)).concat(),
    );
    assert_eq!(take_events(&mut client), [Observed::Event(event(two, b"again"))]);
    assert_eq!(client.skipped_events(), 1);
}

#[test]
fn events_that_are_not_wanted_are_skipped_and_counted() {
    let (mut client, requests) = streaming_client();
    let [(first, one), (second, two)] = &requests[..] else { panic!("two requests") };
    client.set_unsolicited_events(false);
    client.drop_events(*first);
    let event = |request: &Frame| Frame { kind: 2, ..response(request, b"x") };
    let unsolicited = [
        frame(FrameKind::Event, 0, b""),
        frame(FrameKind::Request, 9, b""),
        frame(FrameKind::Cancel, 9, b""),
    ];
    // An unwanted event is skipped without being decoded.
    let encoded = Frame { payload_encoding: PayloadEncoding::Zstd.into(), ..event(one) };
    let stream: Vec<u8> =
        unsolicited.iter().chain([&event(one), &event(two), &response(one, b"x")]).flat_map(wire).collect();
    client.receive(&stream);
    assert_eq!(
        take_events(&mut client),
        [Observed::RequestEvent(*second, b"x".to_vec()), Observed::Response(*first, b"x".to_vec())]
    );
    assert_eq!(client.skipped_events(), 4);
    if EncodingPolicy::default().accepted().contains(PayloadEncoding::Zstd) {
        client.receive(&wire(&encoded));
        assert_eq!(take_events(&mut client), []);
    }
}

#[test]
fn a_stream_ends_well_only_between_frames() {
    let answer = wire(&frame(FrameKind::Event, 1, b"x"));
    for length in 0..=answer.len() {
        let mut client = ClientConnection::new();
        client.receive(&answer[..length]);
        take_events(&mut client);
        let ended = client.receive_eof().map_err(|error| error.to_string());
        let message = format!("the daemon ended the connection {length} bytes into a frame");
        let whole = length == 0 || length == answer.len();
        assert_eq!(ended, if whole { Ok(()) } else { Err(message) });
    }
}

#[test]
fn a_request_too_large_is_neither_sent_nor_in_flight() {
    let mut client = ClientConnection::new();
    assert!(client.send_request(SERVED, vec![0; MAX_FRAME_BYTES]).is_err());
    assert!(client.output().is_empty());
    let id = client.send_request(SERVED, b"").unwrap();
    let [request] = &sent(&mut client)[..] else { panic!("one request was sent") };
    client.receive(&wire(&response(request, b"")));
    assert_eq!(take_events(&mut client), [Observed::Response(id, Vec::new())]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_a_daemon_sends_means_the_same_however_it_is_cut(
        frames in vec((0..6_u64, 0..5_i32, vec(any::<u8>(), 0..20)), 0..12),
        end in vec(any::<u8>(), 0..12),
        cancelled in 0..4_usize,
        sizes in cuts(),
    ) {
        let frame = |(request_id, kind, payload)| Frame {
            kind,
            payload,
            ..frame(FrameKind::Request, request_id, b"")
        };
        let mut stream = frames.into_iter().flat_map(|fields| wire(&frame(fields))).collect::<Vec<_>>();
        stream.extend(end);
        let seen = |reads: &[&[u8]]| {
            let (mut client, requests) = client_with(4);
            client.cancel(requests[cancelled].0);
            let mut seen = Vec::new();
            for read in reads {
                client.receive(read);
                seen.extend(take_events(&mut client));
            }
            seen
        };
        prop_assert_eq!(seen(&reads(&stream, &sizes)), seen(&[&stream]));
    }

    #[test]
    fn a_client_and_a_daemon_back_to_back_lose_nothing(
        payloads in vec(vec(any::<u8>(), 0..300), 1..20),
        deferred in vec(any::<bool>(), 20),
        to_daemon in cuts(),
        to_client in cuts(),
    ) {
        let now = Instant::now();
        let mut daemon = Connection::new(Arc::new(mux(detectors::never)), ConnectionConfig::default(), now);
        let mut client = ClientConnection::new();
        let mut expected = BTreeMap::new();
        for payload in &payloads {
            expected.insert(client.send_request(SERVED, payload.clone()).unwrap(), reversed(payload));
        }

        // After the last cut, one byte at a time is read.
        let (mut to_daemon, mut to_client) = (sizes(to_daemon), sizes(to_client));
        let (mut postponed, mut responses, mut served) = (Vec::new(), BTreeMap::new(), 0);
        while responses.len() < payloads.len() {
            let bytes = client.output();
            let length = to_daemon.next().unwrap_or(1).min(bytes.len());
            daemon.receive(&bytes[..length], now);
            client.output_written(length);
            serve(&mut daemon, |frame| {
                served += 1;
                deferred[served - 1].then(|| postponed.push(frame.to_frame())).is_none()
            });
            // Once everything has arrived, the postponed requests are answered in reverse order.
            if served == payloads.len() {
                while let Some(frame) = postponed.pop() {
                    let payload = reversed(&frame.payload);
                    let response = FrameRef::response_to(&frame.borrowed(), &[]);
                    daemon.send(&FrameRef { payload: &payload, ..response }).unwrap();
                }
            }
            let length = to_client.next().unwrap_or(1).min(daemon.output().len());
            client.receive(&daemon.output()[..length]);
            daemon.output_written(length, now);
            for seen in take_events(&mut client) {
                let Observed::Response(id, payload) = seen else { panic!("{seen:?}") };
                prop_assert!(!client.is_pending(id));
                prop_assert_eq!(responses.insert(id, payload), None);
            }
        }
        prop_assert_eq!(responses, expected);
        prop_assert!(client.output().is_empty() && daemon.output().is_empty());
        prop_assert_eq!(daemon.buffered(), 0);
        prop_assert!(client.receive_eof().is_ok());
        daemon.receive_eof();
        prop_assert!(matches!(daemon.next_event(), Ok(Some(ConnectionEvent::Closed))));
    }
}

fn reversed(payload: &[u8]) -> Vec<u8> {
    payload.iter().rev().copied().collect()
}

fn sizes(cuts: Vec<usize>) -> impl Iterator<Item = usize> {
    cuts.into_iter().chain(std::iter::repeat(1))
}

/// Answers the requests for which `now` returns `true`.
fn serve(daemon: &mut Connection<Detector>, mut now: impl FnMut(&FrameRef<'_>) -> bool) {
    while let Some(event) = daemon.next_event().expect("the client keeps to the rules") {
        let ConnectionEvent::Request(mut request) = event else { panic!("{event:?}") };
        if now(&request.frame) {
            request.respond(&reversed(request.payload())).expect("a small response fits");
        }
    }
}
