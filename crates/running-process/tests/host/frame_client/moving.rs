//! Clients whose daemon says that another process serves the endpoint by now.

use super::peer::shouted;
use crate::support::SHOUT;
use prost::Message;
use running_process::broker::backend_sdk::{AsyncFrameClient, FrameClient, FrameClientError, Payload};
use running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::{
    Endpoint, Frame, FrameKind, FrameRef, Notice, NoticeKind, WANTS_MOVED, encode_framed, read_frame,
    try_decode_framed,
};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::pin::pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// The process that serves an endpoint, with the last connection to it.
struct Daemon {
    socket: UnixStream,
    received: Vec<u8>,
}

impl Daemon {
    async fn accept(listener: &UnixListener) -> Self {
        Self::new(listener.accept().await.unwrap().0)
    }

    fn new(socket: UnixStream) -> Self {
        Self { socket, received: Vec::new() }
    }

    /// Returns the next frame; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(decoded) = try_decode_framed(&self.received).unwrap() {
                self.received.drain(..decoded.consumed);
                return Some(decoded.frame);
            }
            if self.socket.read_buf(&mut self.received).await.unwrap() == 0 {
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

fn moved() -> Frame {
    let payload = Notice::new(NoticeKind::Moved).encode_to_vec();
    Frame { kind: FrameKind::Event.into(), ..Frame::request(0, payload) }
}

/// A directory with the endpoint of a daemon, which listens.
struct Place {
    directory: tempfile::TempDir,
    listener: UnixListener,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("s")).unwrap();
        Self { directory, listener }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::unix_socket("test", self.directory.path().join("s").to_str().unwrap()).unwrap()
    }

    async fn connect(&self) -> (AsyncFrameClient, Daemon) {
        let client = AsyncFrameClient::connect(&self.endpoint()).await.unwrap();
        (client, Daemon::accept(&self.listener).await)
    }

    /// Returns the listener of a process that takes the endpoint over.
    fn replace(&self) -> UnixListener {
        let new = self.directory.path().join("new");
        let listener = UnixListener::bind(&new).unwrap();
        std::fs::rename(new, self.directory.path().join("s")).unwrap();
        listener
    }
}

/// Sends a request, which `daemon` answers.
async fn ask(client: &AsyncFrameClient, daemon: &mut Daemon) {
    let (response, ()) = tokio::join!(client.request(SHOUT, b"ask".to_vec()), async {
        let request = daemon.receive().await;
        daemon.answer(&request).await;
    });
    assert_eq!(response.unwrap().payload, b"ASK");
}

#[tokio::test]
async fn requests_in_flight_are_answered_by_the_former_daemon_and_later_ones_by_its_successor() {
    let place = Place::new();
    let (client, mut former) = place.connect().await;
    let successor = place.replace();
    let mut in_flight = pin!(client.request(SHOUT, b"in flight".to_vec()));
    let request = tokio::select! {
        response = &mut in_flight => panic!("{response:?}"),
        request = former.receive() => request,
    };
    former.send(&moved()).await;
    let mut successor = Daemon::accept(&successor).await;
    for _ in 0..3 {
        ask(&client, &mut successor).await;
    }
    former.answer(&request).await;
    assert_eq!(in_flight.await.unwrap().payload, b"IN FLIGHT");
    assert_eq!(former.next().await, None, "the client ends the former connection");
    ask(&client, &mut successor).await;
}

#[tokio::test]
async fn a_client_follows_several_times_and_answers_come_from_all_of_them() {
    let place = Place::new();
    let (client, mut daemon) = place.connect().await;
    let (mut daemons, mut responses) = (Vec::new(), Vec::new());
    for round in 0..4_u8 {
        let (asking, next) = (client.clone(), place.replace());
        responses.push(tokio::spawn(async move { asking.request(SHOUT, vec![b'a' + round]).await }));
        let request = daemon.receive().await;
        daemon.send(&moved()).await;
        let next = Daemon::accept(&next).await;
        daemons.push((std::mem::replace(&mut daemon, next), request));
    }
    for (daemon, request) in daemons.iter_mut().rev() {
        daemon.answer(request).await;
        assert_eq!(daemon.next().await, None);
    }
    for (round, response) in (b'A'..).zip(responses) {
        assert_eq!(response.await.unwrap().unwrap().payload, [round]);
    }
    ask(&client, &mut daemon).await;
}

