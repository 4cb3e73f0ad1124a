//! Cases of the blocking client alone.

use super::peer::{event, event_of, run, scripted, shouted};
use crate::support::{PATIENCE, SHOUT, join, next, watched};
use running_process::broker::backend_sdk::{FrameClient, FrameClientError, RequestOptions};
use running_process::broker::protocol::{Frame, FrameKind, Refusal, RefusalReason, encode_framed};
#[cfg(unix)]
use std::io::Read;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

#[cfg(unix)]
#[test]
fn a_daemon_that_does_not_read_costs_the_timeout_and_not_the_connection() {
    let (finished, reads) = mpsc::channel();
    run::<FrameClient>(
        move |mut peer| {
            next::<()>(&reads);
            let [large, cancel] = [(); 2].map(|()| peer.receive());
            assert_eq!(large.payload.len(), 8 << 20, "all of it is written");
            assert_eq!((cancel.kind, cancel.request_id), (FrameKind::Cancel.into(), large.request_id));
            // The requests of the calls in between were never sent.
            let last = peer.receive();
            peer.answer(&last);
        },
        move |mut client| {
            client.set_timeout(Some(Duration::from_millis(50)));
            let error = client.send(SHOUT, vec![0; 8 << 20]).unwrap_err();
            assert!(matches!(&error, FrameClientError::TimedOut { .. }), "{error:?}");
            client.set_timeout(Some(Duration::from_millis(1)));
            for _ in 0..3 {
                let errors = [
                    client.request(SHOUT, b"a").unwrap_err(),
                    client.queue(SHOUT, b"b").unwrap_err(),
                    client.request_streaming(SHOUT, b"c").unwrap_err(),
                    client.flush().unwrap_err(),
                ];
                for error in errors {
                    assert!(matches!(&error, FrameClientError::TimedOut { .. }), "{error:?}");
                }
            }
            finished.send(()).unwrap();
            client.set_timeout(Some(PATIENCE));
            assert_eq!(client.request(SHOUT, b"last").unwrap().payload, b"LAST");
        },
    );
}

#[cfg(unix)]
#[test]
fn requests_that_a_flush_could_not_write_stay_in_flight_and_a_wait_cancels_its_own() {
    let (finished, reads) = mpsc::channel();
    run::<FrameClient>(
        move |mut peer| {
            next::<()>(&reads);
            loop {
                let frame = peer.receive();
                if frame.kind == i32::from(FrameKind::Request) {
                    peer.answer(&frame);
                }
                if frame.payload == b"end" {
                    break;
                }
            }
        },
        move |mut client| {
            client.set_timeout(Some(Duration::from_millis(50)));
            let mut unwritten = None;
            while unwritten.is_none() {
                // Less than what makes `queue` write.
                let request = client.queue(SHOUT, vec![b'a'; 60_000]).unwrap();
                unwritten = client.flush().is_err().then_some(request);
            }
            let cancelled = client.queue(SHOUT, b"cancelled").unwrap();
            assert!(matches!(client.wait(cancelled), Err(FrameClientError::TimedOut { .. })));
            assert!(matches!(client.wait(cancelled), Err(FrameClientError::NotInFlight)));
            finished.send(()).unwrap();
            client.set_timeout(Some(PATIENCE));
            assert_eq!(client.wait(unwritten.unwrap()).unwrap().payload, vec![b'A'; 60_000]);
            assert_eq!(client.request(SHOUT, b"end").unwrap().payload, b"END");
        },
    );
}

#[cfg(windows)]
#[test]
fn a_daemon_that_does_not_read_costs_the_timeout_and_the_connection() {
    let (finished, end) = mpsc::channel();
    run::<FrameClient>(
        move |_peer| next::<()>(&end),
        move |mut client| {
            client.set_timeout(Some(Duration::from_millis(50)));
            let error = client.send(SHOUT, vec![0; 8 << 20]).unwrap_err();
            assert!(matches!(&error, FrameClientError::Stream(error)
                if error.kind() == std::io::ErrorKind::TimedOut));
            assert!(!client.is_usable());
            finished.send(()).unwrap();
        },
    );
}

#[test]
fn waiting_for_an_event_ends_with_the_timeout() {
    let (finished, end) = mpsc::channel();
    run::<FrameClient>(
        move |mut peer| {
            next::<()>(&end);
            peer.send(&event(0));
        },
        move |mut client| {
            client.set_timeout(Some(Duration::from_millis(20)));
            assert!(matches!(client.next_event(), Some(Err(FrameClientError::TimedOut { .. }))));
            finished.send(()).unwrap();
            client.set_timeout(Some(PATIENCE));
            assert_eq!(client.next_event().unwrap().unwrap().payload, b"0");
        },
    );
}

