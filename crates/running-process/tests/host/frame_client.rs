//! Clients against a peer that follows a script.

#[cfg(feature = "tokio")]
mod asynchronous;
pub(crate) mod peer;
mod suite;

use crate::support::{PATIENCE, SHOUT, join, next, watched};
use peer::{event, run, scripted};
use running_process::broker::backend_sdk::{FrameClient, FrameClientError};
use running_process::broker::protocol::Frame;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

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
            assert!(matches!(client.next_event(), Err(FrameClientError::TimedOut { .. })));
            finished.send(()).unwrap();
            client.set_timeout(Some(PATIENCE));
            assert_eq!(client.next_event().unwrap().payload, b"0");
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
            assert!(matches!(client.wait(request), Err(FrameClientError::Dead)));
        },
    );
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
        assert!(matches!(client.send(SHOUT, b"b"), Err(FrameClientError::Closed)));
        assert!(!client.is_usable());
        assert_eq!(client.wait(answered).unwrap().payload, b"A");
    });
}

#[test]
fn a_daemon_that_reads_no_more_and_does_not_hang_up_has_closed_the_connection() {
    let (finished, end) = mpsc::channel();
    let (deaf, is_deaf) = mpsc::channel();
    run::<FrameClient>(
        move |peer| {
            peer.0.shutdown(std::net::Shutdown::Read).unwrap();
            deaf.send(()).unwrap();
            next::<()>(&end);
        },
        move |mut client| {
            next(&is_deaf);
            client.set_timeout(Some(Duration::from_millis(50)));
            assert!(matches!(client.send(SHOUT, b"a"), Err(FrameClientError::Closed)));
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
    let (mut client, peer) = scripted::<FrameClient>(|mut peer| {
        let request = peer.receive();
        // More than one read takes, and less than a socket.
        peer.send(&Frame { payload: vec![7; 100_000], ..event(0) });
        peer.answer(&request);
    });
    let request = client.send(SHOUT, b"in time").unwrap();
    join(peer);
    watched(move || {
        client.set_timeout(Some(Duration::ZERO));
        assert_eq!(client.wait(request).unwrap().payload, b"IN TIME");
        assert_eq!(client.next_event().unwrap().payload.len(), 100_000);
    });
}

#[test]
fn after_the_end_no_event_is_waited_for() {
    let (mut client, peer) = scripted::<FrameClient>(|mut peer| peer.0.write_all(b"-ERR").unwrap());
    join(peer);
    watched(move || {
        assert!(matches!(client.next_event(), Err(FrameClientError::Connection(_))));
        assert!(matches!(client.next_event(), Err(FrameClientError::Dead)));
    });
}
