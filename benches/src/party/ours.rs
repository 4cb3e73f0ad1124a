//! This library.

use super::{BATCH, LARGE, LARGE_REQUEST, PROTOCOL, Server, answer, runtime};
use crate::measure::{Run, nanoseconds, timed};
use crate::scratch::Scratch;
use futures_util::StreamExt;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_sdk::{
    AsyncFrameClient, AsyncServer, BackendEndpointMux, FrameClient, LegacyClassification, RequestId,
    Server as Daemon, ServerConfig,
};
use running_process::broker::protocol::Endpoint;
use std::path::Path;
use std::time::Instant;

pub fn endpoint(socket: &Path) -> Endpoint {
    Endpoint::unix_socket("benches", socket.to_str().expect("a path in UTF-8")).expect("a path")
}

/// The legacy wire starts with an asterisk.
fn is_legacy(buffer: &[u8]) -> LegacyClassification {
    match buffer.first() {
        Some(b'*') => LegacyClassification::Legacy,
        _ => LegacyClassification::NotLegacy,
    }
}

pub fn mux() -> BackendEndpointMux<impl Fn(&[u8]) -> LegacyClassification> {
    let daemon = DaemonProcess::current_process(endpoint(Path::new("benches.sock")), None).unwrap();
    BackendEndpointMux::new(daemon, &[PROTOCOL], |buffer: &[u8]| is_legacy(buffer))
}

fn bind(socket: &Path, ready: impl FnOnce() + Send + 'static) -> Daemon {
    Daemon::bind(endpoint(socket)).unwrap().record(record_of(socket)).on_ready(|_| ready())
}

fn bind_tokio(socket: &Path, ready: impl FnOnce() + Send + 'static) -> AsyncServer {
    let mut config = ServerConfig::default();
    config.max_connections = 100_000;
    AsyncServer::bind(endpoint(socket))
        .unwrap()
        .record(record_of(socket))
        .config(config)
        .on_ready(|_| ready())
}

/// Where the daemon at `socket` writes its identity.
pub fn record_of(socket: &Path) -> std::path::PathBuf {
    socket.with_extension("json")
}

pub fn serve(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    bind(socket, ready).serve(PROTOCOL, |request| Ok(answer(request.payload()))).run().unwrap();
}

pub fn serve_inline(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    bind(socket, ready).serve_inline(PROTOCOL, |request| Ok(answer(request.payload))).run().unwrap();
}

pub fn serve_tokio(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    let serve = |socket, ready| {
        bind_tokio(socket, ready)
            .serve(PROTOCOL, |request| async move { Ok(answer(request.payload())) })
            .run()
    };
    runtime().block_on(async { serve(socket, ready).await.unwrap() });
}

pub fn serve_tokio_inline(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    let serve = |socket, ready| {
        bind_tokio(socket, ready).serve_inline(PROTOCOL, |request| Ok(answer(request.payload))).run()
    };
    runtime().block_on(async { serve(socket, ready).await.unwrap() });
}

fn connect(server: &Server) -> FrameClient {
    FrameClient::connect(&endpoint(server.socket())).unwrap()
}

/// One request after the other.
pub fn calls(scratch: &Scratch, server: &str, size: usize) -> Run {
    let server = Server::start(scratch, server);
    let mut client = connect(&server);
    let request = vec![7; size];
    timed(move || {
        let _alive = &server;
        let response = client.request(PROTOCOL, request.clone()).unwrap();
        assert_eq!(response.payload.len(), size);
    })
}

/// A batch of requests, then their responses.
pub fn in_flight(scratch: &Scratch, server: &str, size: usize) -> Run {
    let server = Server::start(scratch, server);
    let mut client = connect(&server);
    let request = vec![7; size];
    let mut sent: Vec<RequestId> = Vec::with_capacity(BATCH);
    timed(move || {
        let _alive = &server;
        sent.extend((0..BATCH).map(|_| client.send(PROTOCOL, &request).unwrap()));
        for request in sent.drain(..) {
            assert_eq!(client.wait(request).unwrap().payload.len(), size);
        }
    })
}

/// A short request for a large response.
pub fn large_responses(scratch: &Scratch, server: &str) -> (Run, u32) {
    let server = Server::start(scratch, server);
    let pid = server.pid();
    let mut client = connect(&server);
    let run = timed(move || {
        let _alive = &server;
        assert_eq!(client.request(PROTOCOL, LARGE_REQUEST.to_vec()).unwrap().payload.len(), LARGE);
    });
    (run, pid)
}

/// One request after the other, on tokio.
pub fn calls_tokio(scratch: &Scratch, server: &str, size: usize) -> Run {
    in_flight_of(scratch, server, size, 1)
}

/// A batch of requests at any time, on tokio.
pub fn in_flight_tokio(scratch: &Scratch, server: &str, size: usize) -> Run {
    in_flight_of(scratch, server, size, BATCH)
}

fn in_flight_of(scratch: &Scratch, server: &str, size: usize, at_once: usize) -> Run {
    let server = Server::start(scratch, server);
    let runtime = runtime();
    let client = runtime.block_on(AsyncFrameClient::connect(&endpoint(server.socket()))).unwrap();
    let request = vec![7; size];
    Box::new(move |count| {
        let _alive = &server;
        let begin = Instant::now();
        let call = |_| async { client.request(PROTOCOL, request.clone()).await.unwrap().payload.len() };
        runtime.block_on(async {
            if at_once == 1 {
                for _ in 0..count {
                    assert_eq!(call(0).await, size);
                }
            } else {
                let mut calls =
                    futures_util::stream::iter(0..count * at_once as u64).map(call).buffer_unordered(at_once);
                while let Some(length) = calls.next().await {
                    assert_eq!(length, size);
                }
            }
        });
        nanoseconds(begin)
    })
}
