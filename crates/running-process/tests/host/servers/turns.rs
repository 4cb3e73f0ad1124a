//! Requests that were quick so often that nobody expects anything else, and then are not.

use super::Running;
use crate::support::{eventually, next, read_frames, refusal, request, write};
use running_process::broker::backend_sdk::{LocalStream, ServerConfig};
use running_process::broker::protocol::{FrameKind, FrameRef};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

/// Answers at once with what it was sent, unless that is empty: then once it is told to, or nobody waits any more.
const USUALLY_QUICK: u32 = 0xF011;

struct Turns {
    server: Running,
    connection: LocalStream,
    begun: Receiver<()>,
    go_on: Sender<()>,
}

impl Turns {
    /// A server, and a connection whose requests have all been quick.
    fn start() -> Self {
        let (entered, begun) = mpsc::channel();
        let (go_on, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let server = Running::start(move |server| {
            server.serve(USUALLY_QUICK, move |request| {
                if request.payload().is_empty() {
                    entered.send(())?;
                    eventually(|| {
                        let told = || gate.lock().unwrap().try_recv().ok();
                        request.cancelled().map(|_| ()).or_else(told)
                    });
                }
                Ok(request.payload().to_vec())
            })
        });
        let connection = server.connect();
        let turns = Self { server, connection, begun, go_on };
        for id in 1000..1200 {
            turns.assert_answers(id);
        }
        turns
    }

    fn send(&self, ids: impl IntoIterator<Item = u64>, payload: &[u8]) {
        let wire: Vec<u8> = ids.into_iter().flat_map(|id| request(USUALLY_QUICK, id, payload)).collect();
        write(&self.connection, &wire);
    }

    #[track_caller]
    fn assert_answers(&self, id: u64) {
        self.send([id], b"quick");
        let answers = read_frames(&self.connection, 1);
        assert_eq!((answers[0].request_id, &answers[0].payload[..]), (id, &b"quick"[..]));
    }
}

#[test]
fn a_slow_request_holds_up_none_that_comes_with_it_or_after_it() {
    let turns = Turns::start();
    // In one write, so that they are taken together: one before it, two behind it.
    let slow = request(USUALLY_QUICK, 2, b"");
    let quick = [1, 3, 4].map(|id| request(USUALLY_QUICK, id, b"quick"));
    write(&turns.connection, &[&quick[0][..], &slow, &quick[1], &quick[2]].concat());
    let mut ids: Vec<_> = read_frames(&turns.connection, 3).iter().map(|answer| answer.request_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 3, 4]);
    next(&turns.begun);
    for id in 5..50 {
        turns.assert_answers(id);
    }
    turns.go_on.send(()).unwrap();
    assert_eq!(read_frames(&turns.connection, 1)[0].request_id, 2);
}

#[test]
fn as_many_slow_requests_as_allowed_are_served_at_once() {
    let turns = Turns::start();
    turns.send(1..=20, b"");
    for _ in 0..20 {
        next(&turns.begun);
    }
    turns.assert_answers(21);
    for _ in 0..20 {
        turns.go_on.send(()).unwrap();
    }
    let mut ids: Vec<_> = read_frames(&turns.connection, 20).iter().map(|answer| answer.request_id).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=20));
}

#[test]
fn a_cancel_and_a_hang_up_reach_a_request_that_was_expected_to_be_quick() {
    let turns = Turns::start();
    turns.send([1], b"");
    next(&turns.begun);
    let mut cancel = Vec::new();
    let frame = FrameRef { kind: FrameKind::Cancel.into(), ..FrameRef::request(USUALLY_QUICK, 1, b"") };
    frame.encode_framed(&mut cancel).unwrap();
    write(&turns.connection, &cancel);
    assert_eq!(refusal(&read_frames(&turns.connection, 1)[0]), "cancelled");
    turns.assert_answers(2);
    turns.send([3], b"");
    next(&turns.begun);
    let Turns { mut server, connection, .. } = turns;
    drop(connection);
    // Not by the stop, whose drain would end it too.
    eventually(|| (server.stats.snapshot().requests_in_flight == 0).then_some(()));
    server.stop_and_join().unwrap();
}

/// Protocol whose handler answers at once, inline, with the payload.
const INLINE: u32 = 0xF012;
/// Protocol whose handler answers at once; for an empty payload it sends an event before.
const TELLING: u32 = 0xF013;

/// Tests quick requests that are taken while their connection is being written to: until that is done the output is full. The
/// reading thread's requests must be watched as well, and must not wait for output that only this thread would write.
fn taken_while_writing(mut last: impl FnMut(&LocalStream, &Receiver<()>, &Sender<()>)) {
    let (entered, begun) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let mut config = ServerConfig::default();
    config.send_high_water = 1;
    let server = Running::start(move |server| {
        server
            .config(config)
            .serve_inline(INLINE, |request| Ok(request.payload().to_vec()))
            .serve(USUALLY_QUICK, move |request| {
                if request.payload().is_empty() {
                    entered.send(())?;
                    eventually(|| gate.lock().unwrap().try_recv().ok());
                }
                Ok(request.payload().to_vec())
            })
            .serve(TELLING, |request| {
                if request.payload().is_empty() {
                    request.send_event(b"event")?;
                }
                Ok(b"told".to_vec())
            })
    });
    let warm = server.connect();
    for protocol in [USUALLY_QUICK, TELLING] {
        for id in 0..200 {
            write(&warm, &request(protocol, id, b"quick"));
            read_frames(&warm, 1);
        }
    }
    // The reading thread serves quick requests of a busy connection; a millisecond decides if it is busy.
    for _ in 0..20 {
        let connection = server.connect();
        write(&connection, &request(INLINE, 1, b"first"));
        read_frames(&connection, 1);
        last(&connection, &begun, &go_on);
    }
}

#[test]
fn a_slow_request_that_was_taken_while_writing_holds_up_none_behind_it() {
    taken_while_writing(|connection, begun, go_on| {
        let slow = request(USUALLY_QUICK, 3, b"");
        write(connection, &[&request(INLINE, 2, b"full")[..], &slow].concat());
        assert_eq!(read_frames(connection, 1)[0].request_id, 2);
        next(begun);
        write(connection, &request(INLINE, 4, b"behind"));
        assert_eq!(read_frames(connection, 1)[0].request_id, 4);
        go_on.send(()).unwrap();
        assert_eq!(read_frames(connection, 1)[0].request_id, 3);
    });
}

#[test]
fn an_event_does_not_wait_for_the_answers_that_its_own_thread_is_to_write() {
    taken_while_writing(|connection, _, _| {
        let wire = [request(INLINE, 2, b"full"), request(USUALLY_QUICK, 3, b"quick"), request(TELLING, 4, b"")];
        write(connection, &wire.concat());
        let mut told: Vec<_> = read_frames(connection, 4).iter().map(|answer| answer.request_id).collect();
        told.sort_unstable();
        assert_eq!(told, [2, 3, 4, 4]);
    });
}
