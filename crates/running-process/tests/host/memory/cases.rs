use super::super::child::{ANSWER, BUDGET, Child, EVENTS, INLINE, KEEP, serve};
use super::Driver;
use crate::support::{request, soon, test_name, write};
use running_process::broker::backend_sdk::LocalStream;
use running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::FrameRef;

/// Length of a large payload, near the largest that a frame holds.
const LARGE: usize = 15 << 20;
/// Number of requests that a connection may have in flight.
const REQUESTS: u64 = 64;

#[test]
#[ignore = "the daemon of the other tests, in a process of its own"]
fn daemon() {
    serve::<Driver>();
}

fn asking_for(protocol: u32, length: usize, id: u64) -> Vec<u8> {
    request(protocol, id, &u32::try_from(length).unwrap().to_le_bytes())
}

fn many_asking_for(protocol: u32, length: usize) -> Vec<u8> {
    (1..=REQUESTS).flat_map(|id| asking_for(protocol, length, id)).collect()
}

/// Writes as much of `bytes` as the server accepts.
fn push(connection: &LocalStream, bytes: &[u8]) {
    let _ended = connection.write_all_deadline(bytes, Some(soon()));
}

fn frame(frame: &FrameRef<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    frame.encode_framed(&mut wire).unwrap();
    wire
}

/// Checks a server whose `connections` peers ask for `LARGE` answers and read nothing.
fn unread(connections: usize, protocol: u32) {
    let child = Child::start(test_name!("daemon"));
    let connections: Vec<_> = (0..connections).map(|_| child.connect()).collect();
    for connection in &connections {
        write(connection, &many_asking_for(protocol, LARGE));
    }
    child.until_alone();
    // Two threads may each have an answer that is not charged yet.
    child.assert_within(if protocol == ANSWER { 4 * LARGE } else { connections.len() * LARGE });
    // The server has recovered.
    let answer = child.client().request(protocol, 1_u32.to_le_bytes().to_vec()).unwrap();
    assert_eq!(answer.payload, [7]);
}

#[test]
fn large_answers_that_one_peer_does_not_read() {
    unread(1, ANSWER);
}

#[test]
fn large_answers_that_many_peers_do_not_read() {
    unread(8, ANSWER);
}

#[test]
fn large_inline_answers_that_peers_do_not_read() {
    unread(1, INLINE);
}

#[test]
fn large_events_that_peers_do_not_read() {
    let child = Child::start(test_name!("daemon"));
    let connections = [(); 8].map(|()| child.connect());
    for connection in &connections {
        write(connection, &many_asking_for(EVENTS, 1 << 20));
    }
    child.until_alone();
    // Each handler holds the event that it sends.
    child.assert_within(connections.len() << 26);
}

#[test]
fn a_peer_that_reads_gets_more_than_the_budget() {
    let child = Child::start(test_name!("daemon"));
    let mut client = child.client();
    for _ in 0..2 * BUDGET / LARGE {
        let length = u32::try_from(LARGE).unwrap().to_le_bytes();
        assert_eq!(client.request(ANSWER, length.to_vec()).unwrap().payload.len(), LARGE);
    }
    child.assert_within(4 * LARGE);
}

#[test]
fn trace_context_of_requests_at_work() {
    let child = Child::start(test_name!("daemon"));
    let connection = child.connect();
    let state = "s".repeat(LARGE);
    for id in 1..=12 {
        push(&connection, &frame(&FrameRef { tracestate: &state, ..FrameRef::request(KEEP, id, b"") }));
    }
    child.until(|status| status.requests_in_flight == 12);
    child.assert_within(0);
}

#[test]
fn large_requests_at_work() {
    let child = Child::start(test_name!("daemon"));
    let connection = child.connect();
    let large = vec![7; LARGE];
    let most = BUDGET / LARGE - 1;
    std::thread::scope(|scope| {
        // The server does not read all of them: its end ends the writes.
        scope.spawn(|| (1..=12).for_each(|id| push(&connection, &request(KEEP, id, &large))));
        child.until(|status| status.requests_in_flight >= most as u64 / 2);
        child.assert_within(0);
        drop(child);
    });
}

