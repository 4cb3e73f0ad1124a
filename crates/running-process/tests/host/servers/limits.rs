//! The limits of a server, for one connection and for all of them.

use super::TestServer;
use crate::daemon::{Cancelled, Daemon};
use crate::support::{
    Flag, Gate, GateKeeper, PATIENCE, SHOUT, echo, frames, next, read_frames, read_to_end, refusal, request,
    write,
};
use running_process::broker::backend_sdk::{
    CancelReason, LegacyClassification, LocalStream, NotAuthorized, PeerCredentials, ServerConfig,
};
use running_process::broker::protocol::{Frame, FrameKind, FrameRef, encode_framed, registry};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime};

/// Short enough to wait for, long enough not to pass by chance while a test prepares.
const SHORT: Duration = Duration::from_millis(100);

/// Protocol whose handler waits at the gate and answers with its payload.
const WORK: u32 = 0xF00F;
/// Protocol whose handler waits until its request is cancelled.
const ENDLESS: u32 = 0xF010;

/// A server of [`WORK`] and [`ENDLESS`]. The keeper is told of the payload of each request that begins.
struct Works {
    server: TestServer,
    keeper: GateKeeper,
    /// The cancellation of each request of [`ENDLESS`].
    cancelled: Receiver<Cancelled>,
}

impl Works {
    fn start(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default();
        change(&mut config);
        let (gate, keeper) = Gate::new();
        let (end, cancelled) = mpsc::channel();
        let server = TestServer::start(move |server| {
            let at_gate = gate.clone();
            let server = server.config(config).serve(WORK, move |request| {
                at_gate.enter(request.payload());
                Ok(request.payload().to_vec())
            });
            server.serve(ENDLESS, move |request| {
                gate.report(request.payload());
                end.send(request.wait_cancelled())?;
                Ok(Vec::new())
            })
        });
        Self { server, keeper, cancelled }
    }

    #[track_caller]
    fn assert_cancelled(&self, expected: CancelReason) {
        match next(&self.cancelled) {
            Cancelled::Reason(reason) => assert_eq!(reason, expected),
            #[cfg(feature = "tokio")]
            Cancelled::Dropped => {}
        }
    }
}

fn work(id: u64) -> Vec<u8> {
    request(WORK, id, &[u8::try_from(id).unwrap()])
}

fn endless(id: u64) -> Vec<u8> {
    request(ENDLESS, id, &[u8::try_from(id).unwrap()])
}

/// Returns the request ids of `answers` in their order.
fn ids(answers: &[Frame]) -> Vec<u64> {
    answers.iter().map(|answer| answer.request_id).collect()
}

#[test]
fn a_connection_has_a_limit_of_its_own_and_its_next_request_waits() {
    let works = Works::start(|config| config.connection.max_in_flight = 2);
    let connection = works.server.connect();
    write(&connection, &[work(1), work(2), work(3), request(SHOUT, 4, b"behind")].concat());
    let mut begun = [works.keeper.next(), works.keeper.next()];
    begun.sort_unstable();
    assert_eq!(begun, [[1], [2]]);
    works.server.assert_serves();
    assert!(!works.keeper.is_entered(), "two are in flight");
    works.keeper.let_pass();
    assert_eq!(works.keeper.next(), [3]);
    assert!(ids(&read_frames(&connection, 1))[0] <= 2);
    works.keeper.let_pass();
    works.keeper.let_pass();
    let mut rest = ids(&read_frames(&connection, 3));
    rest.sort_unstable();
    assert_eq!(rest[1..], [3, 4]);
}

#[test]
fn all_connections_together_have_a_limit_and_one_request_more_is_refused() {
    let works = Works::start(|config| {
        config.max_in_flight = 2;
        config.retry_after = Duration::from_millis(70);
    });
    let connections = [(); 3].map(|()| works.server.connect());
    for (id, connection) in (1..).zip(&connections[..2]) {
        write(connection, &work(id));
        assert_eq!(works.keeper.next(), [u8::try_from(id).unwrap()]);
    }
    write(&connections[2], &work(3));
    let expected = r#"overloaded ("2 requests are being served"); may be served after 70 ms"#;
    assert_eq!(refusal(&read_frames(&connections[2], 1)[0]), expected);
    assert_eq!(works.server.error(), "2 requests are being served, one more was refused");
    works.keeper.let_pass();
    works.keeper.let_pass();
    for connection in &connections[..2] {
        assert_eq!(read_frames(connection, 1)[0].payload_protocol, WORK);
    }
    write(&connections[2], &work(3));
    works.keeper.let_pass();
    assert_eq!(read_frames(&connections[2], 1)[0].payload, [3]);
}

