//! The driver and its callers in every interleaving that a model checker tries, on a connection in memory.
//!
//! Each future has a thread that polls it, as in a runtime of many threads. The model knows no time, so no deadline passes.

pub(in super::super) mod stream;

use super::{Driver, OnMove};
use crate::broker::backend_sdk::client::error::FrameClientError;
use crate::broker::backend_sdk::client::tokio::client::AsyncFrameClient;
use crate::broker::backend_sdk::client::tokio::queue::{Outcome, Unsent};
use crate::broker::backend_sdk::model_check::check;
use crate::broker::backend_sdk::model_check::wire::Other;
use crate::broker::backend_sdk::proto::client_connection::ClientConnectionError;
use crate::broker::protocol::{Frame, FrameKind, encode_framed};
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread::{self, JoinHandle};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use stream::AsyncStream;

const WORK: u32 = 0xF00D;
/// A request so large takes no other beside it.
const LARGE: usize = super::SEND_HIGH_WATER;

fn task<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    thread::spawn(move || block_on(future))
}

fn join<T>(task: JoinHandle<T>) -> T {
    task.join().expect("its thread does not panic")
}

/// Lets other threads run.
fn step() {
    AtomicBool::default().load(Ordering::SeqCst);
}

/// Polls `future` a few times at most, and drops it.
async fn for_a_while<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..thread_rng().gen_range(0..4) {
        if let Poll::Ready(value) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            return Some(value);
        }
        (0..thread_rng().gen_range(0..20)).for_each(|_| step());
    }
    None
}

/// Returns a client whose daemon leaves `room` bytes unread, the daemon's end, and the driver's thread.
fn connect(room: usize) -> (AsyncFrameClient, Other, JoinHandle<usize>) {
    let (stream, daemon) = AsyncStream::pair(room);
    let (client, driver) = AsyncFrameClient::with_driver(stream, OnMove::Stay);
    (client, daemon, task(run(driver)))
}

/// Runs the driver as [`Driver::run`] does, and checks its state after each poll. Returns the number of requests that were in
/// flight when the connection ended.
async fn run(mut driver: Driver) -> usize {
    let polls = poll_fn(|context| {
        let poll = driver.poll(context);
        if poll.is_pending() {
            assert!(driver.deliveries.is_empty() && driver.batch.requests.is_empty());
            for id in driver.end.queue.in_flight() {
                assert!(driver.connection.is_pending(id), "{id:?} was taken and is not in flight");
            }
        }
        poll
    });
    let ended = polls.await;
    let waiting = driver.end.queue.in_flight();
    let in_flight = waiting.into_iter().filter(|id| driver.connection.is_pending(*id)).count();
    match ended {
        Ok(()) => assert_eq!(in_flight, 0, "no caller waits without a client"),
        Err(error) => driver.end.reason = Some(error),
    }
    in_flight
}

fn answer(daemon: &Other, request: &Frame) {
    let response = Frame::response_to(request, vec![request.payload[0]; 3]);
    daemon.send(&encode_framed(&response).expect("a small frame"));
}

#[test]
fn every_caller_gets_its_own_answer_in_whatever_order_they_come() {
    check(|| {
        let (client, daemon, driving) = connect(40);
        let asking = [1, 2, 3].map(|number| {
            let client = client.clone();
            task(async move {
                for number in [number, 10 + number] {
                    let response = client.request(WORK, vec![number]).await;
                    assert_eq!(response.expect("an answer").payload, [number; 3]);
                }
            })
        });
        drop(client);
        let mut waiting = daemon.receive(3);
        while !waiting.is_empty() {
            let mut due = 0;
            for _ in 0..thread_rng().gen_range(1..=waiting.len()) {
                let request = waiting.swap_remove(thread_rng().gen_range(0..waiting.len()));
                answer(&daemon, &request);
                due += usize::from(request.payload[0] < 10);
            }
            waiting.extend(daemon.receive(due));
        }
        for asking in asking {
            join(asking);
        }
        join(driving);
        assert!(daemon.is_over());
    });
}

#[test]
fn every_stream_gets_the_events_of_its_request_and_then_its_answer() {
    check(|| {
        let (client, daemon, driving) = connect(40);
        let asking = [1, 2].map(|number| {
            let client = client.clone();
            task(async move {
                let mut stream = client.request_streaming(WORK, vec![number]).await.expect("a connection");
                for round in 0..2 {
                    let event = stream.next_event().await.expect("a connection").expect("an event");
                    assert_eq!(event.payload, [number, round]);
                }
                assert!(stream.next_event().await.expect("a connection").is_none());
                assert_eq!(stream.response().await.expect("an answer").payload, [number; 3]);
            })
        });
        drop(client);
        let requests = daemon.receive(2);
        for round in 0..2 {
            for request in &requests {
                let event = Frame::response_to(request, vec![request.payload[0], round]);
                let event = Frame { kind: FrameKind::Event.into(), ..event };
                daemon.send(&encode_framed(&event).expect("a small frame"));
            }
        }
        for request in &requests {
            answer(&daemon, request);
        }
        for asking in asking {
            join(asking);
        }
        join(driving);
        assert!(daemon.is_over());
    });
}

