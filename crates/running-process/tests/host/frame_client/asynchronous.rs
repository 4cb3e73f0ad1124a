//! Cases of the asynchronous client alone: many callers at once, and futures that are dropped.

use super::peer::{event, event_of, shouted};
use crate::support::SHOUT;
use running_process::broker::backend_sdk::{AsyncFrameClient, FrameClientError, MAX_WAITING_EVENT_BYTES};
use running_process::broker::protocol::{Frame, FrameKind, encode_framed, try_decode_framed};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The daemon's end of a connection.
struct Daemon {
    socket: UnixStream,
    received: Vec<u8>,
}

impl Daemon {
    /// The next frame, or `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(decoded) = try_decode_framed(&self.received).unwrap() {
                self.received.drain(..decoded.consumed);
                return Some(decoded.frame);
            }
            if self.socket.read_buf(&mut self.received).await.unwrap() == 0 {
                assert!(self.received.is_empty(), "the client hung up inside a frame");
                return None;
            }
        }
    }

    async fn receive(&mut self) -> Frame {
        self.next().await.expect("a frame before the end")
    }

    async fn send(&mut self, frame: &Frame) {
        self.socket.write_all(&encode_framed(frame).unwrap()).await.unwrap();
    }

    async fn answer(&mut self, request: &Frame) {
        self.send(&shouted(request)).await;
    }
}

fn pair() -> (AsyncFrameClient, Daemon) {
    let (client, socket) = UnixStream::pair().unwrap();
    let client = AsyncFrameClient::from_stream(client.into_std().unwrap()).unwrap();
    (client, Daemon { socket, received: Vec::new() })
}

/// Lets every other task go as far as it can without time passing: stopped time moves only when all of them wait.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn assert_cancels(cancel: &Frame, request: &Frame) {
    assert_eq!(cancel.kind, i32::from(FrameKind::Cancel));
    assert_eq!((cancel.request_id, cancel.payload_protocol), (request.request_id, SHOUT));
}