#[test]
fn a_connection_that_floods_leaves_requests_to_others() {
    let works = Works::start(|config| config.max_in_flight = 4);
    let greedy = works.server.connect();
    write(&greedy, &(1..=4).flat_map(work).collect::<Vec<_>>());
    let mut begun = [works.keeper.next(), works.keeper.next()];
    begun.sort_unstable();
    assert_eq!(begun, [[1], [2]]);
    let modest = [works.server.connect(), works.server.connect()];
    for (id, connection) in (5..).zip(&modest) {
        write(connection, &work(id));
        assert_eq!(works.keeper.next(), [u8::try_from(id).unwrap()]);
    }
    // The other requests of the greedy connection are not refused. They wait for its own answers.
    for _ in 0..6 {
        works.keeper.let_pass();
    }
    let mut ids = ids(&read_frames(&greedy, 4));
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4]);
    for connection in &modest {
        assert_eq!(read_frames(connection, 1)[0].payload_protocol, WORK);
    }
    assert!(!works.server.has_more_errors());
}

#[test]
fn a_peer_that_does_not_number_its_requests_is_answered_in_order() {
    let works = Works::start(|_| {});
    let connection = works.server.connect();
    write(&connection, &[request(WORK, 0, b"first"), request(WORK, 0, b"second")].concat());
    assert_eq!(works.keeper.next(), b"first");
    works.server.assert_serves();
    assert!(!works.keeper.is_entered());
    works.keeper.let_pass();
    assert_eq!(works.keeper.next(), b"second");
    works.keeper.let_pass();
    let answers = read_frames(&connection, 2);
    assert_eq!([&answers[0].payload[..], &answers[1].payload[..]], [&b"first"[..], b"second"]);
}

#[test]
fn a_slow_request_holds_up_no_other_of_its_connection() {
    let works = Works::start(|_| {});
    let connection = works.server.connect();
    write(&connection, &[work(1), request(SHOUT, 2, b"quick")].concat());
    assert_eq!(read_frames(&connection, 1)[0].payload, b"QUICK");
    works.keeper.let_pass();
    assert_eq!(ids(&read_frames(&connection, 1)), [1]);
}

#[test]
fn a_cancel_reaches_the_handler_and_is_confirmed() {
    let works = Works::start(|_| {});
    let connection = works.server.connect();
    write(&connection, &[endless(1), work(2)].concat());
    works.keeper.next();
    works.keeper.next();
    let cancel = FrameRef { kind: FrameKind::Cancel.into(), ..FrameRef::request(ENDLESS, 1, b"") };
    write(&connection, &encode_framed(&cancel.to_frame()).unwrap());
    works.assert_cancelled(CancelReason::Requested);
    let answer = &read_frames(&connection, 1)[0];
    assert_eq!((answer.request_id, refusal(answer)), (1, "cancelled".to_owned()));
    works.keeper.let_pass();
    assert_eq!(ids(&read_frames(&connection, 1)), [2], "the other one goes on");
}

#[test]
fn a_cancel_names_its_request_by_the_id_alone_and_ends_no_connection() {
    let works = Works::start(|_| {});
    let connection = works.server.connect();
    let cancel = Frame { kind: FrameKind::Cancel.into(), ..Frame::request(ENDLESS, Vec::new()) };
    let cancels = [
        Frame { payload: b"no longer needed".to_vec(), ..cancel.clone() },
        Frame { payload_encoding: 1, payload: vec![9], ..cancel.clone() },
        Frame { payload_protocol: registry::CONTROL_PAYLOAD_PROTOCOL, ..cancel.clone() },
        Frame { payload_protocol: 0xF0FE, ..cancel.clone() },
        cancel,
    ];
    for (id, cancel) in (1..).zip(cancels) {
        let cancel = encode_framed(&cancel.with_request_id(id)).unwrap();
        // Cancels before the request, while its handler runs, and after it was cancelled.
        write(&connection, &[&cancel[..], &endless(id)].concat());
        works.keeper.next();
        write(&connection, &cancel);
        works.assert_cancelled(CancelReason::Requested);
        let answer = &read_frames(&connection, 1)[0];
        assert_eq!((answer.request_id, refusal(answer)), (id, "cancelled".to_owned()));
        write(&connection, &[&cancel[..], &request(SHOUT, 77, b"still")].concat());
        assert_eq!(read_frames(&connection, 1)[0].payload, b"STILL");
    }
    assert!(!works.server.has_more_errors());
}

#[test]
fn a_client_that_hangs_up_has_its_requests_cancelled() {
    let works = Works::start(|_| {});
    let connection = works.server.connect();
    write(&connection, &endless(1));
    works.keeper.next();
    drop(connection);
    works.assert_cancelled(CancelReason::PeerGone);
    works.server.assert_serves();
    assert!(!works.server.has_more_errors());
}

