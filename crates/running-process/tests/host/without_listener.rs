//! A server whose caller accepts the connections: it serves any stream, here one in memory.

use crate::support::{PATIENCE, SHOUT, refusal, request};
use running_process::broker::backend_sdk::{
    AsyncServer, LegacyClassification, PeerCredentials, RunningAsyncServer, ServeError, ServerConfig,
    ServerError,
};
use running_process::broker::protocol::{Endpoint, Frame, try_decode_framed};
use std::future::pending;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Answers once the test says so.
const WORK: u32 = 0xF00F;

/// Tells when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        // A test that has seen enough is gone.
        let _ = self.0.send(());
    }
}

fn server() -> AsyncServer {
    AsyncServer::without_listener(Endpoint::unix_socket("test", "/nowhere/s").unwrap())
        .serve(SHOUT, |request| async move { Ok(request.payload().to_ascii_uppercase()) })
}

/// Connects to the server by a stream in memory, which a task serves.
fn connect(server: &RunningAsyncServer) -> DuplexStream {
    let (client, connection) = duplex(64 * 1024);
    tokio::spawn(server.serve_connection(connection, PeerCredentials::current_process()));
    client
}

/// Reads the next frame; `None` at the end of the stream.
async fn next_frame(client: &mut DuplexStream) -> Option<Frame> {
    let mut received = Vec::new();
    let frame = async {
        loop {
            if let Some(decoded) = try_decode_framed(&received).unwrap() {
                assert_eq!(decoded.consumed, received.len(), "one frame at a time");
                return Some(decoded.frame);
            }
            if client.read_buf(&mut received).await.unwrap() == 0 {
                return None;
            }
        }
    };
    timeout(PATIENCE, frame).await.unwrap()
}

async fn ask(client: &mut DuplexStream, protocol: u32, payload: &[u8]) -> Frame {
    client.write_all(&request(protocol, 1, payload)).await.unwrap();
    next_frame(client).await.expect("an answer")
}

#[tokio::test]
async fn connections_are_served_and_counted_like_any_other() {
    let server = server();
    let stats = server.stats();
    let server = server.start().unwrap();
    let mut clients = [connect(&server), connect(&server)];
    for client in &mut clients {
        assert_eq!(ask(client, SHOUT, b"hello").await.payload, b"HELLO");
    }
    let counted = stats.snapshot();
    assert_eq!((counted.connections_open, counted.requests_answered), (2, 2));
    server.shutdown().await.unwrap();
    assert_eq!(stats.snapshot().connections_open, 0);
    for mut client in clients {
        assert_eq!(next_frame(&mut client).await, None);
    }
}