#[tokio::test(start_paused = true)]
async fn sixty_four_requests_of_many_clones_are_in_flight_and_answered_backwards() {
    let (client, mut daemon) = pair();
    let mut requests = JoinSet::new();
    for number in 0..64 {
        let client = client.clone();
        requests.spawn(async move {
            let payload = format!("request {number}").into_bytes();
            let expected = payload.to_ascii_uppercase();
            assert_eq!(client.request(SHOUT, payload).await.unwrap().payload, expected);
        });
    }
    let mut received = Vec::new();
    while received.len() < 64 {
        received.push(daemon.receive().await);
    }
    for request in received.iter().rev() {
        daemon.answer(request).await;
    }
    assert_eq!(requests.join_all().await.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_future_is_dropped_is_cancelled_and_its_late_response_dropped() {
    let (client, mut daemon) = pair();
    let given_up = {
        let mut request = pin!(client.request(SHOUT, b"given up".to_vec()));
        tokio::select! {
            response = &mut request => panic!("{response:?}"),
            received = daemon.receive() => received,
        }
    };
    assert_cancels(&daemon.receive().await, &given_up);
    daemon.answer(&given_up).await;
    let (response, ()) = tokio::join!(client.request(SHOUT, b"next".to_vec()), async {
        let next = daemon.receive().await;
        daemon.answer(&next).await;
    });
    assert_eq!(response.unwrap().payload, b"NEXT");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_before_the_task_takes_it_is_never_sent() {
    let (client, mut daemon) = pair();
    {
        let mut request = pin!(client.request(SHOUT, b"never".to_vec()));
        // The task has no turn before this one waits.
        assert!(poll_fn(|context| Poll::Ready(request.as_mut().poll(context).is_pending())).await);
    }
    let (response, ()) = tokio::join!(client.request(SHOUT, b"first".to_vec()), async {
        let first = daemon.receive().await;
        assert_eq!(first.payload, b"first");
        daemon.answer(&first).await;
    });
    assert_eq!(response.unwrap().payload, b"FIRST");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_moves_to_another_task_gets_its_response_there() {
    let (client, mut daemon) = pair();
    let mut asking = Box::pin(async move { client.request(SHOUT, b"moved".to_vec()).await });
    assert!(poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_pending())).await);
    let asking = tokio::spawn(asking);
    let request = daemon.receive().await;
    settle().await;
    daemon.answer(&request).await;
    let response = tokio::time::timeout(Duration::from_secs(1), asking).await.unwrap().unwrap();
    assert_eq!(response.unwrap().payload, b"MOVED");
}

#[tokio::test(start_paused = true)]
async fn the_daemon_is_told_the_deadline_and_that_it_has_passed() {
    let (client, mut daemon) = pair();
    let timeout = Duration::from_mins(1);
    let began = Instant::now();
    let wall = |time: SystemTime| {
        u64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
    };
    let earliest = wall(SystemTime::now() + timeout);
    let (error, request) = tokio::join!(
        client.request_deadline(SHOUT, b"slow".to_vec(), (began + timeout).into_std()),
        daemon.receive()
    );
    assert!(matches!(error, Err(FrameClientError::TimedOut { timeout: told }) if told == timeout));
    assert!(began.elapsed() >= timeout);
    // The client rounds the deadline up.
    assert!((earliest..=wall(SystemTime::now() + timeout) + 1).contains(&request.deadline_unix_ms));
    assert_cancels(&daemon.receive().await, &request);
    assert!(client.is_usable());

    // A deadline that has passed is not sent; no deadline is 0.
    let late = client.request_deadline(SHOUT, b"late".to_vec(), began.into_std()).await;
    assert!(matches!(late, Err(FrameClientError::TimedOut { timeout: Duration::ZERO })));
    let (response, ()) = tokio::join!(client.request(SHOUT, b"no hurry".to_vec()), async {
        let request = daemon.receive().await;
        assert_eq!((&request.payload[..], request.deadline_unix_ms), (&b"no hurry"[..], 0));
        daemon.answer(&request).await;
    });
    assert_eq!(response.unwrap().payload, b"NO HURRY");
}

#[tokio::test(start_paused = true)]
async fn the_connection_ends_with_the_last_clone() {
    let (client, mut daemon) = pair();
    let mut events = client.events().unwrap();
    let clone = client.clone();
    drop(client);
    settle().await;
    assert!(clone.is_usable());
    drop(clone);
    assert!(daemon.next().await.is_none());
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_connection_ends_with_the_last_clone_though_the_daemon_reads_nothing() {
    let (client, mut daemon) = pair();
    tokio::select! {
        response = client.request(SHOUT, vec![0; 8 << 20]) => panic!("{response:?}"),
        () = settle() => drop(client),
    }
    settle().await;
    // The bytes that the system holds can still be read, and then comes the end, inside the frame.
    let length = daemon.socket.read_to_end(&mut daemon.received).await.unwrap();
    assert!(0 < length && length < 8 << 20);
}

#[tokio::test(start_paused = true)]
async fn while_the_daemon_does_not_read_no_more_requests_are_taken() {
    let (client, mut daemon) = pair();
    let mut requests = JoinSet::new();
    for number in 0..200 {
        let client = client.clone();
        requests.spawn(async move { client.request(SHOUT, vec![number; 1 << 20]).await });
    }
    settle().await;
    requests.shutdown().await;

    // One fills the socket and all the output that the task keeps, so nobody ever hears of the others.
    let (response, ()) = tokio::join!(client.request(SHOUT, b"small".to_vec()), async {
        let taken = daemon.receive().await;
        assert_eq!(taken.payload.len(), 1 << 20);
        assert_cancels(&daemon.receive().await, &taken);
        let small = daemon.receive().await;
        daemon.answer(&small).await;
    });
    assert_eq!(response.unwrap().payload, b"SMALL");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_though_the_daemon_does_not_read_and_the_connection_goes_on() {
    let (client, mut daemon) = pair();
    let deadline = (Instant::now() + Duration::from_secs(5)).into_std();
    let error = client.request_deadline(SHOUT, vec![7; 4 << 20], deadline).await;
    assert!(matches!(error, Err(FrameClientError::TimedOut { .. })));
    assert!(client.is_usable());
    let large = daemon.receive().await;
    assert_cancels(&daemon.receive().await, &large);
}

#[tokio::test(start_paused = true)]
async fn everyone_who_waits_is_told_why_the_connection_ended() {
    let (client, mut daemon) = pair();
    let mut events = client.events().unwrap();
    assert!(client.events().is_none());
    let mut requests = JoinSet::new();
    for _ in 0..3 {
        let client = client.clone();
        requests.spawn(async move { client.request(SHOUT, b"x".to_vec()).await });
    }
    for _ in 0..3 {
        daemon.receive().await;
    }
    daemon.send(&event(0)).await;
    daemon.socket.write_all(b"-ERR\r\n").await.unwrap();
    for error in requests.join_all().await {
        assert!(matches!(error, Err(FrameClientError::Connection(_))), "{error:?}");
    }
    assert!(matches!(client.request(SHOUT, b"x".to_vec()).await, Err(FrameClientError::Dead)));
    assert_eq!(events.next().await.unwrap().unwrap().payload, b"0");
    assert!(matches!(events.next().await, Some(Err(FrameClientError::Connection(_)))));
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn events_that_nobody_wants_are_dropped() {
    let (client, mut daemon) = pair();
    drop(client.events());
    for number in 0..5000 {
        daemon.send(&event(number)).await;
    }
    let (response, ()) = tokio::join!(client.request(SHOUT, b"still".to_vec()), async {
        let request = daemon.receive().await;
        daemon.answer(&request).await;
    });
    assert_eq!(response.unwrap().payload, b"STILL");
}

#[tokio::test(start_paused = true)]
async fn events_that_come_before_the_first_request_are_there_for_who_asks_then() {
    let (client, mut daemon) = pair();
    daemon.send(&event(1)).await;
    settle().await;
    let mut events = client.events().unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().payload, b"1");
    drop(events);
    daemon.send(&event(2)).await;
    settle().await;
    let mut events = client.events().unwrap();
    daemon.send(&event(3)).await;
    assert_eq!(events.next().await.unwrap().unwrap().payload, b"3");
}

#[tokio::test(start_paused = true)]
async fn events_of_requests_at_work_together_are_told_apart() {
    let (client, mut daemon) = pair();
    let mut streams = Vec::new();
    let mut requests = Vec::new();
    for number in 0..3 {
        streams.push(client.request_streaming(SHOUT, vec![b'a' + number]).await.unwrap());
        requests.push(daemon.receive().await);
    }
    // The stream keeps the connection open.
    drop(client);
    for round in 0..4 {
        for request in &requests {
            daemon.send(&event_of(request, vec![request.payload[0], round])).await;
        }
    }
    for request in requests.iter().rev() {
        daemon.answer(request).await;
    }
    for (mut stream, name) in streams.into_iter().zip(b'a'..) {
        for round in 0..4 {
            assert_eq!(stream.next_event().await.unwrap().unwrap().payload, [name, round]);
        }
        assert!(stream.next_event().await.unwrap().is_none());
        assert_eq!(stream.response().await.unwrap().payload, [name.to_ascii_uppercase()]);
    }
    assert!(daemon.next().await.is_none());
}

/// Sends events of 1 MiB to a client that takes none, until the client stops reading; returns the number of bytes sent.
async fn fill(daemon: &mut Daemon, event: &Frame) -> usize {
    let wire = encode_framed(&Frame { payload: vec![7; 1 << 20], ..event.clone() }).unwrap();
    let mut sent = 0;
    loop {
        let rest = &wire[sent % wire.len()..];
        tokio::select! {
            written = daemon.socket.write(rest) => sent += written.unwrap(),
            () = settle() => return sent,
        }
        assert!(sent < 64 << 20, "nothing holds the daemon back");
    }
}

/// Upper bound of the bytes sent: the client's bound, the event that exceeds it, one read and the system's buffers.
const MOST: usize = MAX_WAITING_EVENT_BYTES + (4 << 20);

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_holds_the_daemon_back_until_it_is_dropped() {
    let (client, mut daemon) = pair();
    let stream = client.request_streaming(SHOUT, b"x".to_vec()).await.unwrap();
    let request = daemon.receive().await;
    let sent = fill(&mut daemon, &event_of(&request, Vec::new())).await;
    assert!((MAX_WAITING_EVENT_BYTES..MOST).contains(&sent), "{sent}");
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.request(SHOUT, b"other".to_vec()).await }
    });
    let other = daemon.receive().await;
    settle().await;
    assert!(!asking.is_finished(), "its answer cannot have been read");
    drop(stream);
    assert_cancels(&daemon.receive().await, &request);
    // The rest of the event that was partly sent.
    let wire = encode_framed(&event_of(&request, vec![7; 1 << 20])).unwrap();
    daemon.socket.write_all(&wire[sent % wire.len()..]).await.unwrap();
    daemon.answer(&other).await;
    assert_eq!(asking.await.unwrap().unwrap().payload, b"OTHER");
}

#[tokio::test(start_paused = true)]
async fn events_that_are_not_taken_hold_the_daemon_back_and_are_not_lost() {
    let (client, mut daemon) = pair();
    let mut events = client.events().unwrap();
    let sent = fill(&mut daemon, &event(0)).await;
    assert!((MAX_WAITING_EVENT_BYTES..MOST).contains(&sent), "{sent}");
    let wire = encode_framed(&Frame { payload: vec![7; 1 << 20], ..event(0) }).unwrap();
    let rest = wire[sent % wire.len()..].to_vec();
    let (request, ()) = tokio::join!(client.request(SHOUT, b"x".to_vec()), async {
        let request = daemon.receive().await;
        let sending = async {
            daemon.socket.write_all(&rest).await.unwrap();
            daemon.answer(&request).await;
        };
        let taking = async {
            for _ in 0..sent.div_ceil(wire.len()) {
                assert_eq!(events.next().await.unwrap().unwrap().payload.len(), 1 << 20);
            }
        };
        tokio::join!(sending, taking);
    });
    assert_eq!(request.unwrap().payload, b"X");
}

#[test]
fn a_client_that_outlives_its_runtime_is_dead() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (client, _daemon) = first.block_on(async { pair() });
    drop(first);
    assert!(!client.is_usable());
    let ask = || runtime().block_on(client.request(SHOUT, b"x".to_vec()));
    assert!(matches!(ask(), Err(FrameClientError::Stream(_))));
    assert!(matches!(ask(), Err(FrameClientError::Dead)));
}
