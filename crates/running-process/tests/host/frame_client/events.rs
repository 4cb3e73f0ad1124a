//! Events, the requests that they belong to, and deadlines: for every client.

use super::peer::{Client, Peer, Take, event, event_of, run};
use crate::support::{PATIENCE, SHOUT};
use running_process::broker::backend_sdk::{FrameClientError, MAX_WAITING_EVENT_BYTES, RequestOptions};
use running_process::broker::protocol::{Frame, FrameKind, Refusal, RefusalReason};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

cases! {
    events_that_were_not_asked_for_are_dropped_whatever_their_number_and_size
    a_stream_gives_the_events_of_its_request_and_then_its_answer
    a_stream_gives_its_answer_to_who_wants_no_more_events
    more_events_than_are_kept_reach_who_takes_them_as_they_come
    a_stream_that_is_dropped_gives_its_request_up_and_what_comes_late_is_dropped
    a_stream_that_is_refused_says_why_and_the_connection_goes_on
    a_stream_whose_daemon_hangs_up_gives_what_came_before
    a_stream_is_given_up_at_its_deadline
    the_daemon_is_told_the_deadline_the_trace_and_that_the_request_was_given_up
    a_deadline_that_has_passed_sends_nothing
}

const MIB: usize = 1024 * 1024;
/// A number of MiB that a client does not keep. Pipes are slow under Wine.
const MANY_MIB: usize = MAX_WAITING_EVENT_BYTES / MIB + if cfg!(windows) { 2 } else { 16 };

fn received_cancel(peer: &mut Peer, request: &Frame) {
    let cancel = peer.receive();
    assert_eq!(cancel.kind, i32::from(FrameKind::Cancel));
    assert_eq!((cancel.request_id, cancel.payload_protocol), (request.request_id, SHOUT));
    assert!(cancel.payload.is_empty());
}

fn events_that_were_not_asked_for_are_dropped_whatever_their_number_and_size<C: Client>() {
    run::<C>(
        |mut peer| {
            let request = peer.receive();
            for number in 0..5000 {
                peer.send(&event(number));
            }
            for _ in 0..MANY_MIB {
                peer.send(&event_of(&request, vec![7; MIB]));
                peer.send(&Frame::request(SHOUT, vec![7; MIB]));
            }
            peer.answer(&request);
            let request = peer.receive();
            peer.send(&event_of(&request, b"not asked for either".to_vec()));
            peer.answer(&request);
        },
        |mut client| {
            assert_eq!(client.request(b"done").unwrap().payload, b"DONE");
            assert_eq!(client.request(b"again").unwrap().payload, b"AGAIN");
        },
    );
}

fn a_stream_gives_the_events_of_its_request_and_then_its_answer<C: Client>() {
    run::<C>(
        |mut peer| {
            let request = peer.receive();
            for number in 0..3 {
                peer.send(&event_of(&request, vec![number]));
                // An event of no open request, and one of a request that was never sent.
                peer.send(&event(9));
                peer.send(&event(9).with_request_id(request.request_id + 1));
            }
            peer.answer(&request);
            let request = peer.receive();
            peer.answer(&request);
        },
        |mut client| {
            for expected in [&[0, 1, 2][..], &[]] {
                let mut seen = Vec::new();
                let answer = client.stream(b"x", &RequestOptions::new(), |event| {
                    seen.extend_from_slice(event);
                    Take::More
                });
                assert_eq!((answer.unwrap().unwrap().payload, &seen[..]), (b"X".to_vec(), expected));
            }
        },
    );
}

fn a_stream_gives_its_answer_to_who_wants_no_more_events<C: Client>() {
    run::<C>(
        |mut peer| {
            let request = peer.receive();
            for _ in 0..MANY_MIB {
                peer.send(&event_of(&request, vec![1; MIB]));
            }
            peer.answer(&request);
        },
        |mut client| {
            let answer = client.stream(b"x", &RequestOptions::new(), |_| Take::Answer);
            assert_eq!(answer.unwrap().unwrap().payload, b"X");
        },
    );
}

fn more_events_than_are_kept_reach_who_takes_them_as_they_come<C: Client>() {
    run::<C>(
        |mut peer| {
            let request = peer.receive();
            for number in 0..MANY_MIB {
                peer.send(&event_of(&request, vec![u8::try_from(number).unwrap(); MIB]));
            }
            peer.answer(&request);
        },
        |mut client| {
            let mut seen = 0;
            let answer = client.stream(b"x", &RequestOptions::new(), |event| {
                assert_eq!((event.len(), usize::from(event[0])), (MIB, seen));
                seen += 1;
                Take::More
            });
            assert_eq!((answer.unwrap().unwrap().payload, seen), (b"X".to_vec(), MANY_MIB));
        },
    );
}

fn a_stream_that_is_dropped_gives_its_request_up_and_what_comes_late_is_dropped<C: Client>() {
    run::<C>(
        |mut peer| {
            let given_up = peer.receive();
            for number in 0..3 {
                peer.send(&event_of(&given_up, vec![number]));
            }
            received_cancel(&mut peer, &given_up);
            peer.send(&event_of(&given_up, b"late".to_vec()));
            peer.answer(&given_up);
            let request = peer.receive();
            peer.answer(&request);
            peer.send(&event(7));
        },
        |mut client| {
            let dropped = client.stream(b"x", &RequestOptions::new(), |_| Take::Nothing);
            assert!(dropped.unwrap().is_none());
            client.want_events();
            assert_eq!(client.request(b"next").unwrap().payload, b"NEXT");
            assert_eq!(client.next_event().unwrap().unwrap().payload, b"7");
        },
    );
}