#[test]
fn messages_that_stop_in_the_middle() {
    let child = Child::start(test_name!("daemon"));
    let connections = [(); 16].map(|()| child.connect());
    let mut claim = vec![1, 0, 0, 0, 1];
    claim.resize(LARGE, 0);
    std::thread::scope(|scope| {
        for connection in &connections {
            scope.spawn(|| push(connection, &claim));
        }
    });
    child.until(|status| status.memory_limit_hit > 0);
    child.assert_within(0);
}

#[test]
fn many_small_requests_at_work() {
    let child = Child::start(test_name!("daemon"));
    let connections = [(); 16].map(|()| child.connect());
    for connection in &connections {
        let small = (1..=10 * REQUESTS).flat_map(|id| request(KEEP, id, b"x"));
        push(connection, &small.collect::<Vec<_>>());
    }
    child.until(|status| status.requests_in_flight >= 16 * REQUESTS / 2);
    child.assert_within(0);
}

#[test]
fn probes_and_small_answers_that_peers_do_not_read() {
    let child = Child::start(test_name!("daemon"));
    let connections = [(); 64].map(|()| child.connect());
    let context = "c".repeat(3000);
    let probe = FrameRef {
        tracestate: &context,
        ..FrameRef::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, 1, &[9; 32])
    };
    let late = FrameRef { deadline_unix_ms: 1, ..FrameRef::request(KEEP, 1, b"") };
    let floods = [frame(&probe).repeat(3000), frame(&late).repeat(200_000)];
    std::thread::scope(|scope| {
        for (number, connection) in connections.iter().enumerate() {
            let flood = &floods[number % 2];
            scope.spawn(|| push(connection, flood));
        }
    });
    child.until_alone();
    child.assert_within(0);
}

#[test]
fn what_was_received_before_a_legacy_handler_reads() {
    let child = Child::start(test_name!("daemon"));
    let connections = [(); 150].map(|()| child.connect());
    let mut message = vec![b'x'; (1 << 20) - 1];
    message.push(b'!');
    std::thread::scope(|scope| {
        for connection in &connections {
            scope.spawn(|| push(connection, &message));
        }
    });
    child.until(|status| status.memory_limit_hit > 0);
    child.assert_within(0);
}

#[test]
fn messages_of_strangers_whatever_they_have_sent_before() {
    let child = Child::of_strangers(test_name!("daemon"));
    let connections = [(); 150].map(|()| child.connect());
    let probe = frame(&FrameRef::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, 1, &[9; 32]));
    let mut claim = [&probe[..], &[1, 0, 0, 0x0f, 0]].concat();
    claim.resize(960 << 10, 0);
    std::thread::scope(|scope| {
        for connection in &connections {
            scope.spawn(|| push(connection, &claim));
        }
    });
    child.assert_within(0);
}

/// Small payloads that decode to large ones.
#[cfg(any(feature = "lz4", feature = "snappy", feature = "zstd"))]
#[test]
fn encoded_payloads_of_requests_at_work() {
    use running_process::broker::protocol::{Encodings, encode_payload};
    for encoding in Encodings::SUPPORTED.iter() {
        println!("{encoding:?}");
        let child = Child::within(test_name!("daemon"), 16 << 20);
        let connection = child.connect();
        let mut encoded = Vec::new();
        encode_payload(encoding, &vec![0; 2 << 20], &mut encoded).unwrap();
        let bombs = (1..=64).flat_map(|id| {
            let request = FrameRef::request(KEEP, id, &encoded);
            frame(&FrameRef { payload_encoding: encoding.into(), ..request })
        });
        let bombs = bombs.collect::<Vec<_>>();
        std::thread::scope(|scope| {
            scope.spawn(|| push(&connection, &bombs));
            // Half of the budget holds this many decoded payloads; the server may decode more.
            child.until(|status| status.requests_in_flight >= 3);
            child.until(|status| status.memory_limit_hit == 0);
            child.assert_within(0);
            assert!(child.client().request(INLINE, 1_u32.to_le_bytes().to_vec()).is_ok());
            drop(child);
        });
    }
}