#[test]
fn a_stream_that_is_dropped_is_cancelled_and_others_go_on() {
    check(|| {
        let (client, daemon, driving) = connect(40);
        let serving = thread::spawn(move || serve(&daemon, |request| request.payload[0] == 2));
        let dropped = task({
            let client = client.clone();
            async move {
                let mut stream = client.request_streaming(WORK, vec![1]).await.expect("a connection");
                for_a_while(stream.next_event()).await
            }
        });
        let other = client.request(WORK, vec![2]);
        assert_eq!(block_on(other).expect("an answer").payload, [2; 3]);
        join(dropped);
        drop(client);
        join(driving);
        let heard = join(serving);
        assert!(heard.cancelled.len() <= 1);
    });
}

/// The frames that a daemon has received.
#[derive(Default)]
struct Heard {
    requests: Vec<Frame>,
    /// The ids of those that were answered.
    answered: Vec<u64>,
    cancelled: Vec<u64>,
}

/// Answers some of what comes, and everything that is `due`.
fn serve(daemon: &Other, due: impl Fn(&Frame) -> bool) -> Heard {
    let mut heard = Heard::default();
    while let Some(frame) = daemon.next() {
        if frame.kind == i32::from(FrameKind::Cancel) {
            heard.cancelled.push(frame.request_id);
            continue;
        }
        if due(&frame) || thread_rng().r#gen() {
            answer(daemon, &frame);
            heard.answered.push(frame.request_id);
        }
        heard.requests.push(frame);
    }
    heard
}

#[test]
fn a_request_that_is_given_up_is_never_sent_or_cancelled_once() {
    const LAST: u8 = 9;
    check(|| {
        let (client, daemon, driving) = connect(40);
        let serving = thread::spawn(move || serve(&daemon, |request| request.payload[0] == LAST));
        let asking = [1, 2, 3].map(|number| {
            let client = client.clone();
            let given_up = async move { for_a_while(client.request(WORK, vec![number])).await };
            (number, task(given_up))
        });
        let outcomes = asking.map(|(number, asking)| (number, join(asking)));
        // Once two more are answered, one after the other, the daemon was told of whatever was given up before them.
        for _ in 0..2 {
            let response = block_on(client.request(WORK, vec![LAST]));
            assert_eq!(response.expect("an answer").payload, [LAST; 3]);
        }
        drop(client);
        join(driving);
        let heard = join(serving);
        assert!(
            heard.cancelled.iter().all(|id| heard.requests.iter().any(|request| request.request_id == *id))
        );
        for (number, outcome) in outcomes {
            let sent: Vec<_> = heard.requests.iter().filter(|request| request.payload[0] == number).collect();
            let cancels =
                |request: &Frame| heard.cancelled.iter().filter(|id| **id == request.request_id).count();
            match (outcome, &sent[..]) {
                (None, []) => {}
                (None, [request]) if heard.answered.contains(&request.request_id) => {
                    assert!(cancels(request) <= 1);
                }
                (None, [request]) => assert_eq!(cancels(request), 1),
                (Some(response), [request]) => {
                    assert_eq!(response.expect("an answer").payload, [number; 3]);
                    assert_eq!(cancels(request), 0);
                }
                (outcome, sent) => panic!("{outcome:?} of {} requests", sent.len()),
            }
        }
    });
}

/// The way in which a daemon ends a connection.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Gone,
    Garbage,
    Cut,
}

impl End {
    fn of(self, daemon: &Other) {
        match self {
            Self::Closed => daemon.end(),
            Self::Gone => daemon.go(),
            Self::Garbage => daemon.send(b"-ERR"),
            Self::Cut => {
                daemon.send(&[1, 9]);
                daemon.end();
            }
        }
    }

    fn is_told_by(self, error: &FrameClientError) -> bool {
        match self {
            Self::Closed | Self::Gone => matches!(error, FrameClientError::Closed),
            Self::Garbage => {
                matches!(error, FrameClientError::Connection(ClientConnectionError::Framing(_)))
            }
            Self::Cut => {
                matches!(
                    error,
                    FrameClientError::Connection(ClientConnectionError::Truncated { buffered: 2 })
                )
            }
        }
    }
}

