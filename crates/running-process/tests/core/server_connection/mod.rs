//! The daemon's side of one connection and its calls: admission, answers, deadlines, cancels, and memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod any_order;
mod buffers;
mod descriptors;
#[cfg(any(feature = "lz4", feature = "snappy", feature = "zstd"))]
mod encoded;

use crate::common::{UNSERVED, detectors, frame, mux, wire};
use running_process::broker::backend_sdk::{
    CallId, CancelReason, Cancelled, ConnectionConfig, ConnectionError, LegacyClassification, Payload,
    SendEventError, ServerConnection, ServerEvent,
};
use running_process::broker::protocol::{
    Frame, FrameKind, MAX_FRAME_BYTES, Refusal, RefusalReason, try_decode_framed,
};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// More than the other tests leave unread.
const PLENTY: usize = 1 << 20;
const TICK: Duration = Duration::from_millis(1);

type Server = ServerConnection<fn(&[u8]) -> LegacyClassification>;

fn server(change: impl FnOnce(&mut ConnectionConfig)) -> (Server, Instant) {
    with_output(PLENTY, change)
}

fn with_output(enough: usize, change: impl FnOnce(&mut ConnectionConfig)) -> (Server, Instant) {
    let mut config = ConnectionConfig::default();
    change(&mut config);
    let now = Instant::now();
    (ServerConnection::new(Arc::new(mux(detectors::never)), config, enough, now), now)
}

#[test]
fn a_connection_is_validated_by_its_first_frame() {
    let (mut server, now) = server(|_| ());
    assert!(!server.is_validated());
    server.receive(&request(1)[..3], now);
    assert!(!server.is_validated());
    admit(&mut server, &request(1)[3..], now);
    assert!(server.is_validated());
}

#[test]
fn the_reason_of_a_cancel_is_told_to_people() {
    let reasons = [
        (CancelReason::Requested, "the client cancelled the request"),
        (CancelReason::DeadlinePassed, "the request's deadline has passed"),
        (CancelReason::PeerGone, "the client is gone"),
        (CancelReason::ShuttingDown, "the daemon is ending"),
    ];
    for (reason, told) in reasons {
        assert_eq!(reason.to_string(), told);
    }
}

#[test]
fn a_payload_is_the_bytes_that_it_was_made_of() {
    let bytes = b"payload";
    for payload in [
        Payload::from(bytes.to_vec()),
        Payload::from(bytes.to_vec().into_boxed_slice()),
        Payload::from(bytes::Bytes::copy_from_slice(bytes)),
        Payload::from(*bytes),
    ] {
        assert_eq!(&payload[..], bytes);
        assert_eq!(format!("{payload:?}"), format!("{bytes:?}"));
    }
}

fn request(id: u64) -> Vec<u8> {
    wire(&frame(FrameKind::Request, id, &id.to_le_bytes()))
}

fn cancel(id: u64) -> Vec<u8> {
    wire(&frame(FrameKind::Cancel, id, b""))
}

/// Receives `bytes`, admits every request that may be admitted, and returns the calls with their ids.
fn admit(server: &mut Server, bytes: &[u8], now: Instant) -> Vec<(u64, CallId)> {
    admit_before(server, bytes, now, None)
}

fn admit_before(
    server: &mut Server,
    bytes: &[u8],
    now: Instant,
    deadline: Option<Instant>,
) -> Vec<(u64, CallId)> {
    if !bytes.is_empty() {
        server.receive(bytes, now);
    }
    let mut admitted = Vec::new();
    while let Some(event) = server.next_event().unwrap() {
        let ServerEvent::Request(call) = event else { panic!("{event:?}") };
        admitted.push((call.frame.request_id, call.admit(deadline)));
    }
    admitted
}

fn ids(calls: &[(u64, CallId)]) -> Vec<u64> {
    calls.iter().map(|(id, _)| *id).collect()
}

/// Takes the output as written, and returns the frames in it.
fn written(server: &mut Server, now: Instant) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(decoded) = try_decode_framed(server.output()).unwrap() {
        frames.push(decoded.frame);
        server.output_written(decoded.consumed, now);
    }
    assert!(server.output().is_empty());
    frames
}

