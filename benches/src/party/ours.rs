//! This library.

use super::{Client, Exchange, LARGE_REQUEST, PROTOCOL, Server, blocking, large, on_tokio, runtime};
use crate::scratch::Scratch;
use running_process::Service;
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_sdk::{
    AsyncFrameClient, AsyncServer, BackendEndpointMux, FrameClient, LegacyClassification, Payload, RequestId,
    Server as Daemon, ServerConfig, read_daemon_identity_file,
};
use running_process::broker::protocol::Endpoint;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Returns the default configuration with a limit of connections for a crowd.
fn config() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.max_connections = 4096;
    config
}

fn bind(socket: &Path, ready: impl FnOnce() + Send + 'static) -> Daemon {
    Daemon::bind(endpoint(socket))
        .unwrap()
        .identity_file(identity_file_of(socket))
        .config(config())
        .on_ready(|_| ready())
}

fn bind_tokio(socket: &Path, ready: impl FnOnce() + Send + 'static) -> AsyncServer {
    AsyncServer::bind(endpoint(socket))
        .unwrap()
        .identity_file(identity_file_of(socket))
        .config(config())
        .on_ready(|_| ready())
}

/// Returns the path of the identity file of the daemon at `socket`.
pub fn identity_file_of(socket: &Path) -> PathBuf {
    socket.with_extension("json")
}

/// Reads the identity of the daemon at `socket`.
pub fn read_identity_file(socket: &Path) -> DaemonProcess {
    read_daemon_identity_file(&identity_file_of(socket)).expect("the daemon writes its identity file")
}

/// Verifies the daemon completely, on a connection of its own.
pub fn prove(daemon: &DaemonProcess) -> BackendHandle {
    BackendHandle::probe_with_service("benches", "1.0.0", &daemon.ipc_endpoint, daemon).unwrap()
}

/// Serves as the daemon of the service of the benchmarks below `root`, which a client has started.
pub fn serve_service(root: &Path) {
    let service = Service::new("benches").unwrap().below(root);
    Daemon::for_service(&service).unwrap().serve_inline(PROTOCOL, |_| Ok(Vec::new())).run().unwrap();
}

/// Returns the response of every handler: the large one is borrowed, as the floor's is.
fn payload(request: &[u8]) -> Payload {
    if request == LARGE_REQUEST { large().into() } else { request.to_vec().into() }
}

pub fn serve(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    bind(socket, ready).serve(PROTOCOL, |request| Ok(payload(request.payload()))).run().unwrap();
}

pub fn serve_inline(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    bind(socket, ready).serve_inline(PROTOCOL, |request| Ok(payload(request.payload()))).run().unwrap();
}

pub fn serve_tokio(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    let serve = |socket, ready| {
        bind_tokio(socket, ready)
            .serve(PROTOCOL, |request| async move { Ok(payload(request.payload())) })
            .run()
    };
    runtime().block_on(async { serve(socket, ready).await.unwrap() });
}

pub fn serve_tokio_inline(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    let serve = |socket, ready| {
        bind_tokio(socket, ready).serve_inline(PROTOCOL, |request| Ok(payload(request.payload()))).run()
    };
    runtime().block_on(async { serve(socket, ready).await.unwrap() });
}

/// Returns a client on an existing connection.
pub fn from_stream(stream: UnixStream) -> FrameClient {
    FrameClient::from_stream(stream)
}

/// Connects the blocking client. With many in flight, an operation is a batch of requests and then their responses.
pub fn client(scratch: &Scratch, server: &str, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, server);
    let mut client = FrameClient::connect(&endpoint(server.socket())).unwrap();
    if at_once == 1 {
        let request = exchange.request();
        return blocking(server, move || {
            exchange.check(&client.request(PROTOCOL, request.clone()).unwrap().payload);
        });
    }
    let request = Payload::from(Arc::<[u8]>::from(exchange.request()));
    let mut sent: Vec<RequestId> = Vec::with_capacity(at_once);
    blocking(server, move || {
        sent.extend((0..at_once).map(|_| client.queue(PROTOCOL, request.clone()).unwrap()));
        for request in sent.drain(..) {
            exchange.check(&client.wait(request).unwrap().payload);
        }
    })
}

/// Connects the client on tokio.
pub fn client_on_tokio(scratch: &Scratch, server: &str, exchange: Exchange, at_once: usize) -> Client {
    let server = Server::start(scratch, server);
    let runtime = runtime();
    let client = runtime.block_on(AsyncFrameClient::connect(&endpoint(server.socket()))).unwrap();
    let request = exchange.request();
    on_tokio(server, runtime, at_once, async move || {
        exchange.check(&client.request(PROTOCOL, request.clone()).await.unwrap().payload);
    })
}