#[test]
fn a_daemon_that_hangs_up_with_the_request_unread_has_closed_the_connection() {
    let (sent, hang_up) = mpsc::channel();
    run::<FrameClient>(
        move |_peer| next::<()>(&hang_up),
        move |mut client| {
            let request = client.send(SHOUT, b"never read").unwrap();
            sent.send(()).unwrap();
            assert!(matches!(client.wait(request), Err(FrameClientError::Closed)));
            // It does not become safe to send again, in contrast to a request of now.
            assert!(client.wait(request).unwrap_err().may_have_run());
            let error = client.send(SHOUT, b"never sent").unwrap_err();
            assert!(matches!(error, FrameClientError::Dead) && !error.may_have_run());
        },
    );
}

#[cfg(unix)]
#[test]
fn a_request_that_was_not_written_to_its_end_was_not_received() {
    let (client, mut daemon) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut client = FrameClient::from_stream(client);
    let whole = client.queue(SHOUT, b"whole").unwrap();
    let reading = std::thread::spawn(move || daemon.read_exact(&mut vec![0; 100_000]).unwrap());
    let error = watched(move || {
        let cut = client.send(SHOUT, vec![b'x'; 8 << 20]).unwrap_err();
        assert!(matches!(client.wait(whole), Err(FrameClientError::Closed)));
        cut
    });
    reading.join().unwrap();
    assert!(matches!(error, FrameClientError::NotReceived) && !error.may_have_run(), "{error:?}");
}

#[test]
fn a_request_that_finds_the_connection_closed_loses_no_earlier_response() {
    let (mut client, peer) = scripted::<FrameClient>(|mut peer| {
        let request = peer.receive();
        peer.answer(&request);
    });
    let answered = client.send(SHOUT, b"a").unwrap();
    join(peer);
    watched(move || {
        assert!(matches!(client.send(SHOUT, b"b"), Err(FrameClientError::NotReceived)));
        assert!(!client.is_usable());
        assert_eq!(client.wait(answered).unwrap().payload, b"A");
    });
}

#[test]
fn a_response_that_came_behind_the_awaited_one_outlives_the_connection() {
    let (mut client, peer) = scripted::<FrameClient>(|mut peer| {
        let both = [peer.receive(), peer.receive()];
        // The client reads them together.
        peer.write(&both.map(|request| encode_framed(&shouted(&request)).unwrap()).concat());
    });
    let [first, second] = [b"a", b"b"].map(|payload| client.send(SHOUT, payload).unwrap());
    join(peer);
    watched(move || {
        assert_eq!(client.wait(first).unwrap().payload, b"A");
        assert!(matches!(client.send(SHOUT, b"c"), Err(FrameClientError::NotReceived)));
        assert!(!client.is_usable());
        assert_eq!(client.wait(second).unwrap().payload, b"B");
        assert!(matches!(client.wait(second), Err(FrameClientError::NotInFlight)));
    });
}

#[test]
fn frames_that_came_before_a_fault_are_returned_before_it() {
    run::<FrameClient>(
        |mut peer| {
            let request = peer.receive();
            let frames = [event(0), shouted(&request)].map(|frame| encode_framed(&frame).unwrap());
            // One write, so that one read finds the frames and the fault.
            peer.write(&[&frames.concat()[..], b"no frame"].concat());
        },
        |mut client| {
            client.keep_events(true);
            let request = client.send(SHOUT, b"a").unwrap();
            assert_eq!(client.wait(request).unwrap().payload, b"A");
            assert_eq!(client.next_event().unwrap().unwrap().payload, b"0");
            assert!(matches!(client.next_event(), Some(Err(FrameClientError::Connection(_)))));
            assert!(client.next_event().is_none() && !client.is_usable());
        },
    );
}

#[cfg(unix)]
#[test]
fn a_daemon_that_reads_no_more_and_does_not_hang_up_has_not_received_the_request() {
    let (finished, end) = mpsc::channel();
    let (deaf, is_deaf) = mpsc::channel();
    run::<FrameClient>(
        move |peer| {
            let socket = peer.into_socket();
            socket.shutdown(std::net::Shutdown::Read).unwrap();
            deaf.send(()).unwrap();
            next::<()>(&end);
        },
        move |mut client| {
            next(&is_deaf);
            client.set_timeout(Some(Duration::from_millis(50)));
            assert!(matches!(client.send(SHOUT, b"a"), Err(FrameClientError::NotReceived)));
            assert!(!client.is_usable());
            finished.send(()).unwrap();
        },
    );
}