fn refusal(frame: &Frame) -> RefusalReason {
    Refusal::from_frame(&frame.borrowed()).expect("a refusal").reason()
}

fn cancelled(server: &mut Server) -> Vec<(CallId, CancelReason)> {
    let mut all = Vec::new();
    while let Some(event) = server.next_event().unwrap() {
        if let ServerEvent::Cancelled(Cancelled { call, reason, .. }) = event {
            all.push((call, reason));
        }
    }
    all
}

#[test]
fn answers_go_out_in_the_order_in_which_they_are_given_and_echo_their_request() {
    for (traceparent, tracestate) in [("00-a-b-01", "v=1"), ("00-a-b-01", ""), ("", "v=1")] {
        let (mut server, now) = server(|_| {});
        let traced = Frame {
            traceparent: traceparent.into(),
            tracestate: tracestate.into(),
            ..frame(FrameKind::Request, 1, b"x")
        };
        let calls = admit(&mut server, &[wire(&traced), request(2)].concat(), now);
        assert_eq!((ids(&calls), server.in_flight()), (vec![1, 2], 2));
        server.respond(calls[1].1, b"second").unwrap();
        server.respond(calls[0].1, b"first").unwrap();
        let answers = written(&mut server, now);
        assert_eq!(answers[0].payload, b"second");
        assert_eq!(answers[1], Frame::response_to(&traced, b"first".to_vec()));
        assert_eq!(server.in_flight(), 0);
    }
}

#[test]
fn one_request_more_than_allowed_waits_with_all_behind_it_until_a_call_ends() {
    let (mut server, now) = server(|config| config.max_in_flight = 2);
    let calls = admit(&mut server, &[request(1), request(2), request(3), cancel(1)].concat(), now);
    assert_eq!(ids(&calls), [1, 2]);
    assert!(server.is_blocked() && server.wants_input());
    assert_eq!(server.deadline(), None, "the peer is not to blame");
    server.respond(calls[1].1, b"").unwrap();
    let ServerEvent::Request(third) = server.next_event().unwrap().unwrap() else { panic!() };
    assert_eq!(third.frame.request_id, 3);
    let _third = third.admit(None);
    let event = server.next_event().unwrap();
    assert!(
        matches!(event, Some(ServerEvent::Cancelled(Cancelled { call, reason: CancelReason::Requested, .. })) if call == calls[0].1)
    );
}

#[test]
fn after_the_end_nothing_is_read_although_requests_still_wait_to_be_taken() {
    let (mut server, now) = server(|config| config.max_in_flight = 1);
    let calls = admit(&mut server, &[request(1), request(2)].concat(), now);
    assert!(server.wants_input());
    server.receive_eof();
    assert!(server.next_event().unwrap().is_none());
    assert!(server.has_ended() && !server.is_over() && !server.wants_input());
    server.respond(calls[0].1, b"").unwrap();
    let Some(ServerEvent::Request(second)) = server.next_event().unwrap() else { panic!() };
    second.respond(b"").unwrap();
    assert!(matches!(server.next_event().unwrap(), Some(ServerEvent::Closed)));
}

#[test]
fn a_peer_that_floods_is_not_read_on() {
    let (mut server, now) = server(|config| config.max_in_flight = 1);
    assert_eq!(admit(&mut server, &request(1), now).len(), 1);
    let mut received = 0;
    while server.wants_input() {
        assert!(admit(&mut server, &request(2).repeat(100), now).is_empty());
        received += 100 * request(2).len();
        assert!(received < 200_000, "it is never enough");
    }
    assert!(server.memory() < 400_000);
}

#[test]
fn a_request_with_the_id_of_another_in_flight_waits_for_it() {
    let (mut server, now) = server(|_| {});
    let calls = admit(&mut server, &[request(0), request(0)].concat(), now);
    assert_eq!(ids(&calls), [0]);
    server.respond(calls[0].1, b"one").unwrap();
    let next = admit(&mut server, b"", now);
    assert_eq!(ids(&next), [0]);
    // The first call is over, so this response is ignored.
    server.respond(calls[0].1, b"again").unwrap();
    assert!(matches!(server.send_event(calls[0].1, b"x"), Err(SendEventError::Cancelled)));
    assert_eq!(server.in_flight(), 1);
    server.respond(next[0].1, b"two").unwrap();
    let payloads: Vec<_> = written(&mut server, now).into_iter().map(|frame| frame.payload).collect();
    assert_eq!(payloads, [b"one", b"two"]);
}

