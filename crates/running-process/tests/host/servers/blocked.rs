//! Connections that are served while handlers block on others.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{Gate, GateKeeper, SHOUT, read_frames, request, soon, write};
use running_process::broker::backend_lifecycle::probe::probe_endpoint;
use running_process::broker::backend_sdk::LocalStream;

/// Protocol whose inline handler answers with the payload, for [`BLOCK`] once it may pass the gate.
const INLINE: u32 = 0xF00F;
/// Protocol whose concurrent handler does the same.
const CONCURRENT: u32 = 0xF010;
const BLOCK: &[u8] = b"BLOCK";

/// Number of connections on which no handler blocks.
const OTHERS: usize = 16;

fn start() -> (TestServer, GateKeeper) {
    let (gate, keeper) = Gate::new();
    let server = TestServer::start(move |server| {
        let inline = gate.clone();
        let server = server.serve_inline(INLINE, move |frame| {
            if frame.payload() == BLOCK {
                inline.enter(frame.payload());
            }
            Ok(frame.payload().to_vec())
        });
        server.serve(CONCURRENT, move |request| {
            if request.payload() == BLOCK {
                gate.enter(request.payload());
            }
            Ok(request.payload().to_vec())
        })
    });
    (server, keeper)
}

#[track_caller]
fn assert_answers(connection: &LocalStream, protocol: u32, payload: &[u8]) {
    write(connection, &request(protocol, 1, payload));
    assert_eq!(read_frames(connection, 1)[0].payload, payload);
}

/// Opens connections whose handlers have all been quick. Each is made in its turn: its first message has a timeout.
fn quick_connections(server: &TestServer, count: usize) -> Vec<LocalStream> {
    let quick = || {
        let connection = server.connect();
        for _ in 0..100 {
            assert_answers(&connection, CONCURRENT, b"QUICK");
            assert_answers(&connection, INLINE, b"QUICK");
        }
        connection
    };
    (0..count).map(|_| quick()).collect()
}

/// Checks that the open connections, a new one and a probe are answered.
#[track_caller]
fn assert_serves(server: &TestServer, open: &[LocalStream]) {
    for connection in open.iter().chain([&server.connect()]) {
        for protocol in [INLINE, CONCURRENT, SHOUT] {
            assert_answers(connection, protocol, b"SERVED");
        }
    }
    // All at once as well.
    for connection in open {
        write(connection, &[request(INLINE, 1, b"ONE"), request(CONCURRENT, 2, b"TWO")].concat());
    }
    for connection in open {
        assert_eq!(read_frames(connection, 2).len(), 2);
    }
    probe_endpoint(&server.temp.endpoint, soon()).unwrap();
}

/// Blocks the handler of `protocol` on more and more connections, up to `count`, and checks that the others are served.
fn assert_blocked_handlers_hold_up_no_other(protocol: u32, count: usize) {
    let (server, keeper) = start();
    let others = quick_connections(&server, OTHERS);
    let blocked = quick_connections(&server, count);
    for connection in &blocked {
        write(connection, &request(protocol, 7, BLOCK));
        assert_eq!(keeper.next(), BLOCK);
        assert_serves(&server, &others);
    }
    // An answer leaves as soon as its handler returns, whatever the others do.
    for _ in &blocked {
        keeper.let_pass();
    }
    for connection in &blocked {
        assert_eq!(read_frames(connection, 1)[0].request_id, 7);
    }
    assert_serves(&server, &others);
}

#[test]
fn concurrent_handlers_that_block_hold_up_no_other_connection() {
    assert_blocked_handlers_hold_up_no_other(CONCURRENT, 32);
}

#[test]
fn inline_handlers_that_block_hold_up_no_other_connection() {
    if !TestServer::INLINE_CODE_MAY_BLOCK {
        return println!("skipped: a handler that blocks holds up other tasks");
    }
    assert_blocked_handlers_hold_up_no_other(INLINE, 8);
}

/// A lone busy connection may be served by a thread of its own, which then reads no other.
#[test]
fn a_lone_connection_whose_handler_blocks_holds_up_no_newcomer() {
    for protocol in [INLINE, CONCURRENT] {
        if protocol == INLINE && !TestServer::INLINE_CODE_MAY_BLOCK {
            println!("skipped: a handler that blocks holds up other tasks");
            continue;
        }
        let (server, keeper) = start();
        let silent: Vec<_> = (0..OTHERS).map(|_| server.connect()).collect();
        let lone = quick_connections(&server, 1);
        write(&lone[0], &request(protocol, 7, BLOCK));
        keeper.next();
        assert_serves(&server, &silent);
        keeper.let_pass();
        assert_eq!(read_frames(&lone[0], 1)[0].request_id, 7);
        assert_serves(&server, &lone);
    }
}

/// Connections become busy in turns, each for a while the only one.
#[test]
fn each_connection_that_is_the_only_busy_one_for_a_while_is_served() {
    let (server, _keeper) = start();
    let connections = quick_connections(&server, 4);
    for round in 0..20 {
        for connection in &connections {
            for _ in 0..round {
                assert_answers(connection, CONCURRENT, b"LONE");
            }
        }
        assert_serves(&server, &connections);
    }
}
