//! The memory of an idle connection of the server on tokio.
#![cfg(all(feature = "tokio", target_os = "linux"))]

use crate::tally::held;
use running_process::broker::backend_sdk::AsyncServer;
use running_process::broker::protocol::{Endpoint, Frame, encode_framed};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

running_process::register_payload_protocol! {
    /// Answers with its payload, from a task for each request.
    const IN_A_TASK: u32 = 0xF00D;
    /// Answers with its payload, at once.
    const INLINE: u32 = 0xF00E;
}

/// Both ends of each are open in this process.
const CONNECTIONS: usize = 400;
/// As many as a connection may have in flight.
const REQUESTS: u64 = 64;

/// Opens a connection, on which many requests are answered that came at once, each with a deadline far from now.
fn answered(path: &str, payload_protocol: u32) -> UnixStream {
    let requests = (1..=REQUESTS).flat_map(|request_id| {
        let request = Frame::request(payload_protocol, vec![7; 64]).with_request_id(request_id);
        encode_framed(&Frame { deadline_unix_ms: 1 << 42, ..request }).expect("small")
    });
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.write_all(&requests.collect::<Vec<_>>()).expect("it reads");
    for _ in 0..REQUESTS {
        let mut header = [0; 5];
        stream.read_exact(&mut header).expect("it answers");
        stream.read_exact(&mut vec![0; header[1].into()]).expect("a short answer");
    }
    stream
}

/// Returns the bytes of an idle connection whose requests were answered under `payload_protocol`.
async fn bytes_of_an_idle_connection(payload_protocol: u32) -> usize {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket").into_os_string().into_string().expect("UTF-8");
    let ready = Arc::new(Notify::new());
    let is_ready = Arc::clone(&ready);
    let server = AsyncServer::bind(Endpoint::unix_socket("test", &path).expect("a path"))
        .expect("nobody else is there")
        .on_ready(move |_| ready.notify_one())
        .serve(IN_A_TASK, |request| async move { Ok(request.payload().to_vec()) })
        .serve_inline(INLINE, |request| Ok(request.payload().to_vec()));
    let stop = server.stop_handle();
    // In this thread, whose memory is counted; the clients are in others.
    let run = tokio::spawn(server.run());
    is_ready.notified().await;

    let idle = async |count| {
        let path = path.clone();
        let connect = move || (0..count).map(|_| answered(&path, payload_protocol)).collect::<Vec<_>>();
        let connections = tokio::task::spawn_blocking(connect).await.expect("all are answered");
        // A stopped clock jumps from one deadline to the next.
        tokio::time::pause();
        tokio::time::sleep(Duration::from_mins(1)).await;
        tokio::time::resume();
        connections
    };
    // One first, for what all of them share.
    let first = idle(1).await;
    let before = held();
    let connections = idle(CONNECTIONS).await;
    let bytes = usize::try_from(held() - before).expect("more than before") / CONNECTIONS;
    drop((first, connections));
    stop.stop();
    run.await.expect("no panic").expect("it ends when it is told to");
    bytes
}

#[tokio::test]
async fn an_idle_connection_has_two_kibibytes_at_most_however_busy_it_was() {
    for (handler, payload_protocol) in [("a task", IN_A_TASK), ("an inline handler", INLINE)] {
        let bytes = bytes_of_an_idle_connection(payload_protocol).await;
        println!("{bytes} bytes for each idle connection that was answered by {handler}");
        assert!((1000..=2048).contains(&bytes), "{bytes} bytes, answered by {handler}");
    }
}