#[tokio::test]
async fn the_end_of_the_former_connection_fails_its_own_requests_only() {
    let place = Place::new();
    let (client, mut former) = place.connect().await;
    let successor = place.replace();
    let (lost, streaming) = (client.clone(), client.clone());
    let lost = tokio::spawn(async move { lost.request(SHOUT, b"lost".to_vec()).await });
    let mut stream = streaming.request_streaming(SHOUT, b"stream".to_vec()).await.unwrap();
    former.receive().await;
    former.receive().await;
    former.send(&moved()).await;
    let mut successor = Daemon::accept(&successor).await;
    let asking = client.clone();
    let waiting = tokio::spawn(async move { asking.request(SHOUT, b"later".to_vec()).await });
    let later = successor.receive().await;
    drop(former);
    let error = lost.await.unwrap();
    assert!(matches!(error, Err(FrameClientError::Closed)), "{error:?}");
    assert!(matches!(stream.next_event().await, Ok(None)));
    let error = stream.response().await;
    assert!(matches!(error, Err(FrameClientError::Closed)), "{error:?}");
    successor.answer(&later).await;
    assert_eq!(waiting.await.unwrap().unwrap().payload, b"LATER");
    assert!(client.is_usable());
}

#[tokio::test]
async fn a_request_that_is_given_up_is_cancelled_where_it_runs() {
    let place = Place::new();
    let (client, mut former) = place.connect().await;
    let successor = place.replace();
    let given_up = {
        let mut request = pin!(client.request(SHOUT, b"given up".to_vec()));
        let received = tokio::select! {
            response = &mut request => panic!("{response:?}"),
            received = former.receive() => received,
        };
        former.send(&moved()).await;
        tokio::select! {
            response = &mut request => panic!("{response:?}"),
            successor = Daemon::accept(&successor) => drop(successor),
        }
        received
    };
    let cancel = former.receive().await;
    assert_eq!((cancel.kind, cancel.request_id), (FrameKind::Cancel.into(), given_up.request_id));
    assert_eq!(former.next().await, None);
}

/// Makes `former` say that it has moved while no process listens, asks it once more, and returns the successor, which listens then.
async fn move_unreached(place: &Place, client: &AsyncFrameClient, former: &mut Daemon) -> UnixListener {
    ask(client, former).await;
    let path = place.directory.path().join("s");
    std::fs::remove_file(&path).unwrap();
    former.send(&moved()).await;
    ask(client, former).await;
    UnixListener::bind(&path).unwrap()
}

#[tokio::test]
async fn a_client_that_cannot_reach_the_successor_goes_on_and_follows_later() {
    let place = Place::new();
    let (client, mut former) = place.connect().await;
    let successor = move_unreached(&place, &client, &mut former).await;
    let (mut asking, mut waiting) = (pin!(client.request(SHOUT, b"ask".to_vec())), true);
    let mut successor = loop {
        tokio::select! {
            response = &mut asking => panic!("{response:?}"),
            request = former.next(), if waiting => match request {
                Some(request) => former.answer(&request).await,
                None => waiting = false,
            },
            successor = Daemon::accept(&successor) => break successor,
        }
    };
    let request = successor.receive().await;
    successor.answer(&request).await;
    assert_eq!(asking.await.unwrap().payload, b"ASK");
}

#[tokio::test]
async fn a_client_whose_former_daemon_is_gone_before_it_could_follow_follows_then() {
    let place = Place::new();
    let (client, mut former) = place.connect().await;
    let successor = move_unreached(&place, &client, &mut former).await;
    drop(former);
    let mut successor = Daemon::accept(&successor).await;
    ask(&client, &mut successor).await;
}

#[tokio::test]
async fn events_of_no_request_come_from_both_daemons() {
    let place = Place::new();
    let (client, mut former) = place.connect().await;
    let mut events = client.events().unwrap();
    let successor = place.replace();
    former.send(&moved()).await;
    let mut successor = Daemon::accept(&successor).await;
    successor.send(&super::peer::event(7)).await;
    assert_eq!(events.next().await.unwrap().unwrap(), super::peer::event(7));
    assert_eq!(former.next().await, None);
}

/// Answers `question` as a daemon does that takes 16 descriptors with one frame.
fn taking_descriptors(question: &Frame) -> Vec<u8> {
    let mut answer = encode_framed(&Frame { payload: Vec::new(), ..shouted(question) }).unwrap();
    answer.extend(*b"\xd0\x3e\x10");
    answer[1] += 3;
    answer
}

fn with_a_descriptor() -> Payload {
    Payload::from(b"build").with_descriptors([tempfile::tempfile().unwrap().into()])
}

/// Receives the question for descriptors on a new connection, and answers it.
async fn tell_descriptors(daemon: &mut Daemon) {
    let question = daemon.receive().await;
    assert_eq!(question.payload_protocol, BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL);
    daemon.socket.write_all(&taking_descriptors(&question)).await.unwrap();
}