#[test]
fn a_response_is_waited_for_once() {
    let (finished, end) = mpsc::channel();
    run::<FrameClient>(
        move |mut peer| {
            let request = peer.receive();
            peer.answer(&request);
            next::<()>(&end);
        },
        move |mut client| {
            let request = client.send(SHOUT, b"once").unwrap();
            assert_eq!(client.wait(request).unwrap().payload, b"ONCE");
            assert!(matches!(client.wait(request), Err(FrameClientError::NotInFlight)));

            client.set_timeout(Some(Duration::from_millis(10)));
            let request = client.send(SHOUT, b"never answered").unwrap();
            assert!(matches!(client.wait(request), Err(FrameClientError::TimedOut { .. })));
            assert!(matches!(client.wait(request), Err(FrameClientError::NotInFlight)));
            finished.send(()).unwrap();
        },
    );
}

#[test]
fn an_answer_that_has_arrived_counts_although_the_deadline_has_passed() {
    // Longer than one read, and shorter than the buffer of a socket. The buffer of a pipe is not longer than one read.
    const LENGTH: usize = if cfg!(windows) { 40_000 } else { 100_000 };
    let (mut client, peer) = scripted::<FrameClient>(|mut peer| {
        let request = peer.receive();
        peer.send(&Frame { payload: vec![7; LENGTH], ..event(0) });
        peer.answer(&request);
    });
    client.keep_events(true);
    let request = client.send(SHOUT, b"in time").unwrap();
    join(peer);
    watched(move || {
        client.set_timeout(Some(Duration::ZERO));
        assert_eq!(client.wait(request).unwrap().payload, b"IN TIME");
        assert_eq!(client.next_event().unwrap().unwrap().payload.len(), LENGTH);
    });
}

#[test]
fn after_the_end_no_event_is_waited_for() {
    let (mut client, peer) = scripted::<FrameClient>(|mut peer| peer.write(b"-ERR"));
    join(peer);
    watched(move || {
        assert!(matches!(client.next_event(), Some(Err(FrameClientError::Connection(_)))));
        assert!(client.next_event().is_none());
    });
}

const MIB: usize = 1024 * 1024;

#[test]
fn a_request_that_is_cancelled_is_told_at_once_and_its_late_answer_dropped() {
    run::<FrameClient>(
        |mut peer| {
            let given_up = peer.receive();
            let cancel = peer.receive();
            assert_eq!(cancel.kind, i32::from(FrameKind::Cancel));
            assert_eq!(cancel.request_id, given_up.request_id);
            peer.answer(&given_up);
            let request = peer.receive();
            peer.answer(&request);
        },
        |mut client| {
            let request = client.send(SHOUT, b"given up").unwrap();
            client.cancel(request);
            assert!(matches!(client.wait(request), Err(FrameClientError::NotInFlight)));
            assert_eq!(client.request(SHOUT, b"next".to_vec()).unwrap().payload, b"NEXT");
        },
    );
}

#[test]
fn the_timeout_of_a_request_is_the_deadline_that_the_daemon_is_told() {
    run::<FrameClient>(
        |mut peer| {
            let request = peer.receive();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let left = Duration::from_millis(request.deadline_unix_ms).saturating_sub(now);
            assert!(!left.is_zero() && left <= PATIENCE + Duration::from_millis(1));
            peer.answer(&request);
        },
        |mut client| {
            client.set_timeout(Some(PATIENCE));
            client.request(SHOUT, b"x".to_vec()).unwrap();
        },
    );
}

#[test]
fn a_request_that_was_sent_with_a_deadline_is_waited_for_until_then() {
    let (finished, end) = mpsc::channel();
    run::<FrameClient>(
        move |mut peer| {
            assert_ne!(peer.receive().deadline_unix_ms, 0);
            assert_eq!(peer.receive().kind, i32::from(FrameKind::Cancel));
            next::<()>(&end);
        },
        move |mut client| {
            let options = RequestOptions::new().with_timeout(Duration::from_millis(50));
            let request = client.send_with(SHOUT, b"slow", &options).unwrap();
            assert!(matches!(client.wait(request), Err(FrameClientError::TimedOut { .. })));
            if cfg!(windows) {
                // There the cancel waits for the next call that writes.
                client.flush().unwrap();
            }
            finished.send(()).unwrap();
        },
    );
}

#[test]
fn a_deadline_that_both_sides_see_pass_is_a_timeout() {
    run::<FrameClient>(
        |mut peer| {
            let request = peer.receive();
            let deadline = SystemTime::UNIX_EPOCH + Duration::from_millis(request.deadline_unix_ms);
            while let Ok(left) = deadline.duration_since(SystemTime::now()) {
                std::thread::sleep(left);
            }
            peer.refuse(&request, &Refusal::new(RefusalReason::DeadlinePassed, ""));
            peer.send(&event(1));
        },
        |mut client| {
            let options = RequestOptions::new().with_timeout(Duration::from_millis(50));
            let request = client.send_with(SHOUT, b"slow", &options).unwrap();
            // The event behind the refusal has come.
            client.next_event().unwrap().unwrap();
            assert!(matches!(client.wait(request), Err(FrameClientError::TimedOut { .. })));
        },
    );
}

