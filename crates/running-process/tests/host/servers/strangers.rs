//! Peers that the daemon does not authorize, and peers whose authorization is undecided.

use super::TestServer;
use crate::daemon::Daemon;
use crate::support::{
    SHOUT, eventually, frames, next, read_frames, read_to_end, refusal, request, soon, write,
};
use running_process::broker::backend_sdk::{LocalStream, NotAuthorized, ServerConfig};
use running_process::broker::protocol::registry::BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL;
use running_process::broker::protocol::{FrameKind, FrameRef};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

/// Start of the refusal's message.
const REFUSED: &str = "not authorized";

/// Starts a server that authorizes no peer while the switch is on.
fn serving_no_peer(change: impl FnOnce(&mut ServerConfig)) -> (TestServer, Arc<AtomicBool>) {
    let mut config = ServerConfig::default();
    change(&mut config);
    let switch = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&switch);
    let server = TestServer::start(move |server| {
        let never = || NotAuthorized::new("no peer is");
        server
            .config(config)
            .authorize(move |_| (!refuses.load(Ordering::SeqCst)).then_some(()).ok_or_else(never))
    });
    (server, switch)
}

fn encode(frame: &FrameRef<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    frame.encode_framed(&mut wire).unwrap();
    wire
}

fn probe() -> Vec<u8> {
    encode(&FrameRef::request(BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL, 1, &[9; 32]))
}

/// Returns a header that announces `length` bytes, and the first `comes` of them.
fn begun(length: u32, comes: usize) -> Vec<u8> {
    let mut message = [&[1][..], &(length - 5).to_le_bytes()].concat();
    message.resize(comes, 0);
    message
}

#[test]
fn a_refused_peer_is_told_for_each_request_that_came_and_closed() {
    let (server, _switch) = serving_no_peer(|_| {});
    let connection = server.connect();
    write(&connection, &[request(SHOUT, 1, b"a"), request(SHOUT, 2, b"b")].concat());
    let answers = frames(&read_to_end(&connection));
    assert_eq!(answers.iter().map(|answer| answer.request_id).collect::<Vec<_>>(), [1, 2]);
    assert!(answers.iter().all(|answer| refusal(answer).starts_with(REFUSED)));
}

#[test]
fn refused_peers_do_not_count_against_the_limit_of_connections() {
    let (server, switch) = serving_no_peer(|config| config.max_connections = 5);
    // The connection of the start's probe stays open for a moment.
    let refused: Vec<LocalStream> = (0..20)
        .map(|_| {
            eventually(|| (server.stats.snapshot().connections_open < 5).then_some(()));
            let connection = server.connect();
            write(&connection, &request(SHOUT, 1, b"a"));
            assert!(refusal(&frames(&read_to_end(&connection))[0]).starts_with(REFUSED));
            connection
        })
        .collect();
    switch.store(false, Ordering::SeqCst);
    server.assert_serves();
    drop(refused);
}

#[test]
fn a_frame_of_any_kind_is_put_before_the_rule() {
    for kind in [FrameKind::Event, FrameKind::Response, FrameKind::Cancel] {
        let (server, _switch) = serving_no_peer(|_| {});
        let connection = server.connect();
        write(&connection, &encode(&FrameRef { kind: kind.into(), ..FrameRef::request(SHOUT, 1, b"") }));
        assert_eq!(read_to_end(&connection), b"", "{kind:?}");
        assert!(server.error().starts_with("a peer is not served"), "{kind:?}");
    }
}

#[test]
fn a_probe_authorizes_no_peer() {
    let (server, _switch) = serving_no_peer(|config| config.connection.first_message_bytes = 1000);
    let connection = server.connect();
    write(&connection, &[probe(), begun(1001, 5)].concat());
    assert_eq!(frames(&read_to_end(&connection)).len(), 1, "the probe was answered");
    assert!(server.error().starts_with("a peer is not served"));
    assert!(server.error().contains("the first message is larger than 1000 bytes"));
}