/// Asks, and asks again if the connection has ended. With what became of the first request.
async fn ask(client: AsyncFrameClient, number: u8, end: End, pause: impl FnOnce()) -> Outcome {
    let payload = vec![number; if thread_rng().r#gen() { LARGE } else { 1 }];
    let mut asking = pin!(client.exchange(WORK, payload.clone().into(), None));
    let first = poll_fn(|context| Poll::Ready(asking.as_mut().poll(context))).await;
    pause();
    let outcome = match first {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => asking.await,
    };
    match &outcome {
        Ok(Ok(response)) => assert_eq!(response.payload(), [number; 3]),
        // The connection may not have ended yet.
        Ok(Err(FrameClientError::NotReceived)) => return outcome,
        Ok(Err(error)) => assert!(end.is_told_by(error), "{error:?} after {end:?}"),
        Err(unsent) => assert!(unsent.payload[..] == payload),
    }
    if !matches!(outcome, Ok(Ok(_))) {
        assert!(!client.is_usable());
        let again = client.exchange(WORK, vec![number].into(), None).await;
        assert!(matches!(again, Err(Unsent { error: FrameClientError::Dead, .. })), "{again:?}");
    }
    outcome
}

#[test]
fn whoever_waits_is_told_of_the_end_and_given_back_what_was_not_taken() {
    check(|| {
        let end = [End::Closed, End::Gone, End::Garbage, End::Cut][thread_rng().gen_range(0..4)];
        let (client, daemon, driving) = connect(LARGE / 2);
        let callers = thread_rng().gen_range(0..4);
        let asking: Vec<_> =
            (0..callers).map(|number| task(ask(client.clone(), number, end, || {}))).collect();
        // One more has begun, and goes on only when the others have ended.
        let slow = task(async move {
            let mut outcomes = Vec::new();
            let last = ask(client, callers, end, || outcomes.extend(asking.into_iter().map(join))).await;
            outcomes.push(last);
            outcomes
        });
        let mut received = Vec::new();
        for _ in 0..thread_rng().gen_range(0..=callers) {
            received.extend(daemon.receive(1));
            if thread_rng().r#gen() {
                answer(&daemon, received.last().expect("it was received"));
            }
        }
        end.of(&daemon);
        received.extend(std::iter::from_fn(|| daemon.next()));
        let (outcomes, in_flight) = (join(slow), join(driving));
        let (mut lost, mut told) = (0, Vec::new());
        for (number, outcome) in (0..).zip(&outcomes) {
            match outcome {
                Ok(Ok(_)) => {}
                Ok(Err(FrameClientError::NotReceived)) => {
                    assert!(received.iter().all(|request| request.payload[0] != number));
                }
                Ok(Err(_)) => {
                    lost += 1;
                    told.push(true);
                }
                Err(Unsent { error, .. }) => {
                    assert!(received.iter().all(|request| request.payload[0] != number));
                    let dead = matches!(error, FrameClientError::Dead);
                    assert!(dead || end.is_told_by(error), "{error:?} after {end:?}");
                    told.push(!dead);
                }
            }
        }
        assert_eq!(lost, in_flight);
        assert!(told.is_empty() || told.contains(&true), "somebody is told why");
    });
}

#[test]
fn nobody_waits_for_a_task_that_has_ended_with_its_runtime() {
    check(|| {
        let (stream, daemon) = AsyncStream::pair(40);
        let (client, driver) = AsyncFrameClient::with_driver(stream, OnMove::Stay);
        let driving = task(for_a_while(run(driver)));
        let serving = thread::spawn(move || {
            if thread_rng().r#gen() {
                daemon.end();
            }
            serve(&daemon, |_| false)
        });
        let asking = [1, 2, 3].map(|number| {
            let client = client.clone();
            task(async move {
                match client.request(WORK, vec![number]).await {
                    Ok(response) => assert_eq!(response.payload, [number; 3]),
                    Err(error) => {
                        assert!(
                            matches!(
                                error,
                                FrameClientError::Stream(_)
                                    | FrameClientError::Closed
                                    | FrameClientError::NotReceived
                                    | FrameClientError::Dead
                            ),
                            "{error:?}"
                        );
                        assert!(!client.is_usable());
                    }
                }
            })
        });
        for asking in asking {
            join(asking);
        }
        join(driving);
        join(serving);
    });
}

#[test]
fn the_connection_ends_with_the_last_client_though_the_daemon_reads_nothing() {
    check(|| {
        let (client, daemon, driving) = connect(1);
        let asking = [1, 2, 3].map(|number| {
            let client = client.clone();
            task(async move { assert!(for_a_while(client.request(WORK, vec![number])).await.is_none()) })
        });
        drop(client);
        for asking in asking {
            join(asking);
        }
        join(driving);
        assert_eq!(daemon.next(), None);
    });
}