/// Sends a request with a descriptor, as a caller of either method.
fn sent_with_a_descriptor(client: &AsyncFrameClient, streams: bool) -> JoinHandle<Frame> {
    let client = client.clone();
    tokio::spawn(async move {
        if streams {
            client.request_streaming(SHOUT, with_a_descriptor()).await.unwrap().response().await.unwrap()
        } else {
            client.request(SHOUT, with_a_descriptor()).await.unwrap()
        }
    })
}

#[tokio::test]
async fn a_request_with_descriptors_asks_the_successor_that_comes_between_question_and_request() {
    for (streams, moves_first) in [(false, false), (false, true), (true, false), (true, true)] {
        let place = Place::new();
        let (client, mut former) = place.connect().await;
        let successor = place.replace();
        let response = sent_with_a_descriptor(&client, streams);
        let question = former.receive().await;
        assert_eq!(question.payload_protocol, BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL);
        let mut answers = [taking_descriptors(&question), encode_framed(&moved()).unwrap()];
        if moves_first {
            answers.reverse();
        }
        // The client reads both at once, before its caller goes on.
        former.socket.write_all(&answers.concat()).await.unwrap();
        let mut successor = Daemon::accept(&successor).await;
        tell_descriptors(&mut successor).await;
        let request = successor.receive().await;
        assert_eq!((request.payload_protocol, &request.payload[..]), (SHOUT, &b"build"[..]));
        successor.answer(&request).await;
        assert_eq!(response.await.unwrap().payload, b"BUILD", "{streams} {moves_first}");
        assert_eq!(former.next().await, None);
        // The callers know what the daemon takes.
        let response = sent_with_a_descriptor(&client, streams);
        let request = successor.receive().await;
        assert_eq!(request.payload_protocol, SHOUT);
        successor.answer(&request).await;
        response.await.unwrap();
    }
}

#[tokio::test]
async fn a_successor_that_takes_no_descriptors_is_sent_none() {
    let place = Place::new();
    let (client, mut former) = place.connect().await;
    let successor = place.replace();
    let asking = client.clone();
    let response = tokio::spawn(async move { asking.request(SHOUT, with_a_descriptor()).await });
    let question = former.receive().await;
    let answers = [taking_descriptors(&question), encode_framed(&moved()).unwrap()];
    former.socket.write_all(&answers.concat()).await.unwrap();
    let mut successor = Daemon::accept(&successor).await;
    let question = successor.receive().await;
    successor.answer(&question).await;
    let error = response.await.unwrap().unwrap_err();
    assert!(matches!(error, FrameClientError::DescriptorsNotTaken { count: 1, limit: 0 }), "{error:?}");
    ask(&client, &mut successor).await;
}

#[tokio::test]
async fn a_question_for_descriptors_that_the_former_daemon_does_not_answer_goes_to_the_successor() {
    let place = Place::new();
    let (client, mut former) = place.connect().await;
    let successor = place.replace();
    let response = sent_with_a_descriptor(&client, false);
    former.receive().await;
    former.send(&moved()).await;
    let mut successor = Daemon::accept(&successor).await;
    drop(former);
    tell_descriptors(&mut successor).await;
    let request = loop {
        let request = successor.receive().await;
        if request.payload_protocol == SHOUT {
            break request;
        }
        // The caller asks as well, if its first question fails before the answer to that of the new connection.
        successor.socket.write_all(&taking_descriptors(&request)).await.unwrap();
    };
    successor.answer(&request).await;
    assert_eq!(response.await.unwrap().payload, b"BUILD");
}

#[tokio::test]
async fn a_client_on_a_stream_of_the_callers_says_that_its_daemon_has_moved_and_goes_on() {
    let (client, daemon) = UnixStream::pair().unwrap();
    let client = AsyncFrameClient::from_stream(client.into_std().unwrap()).unwrap();
    let mut daemon = Daemon::new(daemon);
    assert!(!client.has_moved());
    daemon.send(&moved()).await;
    ask(&client, &mut daemon).await;
    assert!(client.has_moved() && client.is_usable());
    ask(&client, &mut daemon).await;
}

#[test]
fn a_blocking_client_says_that_its_daemon_has_moved_and_goes_on() {
    let (client, mut daemon) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut client = FrameClient::from_stream(client);
    assert!(!client.has_moved());
    daemon.write_all(&encode_framed(&moved()).unwrap()).unwrap();
    assert!(client.has_moved() && client.is_usable());
    let request = client.send(SHOUT, b"on".to_vec()).unwrap();
    let mut received = vec![0; 1024];
    let length = daemon.read(&mut received).unwrap();
    let frame = try_decode_framed(&received[..length]).unwrap().unwrap().frame;
    daemon.write_all(&encode_framed(&shouted(&frame)).unwrap()).unwrap();
    assert_eq!(client.wait(request).unwrap().payload, b"ON");
}