/// Windows pipes have no half-closed state.
#[cfg(unix)]
#[test]
fn a_client_that_only_ends_writing_is_answered() {
    let works = Works::start(|_| {});
    let connection = works.server.connect();
    write(&connection, &[work(1), work(2)].concat());
    connection.shutdown_write().unwrap();
    works.keeper.next();
    works.keeper.next();
    works.keeper.let_pass();
    works.keeper.let_pass();
    let mut ids = ids(&frames(&read_to_end(&connection)));
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    // A hang-up after the end of writing is noticed as well.
    let connection = works.server.connect();
    write(&connection, &endless(3));
    connection.shutdown_write().unwrap();
    works.keeper.next();
    drop(connection);
    works.assert_cancelled(CancelReason::PeerGone);
}

/// Encodes a request whose client waits for so long.
fn due(protocol: u32, id: u64, left: Duration) -> Vec<u8> {
    let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + left;
    let deadline_unix_ms = u64::try_from(deadline.as_millis()).unwrap();
    let frame = Frame { deadline_unix_ms, ..Frame::request(protocol, b"due".to_vec()).with_request_id(id) };
    encode_framed(&frame).unwrap()
}

#[test]
fn a_deadline_reaches_the_handler_and_the_client_is_told() {
    let works = Works::start(|_| {});
    let connection = works.server.connect();
    let start = Instant::now();
    write(&connection, &due(ENDLESS, 1, SHORT));
    works.keeper.next();
    works.assert_cancelled(CancelReason::DeadlinePassed);
    let answer = &read_frames(&connection, 1)[0];
    assert_eq!((answer.request_id, refusal(answer)), (1, "the deadline has passed".to_owned()));
    // The wall clock counts whole milliseconds.
    assert!(start.elapsed() + Duration::from_millis(1) >= SHORT, "{:?}", start.elapsed());
}

#[test]
fn a_request_that_comes_after_its_deadline_is_not_begun() {
    let works = Works::start(|_| {});
    let connection = works.server.connect();
    write(&connection, &due(WORK, 1, Duration::ZERO));
    let expected = r#"the deadline has passed ("it had passed when the request came")"#;
    assert_eq!(refusal(&read_frames(&connection, 1)[0]), expected);
    assert!(!works.keeper.is_entered());
}

#[test]
fn events_precede_their_answer_and_wait_for_a_client_that_does_not_read() {
    const EVENTS: usize = 400;
    let (sent, has_sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(Flag::default()));
    let (count, first) = (Arc::clone(&sent), Arc::clone(&has_sent));
    let mut config = ServerConfig::default();
    config.send_high_water = 64 * 1024;
    let server = TestServer::start(move |server| {
        server.config(config).serve(WORK, move |request| {
            for number in 0..EVENTS {
                request.send_event(&[u8::try_from(number % 256)?; 16 * 1024])?;
                count.fetch_add(1, Ordering::SeqCst);
                first.set();
            }
            Ok(b"the end".to_vec())
        })
    });
    let connection = server.connect();
    write(&connection, &request(WORK, 7, b""));
    has_sent.wait();
    server.assert_serves();
    assert!(sent.load(Ordering::SeqCst) < EVENTS, "the socket and the server's buffer hold less than 6 MiB");
    let answers = read_frames(&connection, EVENTS + 1);
    for (number, event) in answers[..EVENTS].iter().enumerate() {
        assert_eq!((event.kind, event.request_id), (FrameKind::Event.into(), 7));
        assert_eq!(event.payload[0], u8::try_from(number % 256).unwrap());
    }
    assert_eq!(answers[EVENTS].payload, b"the end");
    assert_eq!(sent.load(Ordering::SeqCst), EVENTS);
}

#[test]
fn a_client_that_never_reads_is_disconnected_and_disturbs_no_other() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let mut config = ServerConfig::default();
    config.send_high_water = 64 * 1024;
    config.write_timeout = SHORT;
    let server = TestServer::start(move |server| {
        server.config(config).serve_inline(WORK, move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok(vec![0; 64 * 1024])
        })
    });
    let connection = server.connect();
    let flood: Vec<u8> = (1..=1000).flat_map(|id| request(WORK, id, b"")).collect();
    write(&connection, &flood);
    assert_eq!(server.error(), "a connection failed: the deadline has passed");
    assert!(begun.load(Ordering::SeqCst) < 100, "{begun:?} of 1000");
    server.assert_serves();
}

#[test]
fn a_connection_that_exceeds_the_memory_of_all_is_ended() {
    let server = TestServer::with_config(|config| {
        config.memory_limit = 1 << 20;
        config.max_connections = 16;
    });
    // After a request the connection may use all of the memory. Then comes a message without end.
    let connection = server.connect();
    write(&connection, &request(SHOUT, 1, b"x"));
    read_frames(&connection, 1);
    let mut sent = vec![1, 0, 0, 0, 1];
    sent.resize(2 << 20, 0);
    let written = connection.write_all_deadline(&sent, Some(Instant::now() + PATIENCE));
    assert!(written.is_err(), "the server took all of it");
    let error = server.error();
    assert!(error.starts_with("a connection needs ") && error.contains("1048576 bytes"), "{error}");
    server.assert_serves();
}