#[test]
fn events_that_are_kept_and_not_taken_stop_the_reading_and_lose_nothing() {
    run::<FrameClient>(
        |mut peer| {
            let requests = [peer.receive(), peer.receive()];
            for number in 0..6 {
                let event = event(number);
                peer.send(&Frame { payload: vec![u8::try_from(number).unwrap(); MIB], ..event });
            }
            for request in &requests {
                peer.answer(request);
            }
            let request = peer.receive();
            peer.answer(&request);
        },
        |mut client| {
            client.keep_events(true);
            let requests = [b"a", b"b"].map(|payload| client.send(SHOUT, payload).unwrap());
            let error = client.wait(requests[1]).unwrap_err();
            assert!(
                matches!(error, FrameClientError::TooManyEvents { bytes } if bytes < 6 * MIB),
                "{error:?}"
            );
            assert!(matches!(client.request(SHOUT, vec![]), Err(FrameClientError::TooManyEvents { .. })));
            for number in 0..6 {
                assert_eq!(client.next_event().unwrap().unwrap().payload[0], number);
            }
            assert_eq!(client.wait(requests[1]).unwrap().payload, b"B");
            assert_eq!(client.wait(requests[0]).unwrap().payload, b"A");
            assert_eq!(client.request(SHOUT, b"next".to_vec()).unwrap().payload, b"NEXT");
        },
    );
}

#[test]
fn answers_that_nobody_claims_are_kept_up_to_the_limit_and_lose_nothing() {
    run::<FrameClient>(
        |mut peer| {
            let requests = [peer.receive(), peer.receive(), peer.receive()];
            for (request, byte) in requests.iter().zip(1..) {
                peer.send(&Frame::response_to(request, vec![byte; MIB]));
            }
        },
        |mut client| {
            client.set_response_limit(3 * MIB / 2);
            let [first, second, third] =
                [b"a", b"b", b"c"].map(|payload| client.send(SHOUT, payload).unwrap());
            let error = client.wait(third).unwrap_err();
            assert!(
                matches!(error, FrameClientError::TooManyResponses { bytes } if bytes < 5 * MIB / 2),
                "{error:?}"
            );
            assert!(matches!(client.send(SHOUT, b"d"), Err(FrameClientError::TooManyResponses { .. })));
            for (request, byte) in [(first, 1), (third, 3), (second, 2)] {
                assert_eq!(client.wait(request).unwrap().payload[0], byte);
            }
        },
    );
}

#[test]
fn other_requests_are_made_while_one_is_streamed() {
    run::<FrameClient>(
        |mut peer| {
            let streamed = peer.receive();
            peer.send(&event_of(&streamed, b"one".to_vec()));
            let other = peer.receive();
            peer.send(&event_of(&streamed, b"two".to_vec()));
            peer.answer(&other);
            peer.answer(&streamed);
        },
        |mut client| {
            let mut stream = client.request_streaming(SHOUT, b"streamed".to_vec()).unwrap();
            assert_eq!(stream.next_event().unwrap().unwrap().payload, b"one");
            assert_eq!(stream.client().request(SHOUT, b"other".to_vec()).unwrap().payload, b"OTHER");
            assert_eq!(stream.next_event().unwrap().unwrap().payload, b"two");
            assert!(stream.next_event().unwrap().is_none());
            assert_eq!(stream.response().unwrap().payload, b"STREAMED");
        },
    );
}

#[test]
fn a_stream_that_was_forgotten_is_given_up_by_the_next_one() {
    run::<FrameClient>(
        |mut peer| {
            let forgotten = peer.receive();
            peer.send(&event_of(&forgotten, b"nobody's".to_vec()));
            assert_eq!(peer.receive().kind, i32::from(FrameKind::Cancel));
            let request = peer.receive();
            peer.send(&event_of(&request, b"own".to_vec()));
            peer.answer(&request);
        },
        |mut client| {
            std::mem::forget(client.request_streaming(SHOUT, b"x".to_vec()).unwrap());
            let mut stream = client.request_streaming(SHOUT, b"y".to_vec()).unwrap();
            assert_eq!(stream.next_event().unwrap().unwrap().payload, b"own");
            assert_eq!(stream.response().unwrap().payload, b"Y");
        },
    );
}