fn a_stream_that_is_refused_says_why_and_the_connection_goes_on<C: Client>() {
    let refusal = Refusal::new(RefusalReason::HandlerFailed, "no such file");
    let told = refusal.clone();
    run::<C>(
        move |mut peer| {
            let request = peer.receive();
            peer.send(&event_of(&request, b"trying".to_vec()));
            peer.refuse(&request, &refusal);
            let request = peer.receive();
            peer.answer(&request);
        },
        move |mut client| {
            let mut seen = 0;
            let answer = client.stream(b"x", &RequestOptions::new(), |_| {
                seen += 1;
                Take::More
            });
            assert!(matches!(answer, Err(FrameClientError::Refused(got)) if got == told));
            assert_eq!(seen, 1);
            assert_eq!(client.request(b"next").unwrap().payload, b"NEXT");
        },
    );
}

fn a_stream_whose_daemon_hangs_up_gives_what_came_before<C: Client>() {
    run::<C>(
        |mut peer| {
            let request = peer.receive();
            peer.send(&event_of(&request, b"one".to_vec()));
            peer.send(&event_of(&request, b"two".to_vec()));
        },
        |mut client| {
            let mut seen = Vec::new();
            let answer = client.stream(b"x", &RequestOptions::new(), |event| {
                seen.push(event.to_vec());
                Take::More
            });
            assert!(matches!(answer, Err(FrameClientError::Closed)), "{answer:?}");
            assert_eq!(seen, [b"one", b"two"]);
            assert!(!client.is_usable());
        },
    );
}

fn unix_ms(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn a_stream_is_given_up_at_its_deadline<C: Client>() {
    let (finished, end) = mpsc::channel();
    run::<C>(
        move |mut peer| {
            let request = peer.receive();
            assert_ne!(request.deadline_unix_ms, 0);
            peer.send(&event_of(&request, b"working".to_vec()));
            received_cancel(&mut peer, &request);
            finished.send(()).unwrap();
            let request = peer.receive();
            peer.answer(&request);
        },
        move |mut client| {
            let options = RequestOptions::new().with_timeout(Duration::from_millis(100));
            let error = client.stream(b"x", &options, |_| Take::More).unwrap_err();
            assert!(matches!(error, FrameClientError::TimedOut { .. }), "{error:?}");
            assert!(client.is_usable());
            client.drive_until(&end);
            assert_eq!(client.request(b"next").unwrap().payload, b"NEXT");
        },
    );
}

fn the_daemon_is_told_the_deadline_the_trace_and_that_the_request_was_given_up<C: Client>() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let timeout = Duration::from_millis(100);
    let (finished, end) = mpsc::channel();
    let earliest = unix_ms(SystemTime::now() + timeout);
    run::<C>(
        move |mut peer| {
            let request = peer.receive();
            // The client rounds the deadline up.
            let latest = unix_ms(SystemTime::now() + timeout) + 1;
            assert!((earliest..=latest).contains(&request.deadline_unix_ms));
            assert_eq!((&request.traceparent[..], &request.tracestate[..]), (TRACE, "v=1"));
            // The client sends the cancel by itself, without another request.
            received_cancel(&mut peer, &request);
            finished.send(()).unwrap();
            let request = peer.receive();
            assert_eq!((request.deadline_unix_ms, &request.traceparent[..]), (0, ""));
            peer.answer(&request);
        },
        move |mut client| {
            let deadline = Instant::now() + timeout;
            let options = RequestOptions::new().with_deadline(deadline).with_trace_context(TRACE, "v=1");
            let error = client.request_with(b"slow", &options).unwrap_err();
            assert!(
                matches!(error, FrameClientError::TimedOut { timeout: told } if told <= timeout),
                "{error:?}"
            );
            assert!(Instant::now() >= deadline && client.is_usable());
            client.drive_until(&end);
            assert_eq!(client.request(b"no hurry").unwrap().payload, b"NO HURRY");
        },
    );
}

fn a_deadline_that_has_passed_sends_nothing<C: Client>() {
    run::<C>(
        |mut peer| {
            let request = peer.receive();
            assert_eq!(request.payload, b"next");
            peer.answer(&request);
        },
        |mut client| {
            let passed = RequestOptions::new().with_deadline(Instant::now());
            let error = client.request_with(b"late", &passed).unwrap_err();
            assert!(matches!(error, FrameClientError::TimedOut { timeout: Duration::ZERO }));
            let error = client.stream(b"late", &passed, |_| Take::More).unwrap_err();
            assert!(matches!(error, FrameClientError::TimedOut { timeout: Duration::ZERO }));
            let in_time = RequestOptions::new().with_timeout(PATIENCE);
            assert_eq!(client.request_with(b"next", &in_time).unwrap().payload, b"NEXT");
        },
    );
}