#[tokio::test]
async fn a_large_message_passes_through_a_small_stream() {
    let server = server().start().unwrap();
    let (mut client, connection) = duplex(64);
    tokio::spawn(server.serve_connection(connection, PeerCredentials::current_process()));
    let payload = vec![b'a'; 300_000];
    let (mut reader, mut writer) = tokio::io::split(&mut client);
    let sent = request(SHOUT, 1, &payload);
    let mut received = vec![0; 300_000];
    let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
    written.unwrap();
    read.unwrap();
    assert!(received.ends_with(&[b'A'; 1000]));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_buffers_what_is_written_is_flushed() {
    let server = server().start().unwrap();
    let (mut client, connection) = duplex(64 * 1024);
    let connection = BufStream::new(connection);
    tokio::spawn(server.serve_connection(connection, PeerCredentials::current_process()));
    assert_eq!(ask(&mut client, SHOUT, b"hello").await.payload, b"HELLO");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_rule_decides_about_the_peer_that_the_caller_names() {
    let server = server().start().unwrap();
    let (mut client, connection) = duplex(1024);
    let stranger = PeerCredentials::new(None, Some(4_000_000));
    tokio::spawn(server.serve_connection(connection, stranger));
    let refused = refusal(&ask(&mut client, SHOUT, b"hello").await);
    assert!(refused.starts_with("not authorized"), "{refused}");
    assert_eq!(next_frame(&mut client).await, None);
}

#[tokio::test]
async fn one_connection_more_than_allowed_is_told_so() {
    let mut config = ServerConfig::default();
    config.max_connections = 1;
    let server = server().config(config).start().unwrap();
    let mut first = connect(&server);
    assert_eq!(ask(&mut first, SHOUT, b"first").await.payload, b"FIRST");
    let refused = refusal(&ask(&mut connect(&server), SHOUT, b"second").await);
    assert!(refused.starts_with("overloaded"), "{refused}");
    drop(first);
    // The slot is free once the server has noticed.
    let asking = async {
        while ask(&mut connect(&server), SHOUT, b"third").await.payload != b"THIRD" {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap();
}

#[tokio::test]
async fn a_stopped_server_answers_what_it_has_received_and_then_closes() {
    let (begin, mut gates) = mpsc::unbounded_channel();
    let server = server().serve(WORK, move |_| {
        let (finish, gate) = tokio::sync::oneshot::channel::<()>();
        begin.send(finish).unwrap();
        async move {
            gate.await?;
            Ok("done")
        }
    });
    let server = server.start().unwrap();
    let (mut client, mut idle) = (connect(&server), connect(&server));
    client.write_all(&request(WORK, 1, b"")).await.unwrap();
    let finish = gates.recv().await.unwrap();
    // The server has not read this one yet.
    idle.write_all(&request(SHOUT, 1, b"late")).await.unwrap();
    let stop = server.stop_handle();
    let ended = tokio::spawn(server.wait());
    stop.stop();
    assert_eq!(next_frame(&mut idle).await.unwrap().payload, b"LATE");
    assert_eq!(next_frame(&mut idle).await, None);
    finish.send(()).unwrap();
    assert_eq!(next_frame(&mut client).await.unwrap().payload, b"done");
    assert_eq!(next_frame(&mut client).await, None);
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_handler_that_does_not_end_is_cancelled_when_the_drain_times_out() {
    let mut config = ServerConfig::default();
    config.drain_timeout = Duration::from_millis(50);
    let server = server().config(config).serve(WORK, |_| pending::<Result<Vec<u8>, _>>());
    let server = server.start().unwrap();
    let mut client = connect(&server);
    client.write_all(&request(WORK, 1, b"")).await.unwrap();
    // The second answer tells that the first request was taken.
    client.write_all(&request(SHOUT, 2, b"on")).await.unwrap();
    assert_eq!(next_frame(&mut client).await.unwrap().payload, b"ON");
    let ended = server.shutdown().await;
    assert!(matches!(ended, Err(ServerError::DrainTimedOut { connections: 1, .. })), "{ended:?}");
    assert_eq!(
        refusal(&next_frame(&mut client).await.unwrap()),
        r#"the handler failed ("the daemon ended before the answer")"#
    );
    assert_eq!(next_frame(&mut client).await, None);
}

#[tokio::test]
async fn a_connection_after_the_stop_is_closed() {
    let server = server().start().unwrap();
    let (mut client, connection) = duplex(1024);
    let serving = server.serve_connection(connection, PeerCredentials::current_process());
    server.shutdown().await.unwrap();
    serving.await;
    assert_eq!(next_frame(&mut client).await, None);
}

#[tokio::test]
async fn a_future_or_a_server_that_is_dropped_ends_its_connections() {
    let (report, mut dropped) = mpsc::unbounded_channel();
    let server = server().serve(WORK, move |_| {
        let held = report.clone();
        async move {
            let _dropped = Dropped(held);
            pending::<Result<Vec<u8>, _>>().await
        }
    });
    let stats = server.stats();
    let server = server.start().unwrap();
    let (mut client, connection) = duplex(1024);
    let serving = tokio::spawn(server.serve_connection(connection, PeerCredentials::current_process()));
    let mut other = connect(&server);
    for client in [&mut client, &mut other] {
        client.write_all(&request(WORK, 1, b"")).await.unwrap();
        client.write_all(&request(SHOUT, 2, b"on")).await.unwrap();
        assert_eq!(next_frame(client).await.unwrap().payload, b"ON");
    }
    serving.abort();
    timeout(PATIENCE, dropped.recv()).await.unwrap().unwrap();
    assert_eq!(next_frame(&mut client).await, None);
    assert_eq!(stats.snapshot().connections_open, 1);
    drop(server);
    timeout(PATIENCE, dropped.recv()).await.unwrap().unwrap();
    assert_eq!(next_frame(&mut other).await, None);
    assert_eq!(stats.snapshot().connections_open, 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_is_cut_off_after_the_write_timeout() {
    let (report, mut errors) = mpsc::unbounded_channel();
    let server = server().observe(move |error| {
        let _ = report.send(matches!(error, ServeError::Stream(_)));
    });
    let server = server.start().unwrap();
    let (mut client, connection) = duplex(64);
    tokio::spawn(server.serve_connection(connection, PeerCredentials::current_process()));
    client.write_all(&request(SHOUT, 1, &[b'a'; 1000])).await.unwrap();
    assert_eq!(errors.recv().await, Some(true));
}

#[tokio::test]
async fn the_legacy_wire_is_read_and_written_by_its_handler() {
    let server = server().legacy(
        |_| LegacyClassification::NotLegacy,
        |mut connection| async move {
            assert_eq!(connection.buffered(), b"old");
            let (mut reader, mut writer) = tokio::io::split(&mut connection);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        },
    );
    let server = server.start().unwrap();
    let (mut client, connection) = duplex(64 * 1024);
    let connection = BufStream::new(connection);
    tokio::spawn(server.serve_connection(connection, PeerCredentials::current_process()));
    client.write_all(b"old").await.unwrap();
    let mut echoed = [0; 3];
    client.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"old");
    // The end of the server is the end of what the handler reads.
    let ended = tokio::spawn(server.shutdown());
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    ended.await.unwrap().unwrap();
}