/// Returns the next request that a blocking client has sent.
fn received(daemon: &mut impl Read) -> Frame {
    Frame::decode(&read_frame(daemon).unwrap()[..]).unwrap()
}

#[test]
fn a_blocking_client_says_it_also_behind_answers_to_cancelled_requests() {
    for length in [1, 5_000, 60_000] {
        let (client, mut daemon) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut client = FrameClient::from_stream(client);
        let mut requests = [(); 3].map(|()| client.send(SHOUT, vec![b'a'; length]).unwrap());
        let frames = [(); 3].map(|()| received(&mut daemon));
        daemon.write_all(&encode_framed(&shouted(&frames[0])).unwrap()).unwrap();
        assert_eq!(client.wait(requests[0]).unwrap().payload, vec![b'A'; length]);
        requests[1..].iter().for_each(|request| client.cancel(*request));
        let [_, second, third] = frames.map(|frame| encode_framed(&shouted(&frame)).unwrap());
        daemon.write_all(&[second, third, encode_framed(&moved()).unwrap()].concat()).unwrap();
        assert!(client.has_moved() && client.is_usable(), "{length}");
        requests[0] = client.send(SHOUT, b"on".to_vec()).unwrap();
        // The cancels come first.
        let [.., last] = [(); 3].map(|()| received(&mut daemon));
        daemon.write_all(&encode_framed(&shouted(&last)).unwrap()).unwrap();
        assert_eq!(client.wait(requests[0]).unwrap().payload, b"ON");
    }
}

#[test]
fn a_blocking_client_says_it_once_it_has_room_for_the_answers_before() {
    let (client, mut daemon) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut client = FrameClient::from_stream(client);
    client.set_response_limit(1);
    let requests = [(); 2].map(|()| client.send(SHOUT, b"on".to_vec()).unwrap());
    let answers = [(); 2].map(|()| encode_framed(&shouted(&received(&mut daemon))).unwrap());
    daemon.write_all(&[answers.concat(), encode_framed(&moved()).unwrap()].concat()).unwrap();
    for request in requests {
        assert!(!client.has_moved());
        assert_eq!(client.wait(request).unwrap().payload, b"ON");
    }
    assert!(client.has_moved() && client.is_usable());
}

/// The daemon answers probes itself, so what it learns from requests it does not learn from them.
#[test]
fn a_client_whose_first_request_has_descriptors_wants_to_know_that_its_daemon_has_moved() {
    let (client, mut daemon) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut client = FrameClient::from_stream(client);
    let asking = std::thread::spawn(move || client.request(SHOUT, with_a_descriptor()));
    let question = received(&mut daemon);
    assert_eq!(question.payload_protocol, BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL);
    daemon.write_all(&taking_descriptors(&question)).unwrap();
    let request = read_frame(&mut daemon).unwrap();
    let request = FrameRef::decode(&request).unwrap();
    assert_eq!(request.accepted_encodings & WANTS_MOVED, WANTS_MOVED);
    daemon.write_all(&encode_framed(&shouted(&request.to_frame())).unwrap()).unwrap();
    asking.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_request_of_which_the_daemon_has_a_part_at_its_end_has_certainly_not_run() {
    for reads_only in [true, false] {
        let place = Place::new();
        let (client, mut daemon) = place.connect().await;
        let ask = |payload| {
            let client = client.clone();
            tokio::spawn(async move { client.request(SHOUT, payload).await })
        };
        let whole = ask(b"whole".to_vec());
        daemon.receive().await;
        let cut = ask(vec![b'x'; 8 << 20]);
        let behind = ask(b"behind".to_vec());
        while daemon.received.len() < 100_000 {
            daemon.socket.read_buf(&mut daemon.received).await.unwrap();
        }
        let mut daemon = daemon.socket.into_std().unwrap();
        daemon.shutdown(if reads_only { Shutdown::Read } else { Shutdown::Both }).unwrap();
        while let Ok(1..) = daemon.read(&mut [0; 4096]) {}
        let cut = cut.await.unwrap();
        drop(daemon);
        let (whole, behind) = (whole.await.unwrap(), behind.await.unwrap());
        assert!(matches!(whole, Err(FrameClientError::Closed)), "{whole:?}");
        for outcome in [cut, behind] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, FrameClientError::NotReceived), "{error:?}");
            assert!(!error.may_have_run());
        }
    }
}