#[test]
fn no_request_is_taken_while_enough_output_waits() {
    let (mut server, now) = with_output(100, |_| {});
    server.receive(&request(1).repeat(3), now);
    let mut answered = 0;
    let mut written_bytes = 0;
    loop {
        while let Some(event) = server.next_event().unwrap() {
            let ServerEvent::Request(call) = event else { panic!("{event:?}") };
            call.respond([0; 200]).unwrap();
            answered += 1;
        }
        if server.output().is_empty() {
            break;
        }
        assert!(server.unwritten() < 100 + 300, "one answer beyond enough");
        // Output that was taken to be written still counts, until it is given back.
        let output = server.take_output();
        assert!(server.next_event().unwrap().is_none());
        written_bytes += output.len();
        server.restore_output(output, now);
    }
    assert_eq!(answered, 3);
    assert!(written_bytes > 600);
}

#[test]
fn a_deadline_cancels_once_and_refuses_and_the_late_answer_is_dropped() {
    let (mut server, now) = server(|_| {});
    let due = now + Duration::from_secs(1);
    let calls = admit_before(&mut server, &[request(1), request(2)].concat(), now, Some(due));
    assert_eq!(server.deadline(), Some(due));
    server.respond(calls[1].1, b"in time").unwrap();
    server.handle_timeout(due.checked_sub(TICK).unwrap());
    assert_eq!(cancelled(&mut server), []);
    server.handle_timeout(due);
    assert_eq!(cancelled(&mut server), [(calls[0].1, CancelReason::DeadlinePassed)]);
    assert_eq!(cancelled(&mut server), []);
    let answers = written(&mut server, due);
    assert_eq!((answers[0].request_id, &answers[0].payload[..]), (2, &b"in time"[..]));
    assert_eq!((answers[1].request_id, refusal(&answers[1])), (1, RefusalReason::DeadlinePassed));
    assert_eq!(server.in_flight(), 1, "its handler may still run");
    server.respond(calls[0].1, b"late").unwrap();
    assert_eq!((written(&mut server, due), server.in_flight()), (vec![], 0));
}

#[test]
fn a_cancel_of_nothing_is_of_no_call() {
    let (mut server, now) = server(|_| {});
    server.receive(&cancel(9), now);
    assert!(
        matches!(server.next_event().unwrap(), Some(ServerEvent::Unasked(frame)) if frame.request_id == 9)
    );
    assert!(server.next_event().unwrap().is_none());
    assert_eq!(written(&mut server, now), []);
}

/// Returns every form of a cancel of the request `id` that a peer may send.
fn cancels(id: u64) -> Vec<(&'static str, Frame)> {
    let own = frame(FrameKind::Cancel, id, b"");
    vec![
        ("with a payload", Frame { payload: b"no longer needed".to_vec(), ..own.clone() }),
        (
            "with a payload that cannot be decoded",
            Frame { payload_encoding: 1, payload: vec![9], ..own.clone() },
        ),
        ("of the control protocol", Frame { payload_protocol: 0, ..own.clone() }),
        ("of a protocol that is not served", Frame { payload_protocol: UNSERVED, ..own.clone() }),
        ("of the protocol of its request", own),
    ]
}