#[test]
fn a_served_peer_may_send_a_large_message_after_a_probe_and_later() {
    let server = TestServer::with_config(|config| config.connection.first_message_bytes = 1000);
    let mut client = server.handle().into_client();
    for length in [2000, 10, 100_000] {
        assert_eq!(client.request(SHOUT, vec![b'x'; length]).unwrap().payload, vec![b'X'; length]);
    }
}

#[test]
fn peers_that_are_not_authorized_leave_half_of_the_memory_to_others() {
    let (server, switch) = serving_no_peer(|config| {
        config.memory_limit = 8 << 20;
        config.max_connections = 16;
    });
    let strangers: Vec<_> = (0..8)
        .map(|_| {
            let connection = server.connect();
            // The server may close the connection during the write.
            let deadline = Some(soon());
            let _taken = connection.write_all_deadline(&[probe(), begun(1 << 20, 900_000)].concat(), deadline);
            connection
        })
        .collect();
    assert!(server.error().starts_with("a peer is not served"));
    assert!(server.error().starts_with("a connection needs "));
    switch.store(false, Ordering::SeqCst);
    let large = vec![b'x'; 800_000];
    assert_eq!(server.client().request(SHOUT, large).unwrap().payload.len(), 800_000);
    drop(strangers);
}

#[test]
fn a_peer_is_authorized_before_its_payload_is_decoded() {
    let encoded = encode(&FrameRef { payload_encoding: 77, ..FrameRef::request(SHOUT, 1, b"?") });
    let (server, switch) = serving_no_peer(|_| {});
    let connection = server.connect();
    write(&connection, &encoded);
    assert!(refusal(&frames(&read_to_end(&connection))[0]).starts_with(REFUSED));
    switch.store(false, Ordering::SeqCst);
    let connection = server.connect();
    write(&connection, &encoded);
    let told = refusal(&read_frames(&connection, 1)[0]);
    assert!(told.starts_with("the payload's encoding cannot be decoded"), "{told}");
}

#[test]
fn a_trace_context_beyond_the_bounds_is_dropped_and_its_request_served() {
    const TELL: u32 = 0xF0B0;
    let (report, seen) = mpsc::channel();
    let server = TestServer::start(move |server| {
        server.serve_quickly(TELL, move |request| {
            let frame = request.frame();
            report.send((frame.traceparent.len(), frame.tracestate.len()))?;
            Ok(Vec::new())
        })
    });
    let text = "t".repeat(1 << 20);
    let lengths = [(55, 512), (55, 513), (56, 512), (1 << 20, 1 << 20)];
    for (sent, kept) in lengths.into_iter().zip([(55, 512), (55, 0), (0, 0), (0, 0)]) {
        let (traceparent, tracestate) = (&text[..sent.0], &text[..sent.1]);
        let connection = server.connect();
        write(&connection, &encode(&FrameRef { traceparent, tracestate, ..FrameRef::request(TELL, 1, b"") }));
        assert_eq!(next(&seen), kept, "{sent:?}");
        let answer = read_frames(&connection, 1).remove(0);
        assert_eq!((answer.traceparent.len(), answer.tracestate.len()), kept, "{sent:?}");
    }
}

#[test]
fn no_handler_begins_while_its_client_leaves_too_much_unread() {
    let mut config = ServerConfig::default();
    config.send_high_water = 1;
    let (report, begun) = mpsc::channel();
    let server = TestServer::start(move |server| {
        server.config(config).serve_quickly(0xF0B1, move |request| {
            report.send(request.frame().request_id)?;
            Ok(vec![7; 4 << 20])
        })
    });
    let connection = server.connect();
    // One after the other, so that no other request begins before the first is answered.
    write(&connection, &request(0xF0B1, 1, b""));
    assert_eq!(next(&begun), 1);
    server.wait_no_requests();
    write(&connection, &(2..=20).flat_map(|id| request(0xF0B1, id, b"")).collect::<Vec<_>>());
    server.assert_serves();
    assert!(begun.try_recv().is_err());
    let answers = read_frames(&connection, 20);
    assert!(answers.iter().all(|answer| answer.payload.len() == 4 << 20));
}
