//! The receive buffer that a driver takes, the memory of a connection, and what a driver reads ahead.

use super::{Server, admit, refusal, request, server, written};
use crate::common::{frame, wire};
use running_process::broker::backend_sdk::ServerEvent;
use running_process::broker::protocol::{FrameKind, Refusal, RefusalReason};
use std::time::{Duration, Instant};

/// The length from which a driver reads onto the receive buffer, in bytes.
const LARGE: usize = 16 * 1024;
const READ_AHEAD: usize = 64 * 1024;

fn large(id: u64, payload: usize) -> Vec<u8> {
    wire(&frame(FrameKind::Request, id, &vec![7; payload]))
}

/// Returns a connection that has taken a large request at `now`.
fn after_a_large_one(now: Instant) -> Server {
    let (mut server, _) = server(|config| config.message_timeout = Duration::from_secs(7));
    admit(&mut server, &large(1, 2 * LARGE), now);
    server
}

#[test]
fn the_buffer_is_taken_for_as_much_as_is_large_and_on_a_framed_connection_only() {
    let (mut server, now) = server(|_| {});
    let head = 20;
    server.receive(&large(1, 4 * LARGE)[..head], now);
    assert!(server.next_event().unwrap().is_none());
    assert!(server.take_recv_buffer().is_none(), "no frame has come");
    server.receive(&large(1, 4 * LARGE)[head..], now);
    admit(&mut server, b"", now);
    for (missing, taken) in [(LARGE - 1, false), (LARGE, true), (LARGE + 1, true)] {
        let next = large(2 + missing as u64, 4 * LARGE);
        let came = next.len() - missing;
        server.receive(&next[..came], now);
        assert!(server.next_event().unwrap().is_none());
        let buffer = server.take_recv_buffer();
        assert_eq!(buffer.is_some(), taken, "{missing} bytes are missing");
        if let Some(mut buffer) = buffer {
            assert!(buffer.capacity() - buffer.len() >= missing);
            buffer.extend_from_slice(&next[came..]);
            server.restore_recv_buffer(buffer, missing, now);
        } else {
            server.receive(&next[came..], now);
        }
        assert_eq!(admit(&mut server, b"", now).len(), 1);
    }
}

#[test]
fn the_buffer_stays_while_a_request_waits_in_it() {
    let (mut server, now) = server(|config| config.max_in_flight = 1);
    let calls = admit(&mut server, &[large(1, 4 * LARGE), large(2, 4 * LARGE)].concat(), now);
    assert!(calls.len() == 1 && server.is_blocked());
    assert!(server.take_recv_buffer().is_none());
    server.refuse(calls[0].1, &Refusal::new(RefusalReason::HandlerFailed, ""));
    assert_eq!(admit(&mut server, b"", now).len(), 1);
    assert!(server.take_recv_buffer().is_some());
}

#[test]
fn the_time_of_a_message_begins_with_the_read_of_its_first_byte() {
    let now = Instant::now();
    let (read, later) = (now + Duration::from_millis(10), now + Duration::from_millis(20));
    let mut server = after_a_large_one(now);
    let mut buffer = server.take_recv_buffer().unwrap();
    let next = large(2, 4 * LARGE);
    buffer.extend_from_slice(&next[..100]);
    server.restore_recv_buffer(buffer, 100, read);
    assert!(server.next_event().unwrap().is_none());
    assert_eq!(server.deadline(), Some(read + Duration::from_secs(7)));
    let mut buffer = server.take_recv_buffer().unwrap();
    buffer.extend_from_slice(&next[100..200]);
    server.restore_recv_buffer(buffer, 100, later);
    assert!(server.next_event().unwrap().is_none());
    assert_eq!(server.deadline(), Some(read + Duration::from_secs(7)));
}

#[test]
fn a_read_of_no_bytes_is_no_activity() {
    let now = Instant::now();
    let (read, later) = (now + Duration::from_millis(10), now + Duration::from_millis(20));
    let mut server = after_a_large_one(now);
    assert_eq!(server.last_activity(), now);
    let mut buffer = server.take_recv_buffer().unwrap();
    buffer.push(1);
    server.restore_recv_buffer(buffer, 1, read);
    assert_eq!(server.last_activity(), read);
    let mut server = after_a_large_one(now);
    let buffer = server.take_recv_buffer().unwrap();
    server.restore_recv_buffer(buffer, 0, later);
    assert_eq!(server.last_activity(), now);
}