#[test]
fn a_cancel_names_its_request_by_the_id_alone() {
    for (what, cancel) in cancels(1) {
        let (mut server, now) = server(|_| {});
        // A cancel before the request, one before its answer, and one behind the answer.
        server.receive(&wire(&cancel), now);
        assert!(matches!(server.next_event(), Ok(Some(ServerEvent::Unasked(_)))), "{what}");
        let calls = admit(&mut server, &request(1), now);
        server.receive(&wire(&cancel), now);
        assert_eq!(cancelled(&mut server), [(calls[0].1, CancelReason::Requested)], "{what}");
        server.refuse(calls[0].1, &Refusal::new(RefusalReason::HandlerFailed, ""));
        server.receive(&wire(&cancel), now);
        assert!(matches!(server.next_event(), Ok(Some(ServerEvent::Unasked(_)))), "{what}");
        let calls = admit(&mut server, &request(2), now);
        server.respond(calls[0].1, b"next").unwrap();
        let answers = written(&mut server, now);
        assert_eq!((answers.len(), refusal(&answers[0])), (2, RefusalReason::Cancelled), "{what}");
        assert_eq!((answers[1].request_id, &answers[1].payload[..]), (2, &b"next"[..]), "{what}");
    }
}

#[test]
fn only_a_cancel_may_be_of_a_protocol_that_is_not_served() {
    for kind in [FrameKind::Request, FrameKind::Response, FrameKind::Event] {
        for payload_protocol in [0, UNSERVED] {
            let (mut server, now) = server(|_| {});
            server.receive(&wire(&Frame { payload_protocol, ..frame(kind, 1, b"") }), now);
            assert!(
                matches!(server.next_event(), Err(ConnectionError::Mux(_))),
                "{kind:?} {payload_protocol}"
            );
        }
    }
    // A cancel of another first-party protocol is an error.
    let (mut server, now) = server(|_| {});
    server.receive(&wire(&Frame { payload_protocol: 0x5350, ..frame(FrameKind::Cancel, 1, b"") }), now);
    assert!(matches!(server.next_event(), Err(ConnectionError::Mux(_))));
}

#[test]
fn events_go_ahead_of_their_answer_and_none_behind_a_cancel() {
    let (mut server, now) = server(|_| {});
    let calls = admit(&mut server, &request(5), now);
    server.send_event(calls[0].1, b"half").unwrap();
    assert!(matches!(
        server.send_event(calls[0].1, &vec![0; MAX_FRAME_BYTES]),
        Err(SendEventError::Framing(_))
    ));
    server.receive(&cancel(5), now);
    assert_eq!(cancelled(&mut server), [(calls[0].1, CancelReason::Requested)]);
    assert!(matches!(server.send_event(calls[0].1, b"more"), Err(SendEventError::Cancelled)));
    server.refuse(calls[0].1, &Refusal::new(RefusalReason::HandlerFailed, ""));
    let answers = written(&mut server, now);
    assert_eq!((answers[0].kind, &answers[0].payload[..]), (FrameKind::Event.into(), &b"half"[..]));
    assert_eq!(refusal(&answers[1]), RefusalReason::Cancelled);
    assert_eq!(answers.len(), 2);
}

#[test]
fn an_answer_that_is_shared_or_static_is_written_from_where_it_lies() {
    static FIXED: [u8; 20_000] = [4; 20_000];
    let (mut server, now) = server(|_| {});
    let slice: Arc<[u8]> = vec![5; 30_000].into();
    let vector = Arc::new(vec![6; 40_000]);
    let payloads = [Payload::from(&FIXED), Arc::clone(&slice).into(), Arc::clone(&vector).into()];
    let calls = admit(&mut server, &[request(1), request(2), request(3)].concat(), now);
    let memory = server.memory();
    for ((_, call), payload) in calls.into_iter().zip(payloads) {
        server.respond(call, payload).unwrap();
    }
    assert!(server.memory() < memory + 1000, "what the daemon shares is its own");
    let mut slices = [IoSlice::new(&[]); 8];
    let count = server.output_slices(&mut slices);
    let large: Vec<_> = slices[..count].iter().filter(|slice| slice.len() >= 20_000).collect();
    let lie_at: Vec<_> = large.iter().map(|slice| slice.as_ptr()).collect();
    assert_eq!(lie_at, [FIXED.as_ptr(), slice.as_ptr(), vector.as_ptr()]);
    let output = server.take_output();
    assert!(server.memory() < memory + 1000, "also while it is being written");
    server.restore_output(output, now);
    assert_eq!((Arc::strong_count(&slice), Arc::strong_count(&vector)), (1, 1));
}