#[test]
fn the_first_message_of_a_peer_that_is_not_served_has_a_limit() {
    let mut config = ServerConfig::default();
    config.connection.first_message_bytes = 1000;
    let server = TestServer::start(|server| {
        server.config(config).authorize(|_: &PeerCredentials| Err(NotAuthorized::new("no peer is")))
    });
    let connection = server.connect();
    write(&connection, &[1, 0xE4, 3, 0, 0]);
    assert_eq!(read_to_end(&connection), b"");
    assert_eq!(server.error().split(':').next(), Some("a peer is not served"));
    let error = server.error();
    assert!(error.contains("the first message is larger than 1000 bytes"), "{error}");
}

#[test]
fn a_served_peer_may_begin_with_a_large_message() {
    let server = TestServer::with_config(|config| config.connection.first_message_bytes = 1000);
    let connection = server.connect();
    let large = vec![b'x'; 3 << 20];
    std::thread::scope(|scope| {
        scope.spawn(|| write(&connection, &request(SHOUT, 1, &large)));
        let [answer] = &read_frames(&connection, 1)[..] else { panic!("one request, one answer") };
        assert_eq!(answer.payload, large.to_ascii_uppercase());
    });
}

#[test]
fn a_connection_is_idle_only_once_its_requests_are_answered() {
    let works = Works::start(|config| config.connection.idle_timeout = Some(SHORT));
    let connection = works.server.connect();
    write(&connection, &work(1));
    works.keeper.next();
    // Longer than the idle timeout.
    let silence = connection.read_deadline(&mut [0; 16], Some(Instant::now() + 2 * SHORT)).unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::TimedOut);
    works.keeper.let_pass();
    assert_eq!(ids(&frames(&read_to_end(&connection))), [1]);
    assert_eq!(
        works.server.error(),
        "a connection was ended: the peer was too slow: waited for the next message"
    );
}

#[test]
fn after_a_probe_a_message_is_due() {
    let server = TestServer::with_config(|config| config.connection.probed_timeout = SHORT);
    let connection = server.handle().into_stream();
    assert_eq!(read_to_end(&connection), b"");
    assert_eq!(
        server.error(),
        "a connection was ended: the peer was too slow: waited for a message after a probe"
    );
}

/// Sends two requests and returns their answers.
fn ask(connection: &LocalStream) -> Vec<Frame> {
    write(connection, &[request(SHOUT, 1, b"a"), request(SHOUT, 2, b"b")].concat());
    read_frames(connection, 2)
}

#[test]
fn the_rule_is_asked_once_before_the_first_request_and_not_for_probes() {
    let (seen, asked_for) = mpsc::channel();
    let server = TestServer::start(|server| {
        server
            .authorize(move |peer: &PeerCredentials| {
                seen.send(*peer).unwrap();
                Err(NotAuthorized::new("no peer is served today"))
            })
            .legacy(|_| LegacyClassification::NotLegacy, echo)
    });
    let connection = server.handle().into_stream();
    assert!(asked_for.try_recv().is_err(), "a probe needs no permission");
    for answer in ask(&connection) {
        assert_eq!(refusal(&answer), "not authorized (\"no peer is served today\")");
    }
    let peer = next(&asked_for);
    assert_eq!(peer.pid, Some(std::process::id()));
    assert!(peer.is_same_user());
    assert!(asked_for.try_recv().is_err(), "the rule is asked once for a connection");
    assert!(server.error().starts_with("a peer is not served: "));
    // The legacy wire has no refusals.
    let legacy = server.connect();
    write(&legacy, b"hello");
    assert_eq!(read_to_end(&legacy), b"");
}

#[test]
fn a_handler_knows_its_peer_and_its_deadline() {
    let (report, seen) = mpsc::channel();
    let server = TestServer::start(|server| {
        server.serve(WORK, move |request| {
            report.send((request.peer(), request.deadline(), request.frame().clone()))?;
            Ok(Vec::new())
        })
    });
    let connection = server.connect();
    write(&connection, &due(WORK, 9, PATIENCE));
    read_frames(&connection, 1);
    let (peer, deadline, frame) = next(&seen);
    assert_eq!(peer.pid, Some(std::process::id()));
    let left = deadline.unwrap().saturating_duration_since(Instant::now());
    assert!(left > Duration::ZERO && left <= PATIENCE, "{left:?}");
    assert_eq!((frame.request_id, &frame.payload[..]), (9, &b"due"[..]));
}