#[test]
fn memory_counts_each_buffer_also_while_the_driver_has_it() {
    let (mut server, now) = server(|_| {});
    assert_eq!(server.memory(), 0);
    server.receive(&large(1, LARGE)[..1000], now);
    assert!(server.memory() >= 1000);
    server.receive(&large(1, LARGE)[1000..], now);
    let calls = admit(&mut server, b"", now);
    let before = server.memory();
    server.respond(calls[0].1, vec![7; 4 * LARGE]).unwrap();
    assert!(server.memory() >= before + 4 * LARGE, "of the answer");
    let before = server.memory();
    let output = server.take_output();
    assert!(server.memory() >= before && server.unwritten() == output.len());
    server.restore_output(output, now);
    server.release();
    assert_eq!(server.memory(), 0);
    let calls = admit(&mut server, &request(2), now);
    let before = server.memory();
    server.respond(calls[0].1, vec![7; 1000]).unwrap();
    let output = server.take_output();
    server.restore_output(output, now);
    assert!(server.memory() >= before + 1000, "of the next output");

    let mut server = after_a_large_one(now);
    let memory = server.memory();
    let buffer = server.take_recv_buffer().unwrap();
    assert!(server.memory() >= buffer.capacity() && server.memory() >= memory);
    server.restore_recv_buffer(buffer, 0, now);
    assert!(server.memory() >= memory);
}

#[test]
fn each_request_in_flight_counts() {
    let (mut server, now) = server(|config| config.max_in_flight = 1000);
    let requests: Vec<u8> = (0..1000).flat_map(request).collect();
    let calls = admit(&mut server, &requests, now);
    server.release();
    assert!(calls.len() == 1000 && server.memory() >= 1000 * 64, "{}", server.memory());
}

#[test]
fn a_call_is_none_of_a_later_request_with_the_same_id() {
    let (mut server, now) = server(|_| {});
    let first = admit(&mut server, &request(1), now)[0].1;
    server.respond(first, b"first").unwrap();
    written(&mut server, now);
    server.release();
    let second = admit(&mut server, &request(1), now)[0].1;
    server.respond(first, b"again").unwrap();
    assert_eq!((server.output(), server.in_flight()), (&b""[..], 1));
    server.respond(second, b"second").unwrap();
    assert_eq!(written(&mut server, now)[0].payload, b"second");
}

#[test]
fn a_call_that_is_refused_has_ended_and_its_client_is_told() {
    let (mut server, now) = server(|_| {});
    let call = admit(&mut server, &request(1), now)[0].1;
    server.refuse(call, &Refusal::new(RefusalReason::NotAuthorized, "no"));
    let answers = written(&mut server, now);
    assert_eq!((answers.len(), refusal(&answers[0])), (1, RefusalReason::NotAuthorized));
    assert_eq!((server.in_flight(), server.data(call)), (0, None));
}

#[test]
fn so_much_is_read_ahead_of_a_request_that_waits() {
    let (mut server, now) = server(|config| config.max_in_flight = 1);
    assert!(server.wants_input() && !server.is_blocked());
    let second = request(2);
    admit(&mut server, &[&request(1)[..], &second].concat(), now);
    assert!(server.wants_input() && server.is_blocked());
    let ahead = large(3, 2 * READ_AHEAD);
    let part = READ_AHEAD - second.len();
    server.receive(&ahead[..part - 1], now);
    assert!(server.wants_input());
    server.receive(&ahead[part - 1..part], now);
    assert!(!server.wants_input(), "as much as that waits");
}

#[test]
fn the_next_deadline_is_that_of_a_request_in_flight() {
    let (mut server, now) = server(|_| {});
    let deadline = now + Duration::from_millis(5);
    super::admit_before(&mut server, &request(1), now, Some(deadline));
    assert_eq!(server.deadline(), Some(deadline));
}

#[test]
fn a_message_beyond_the_first_is_limited_until_the_peer_is_trusted() {
    let (mut server, now) = server(|config| config.first_message_bytes = 1000);
    server.limit_messages();
    admit(&mut server, &request(1), now);
    assert!(!server.exceeds_first_message());
    server.receive(&large(2, 2000), now);
    assert!(server.exceeds_first_message());
    server.trust_peer();
    assert!(!server.exceeds_first_message());
    assert!(matches!(server.next_event(), Ok(Some(ServerEvent::Request(_)))));

    let (mut server, _) = self::server(|config| config.first_message_bytes = 1000);
    server.limit_messages();
    admit(&mut server, &request(1), now);
    server.receive(&large(2, 2000), now);
    assert!(server.next_event().is_err());
}