#[test]
fn a_large_answer_is_written_from_where_it_lies() {
    let (mut server, now) = server(|_| {});
    let large = vec![3; 100_000];
    let (there, expected) =
        (large.as_ptr(), Frame::response_to(&frame(FrameKind::Request, 1, b""), large.clone()));
    let calls = admit(&mut server, &[request(1), request(2)].concat(), now);
    server.respond(calls[0].1, large).unwrap();
    server.respond(calls[1].1, b"small").unwrap();
    let mut slices = [IoSlice::new(&[]); 8];
    let count = server.output_slices(&mut slices);
    assert_eq!(slices[1].as_ptr(), there, "it is not copied");
    let all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
    assert_eq!(server.unwritten(), all.len());
    let first = wire(&expected);
    assert!(all.starts_with(&first));
    assert_eq!(try_decode_framed(&all[first.len()..]).unwrap().unwrap().frame.payload, b"small");
    server.output_written(all.len(), now);
    assert!(server.memory() < 10_000, "what is written is let go");
}

#[test]
fn an_answer_that_fits_no_frame_is_a_refusal() {
    let (mut server, now) = server(|_| {});
    let calls = admit(&mut server, &request(1), now);
    assert!(server.respond(calls[0].1, vec![0; MAX_FRAME_BYTES]).is_err());
    server.receive(&request(2), now);
    let Some(ServerEvent::Request(call)) = server.next_event().unwrap() else { panic!() };
    assert!(call.respond(vec![0; MAX_FRAME_BYTES]).is_err());
    let answers = written(&mut server, now);
    assert_eq!(answers.iter().map(refusal).collect::<Vec<_>>(), [RefusalReason::AnswerTooLarge; 2]);
    assert_eq!(server.in_flight(), 0);
}

#[test]
fn a_peer_that_is_gone_cancels_everything_and_is_told_nothing() {
    let (mut server, now) = server(|_| {});
    let calls = admit(&mut server, &[request(1), request(2)].concat(), now);
    server.respond(calls[0].1, b"unread").unwrap();
    server.reset();
    assert_eq!(cancelled(&mut server), [(calls[1].1, CancelReason::PeerGone)]);
    assert!(server.is_over() && server.output().is_empty());
}

#[test]
fn a_daemon_that_ends_tells_every_client() {
    let (mut server, now) = server(|_| {});
    admit(&mut server, &[request(1), request(2)].concat(), now);
    server.cancel_all(CancelReason::ShuttingDown);
    assert_eq!(cancelled(&mut server).len(), 2);
    let reasons: Vec<_> = written(&mut server, now).iter().map(refusal).collect();
    assert_eq!(reasons, [RefusalReason::HandlerFailed; 2]);
}

#[test]
fn a_client_that_waits_is_not_idle() {
    let idle = Duration::from_secs(5);
    let (mut server, now) = server(|config| config.idle_timeout = Some(idle));
    let calls = admit(&mut server, &request(1), now);
    let later = now + 10 * idle;
    server.handle_timeout(later);
    assert!(server.next_event().unwrap().is_none());
    server.respond(calls[0].1, b"at last").unwrap();
    for _ in 0..2 {
        server.handle_timeout(later);
        assert!(server.next_event().unwrap().is_none(), "its answer is not written yet");
    }
    written(&mut server, later);
    server.handle_timeout(later + idle);
    let error = server.next_event().unwrap_err();
    assert!(matches!(error, ConnectionError::TimedOut { .. }), "{error}");
}

#[test]
fn a_connection_without_anything_to_keep_gives_its_memory_back() {
    let (mut server, now) = server(|_| {});
    let calls = admit(&mut server, &request(1), now);
    server.respond(calls[0].1, [0; 5000]).unwrap();
    written(&mut server, now);
    assert!(server.next_event().unwrap().is_none());
    assert!(server.memory() > 0);
    let at = server.deadline().unwrap();
    assert!(at > now && at <= now + Duration::from_secs(1));
    server.handle_timeout(at);
    assert_eq!((server.memory(), server.deadline()), (0, None));
    // Then it goes on.
    assert_eq!(admit(&mut server, &request(2), at).len(), 1);
}
