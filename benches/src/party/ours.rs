//! This library.

use super::{
    Client, EVENT, EVENTS, EVENTS_REQUEST, Exchange, LARGE_REQUEST, PROTOCOL, Server, answer, blocking,
    large, on_tokio, runtime, runtime_of_all_cores,
};
use crate::artifact;
use crate::scratch::Scratch;
use running_process::Service;
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_sdk::{
    AsyncFrameClient, AsyncServer, BackendEndpointMux, FrameClient, LegacyClassification, Payload, RequestId,
    RequestOptions, Server as Daemon, ServerConfig, ServerRequest, read_daemon_identity_file,
};
use running_process::broker::protocol::Endpoint;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use tokio::runtime::Runtime;

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
    config.max_connections = 16 * 1024;
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

/// Returns the response of every handler: the large one and the file are borrowed, as the floors' are.
fn payload(request: &[u8]) -> Payload {
    match request {
        LARGE_REQUEST => large().into(),
        artifact::REQUEST => artifact_payload().clone(),
        _ => answer(request).into(),
    }
}

fn artifact_payload() -> &'static Payload {
    static PAYLOAD: LazyLock<Payload> = LazyLock::new(|| {
        let file = artifact::file().try_clone().expect("a process with few files");
        Payload::from_file(file).expect("a file that is open for reading only")
    });
    &PAYLOAD
}

pub fn serve(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    let serve = |request: ServerRequest| {
        if request.payload() == EVENTS_REQUEST {
            (0..EVENTS).for_each(|_| request.send_event(EVENT).unwrap());
        }
        Ok(payload(request.payload()))
    };
    bind(socket, ready).serve(PROTOCOL, serve).run().unwrap();
}

pub fn serve_inline(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    bind(socket, ready).serve_inline(PROTOCOL, |request| Ok(payload(request.payload()))).run().unwrap();
}

pub fn serve_tokio(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    serve_tokio_on(&runtime(), socket, ready);
}

/// Serves on all cores.
pub fn serve_tokio_threads(socket: &Path, ready: impl FnOnce() + Send + 'static) {
    serve_tokio_on(&runtime_of_all_cores(), socket, ready);
}

fn serve_tokio_on(runtime: &Runtime, socket: &Path, ready: impl FnOnce() + Send + 'static) {
    let serve = |socket, ready| {
        bind_tokio(socket, ready)
            .serve(PROTOCOL, |request| async move {
                if request.payload() == EVENTS_REQUEST {
                    for _ in 0..EVENTS {
                        request.send_event(EVENT).await.unwrap();
                    }
                }
                Ok(payload(request.payload()))
            })
            .run()
    };
    runtime.block_on(async { serve(socket, ready).await.unwrap() });
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

/// Connects the blocking client, which sends the largest request from where it lies in memory.
pub fn upload(scratch: &Scratch, server: &str) -> Client {
    let server = Server::start(scratch, server);
    let mut client = FrameClient::connect(&endpoint(server.socket())).unwrap();
    let request = Payload::from(Arc::<[u8]>::from(Exchange::Upload.request()));
    blocking(server, move || {
        Exchange::Upload.check(&client.request(PROTOCOL, request.clone()).unwrap().payload);
    })
}

/// Connects the blocking client, which asks for the artifact, reads a byte of it and closes it.
pub fn artifact(scratch: &Scratch, server: &str) -> Client {
    let server = Server::start(scratch, server);
    let mut client = FrameClient::connect(&endpoint(server.socket())).unwrap();
    let options = RequestOptions::new();
    blocking(server, move || {
        let reply = client.request_reply(PROTOCOL, artifact::REQUEST, &options).unwrap();
        assert!(reply.is_file());
        artifact::check(|byte, position| reply.read_at(byte, position));
    })
}

/// Connects the blocking client, which asks for all events and takes them.
pub fn events(scratch: &Scratch, server: &str) -> Client {
    let server = Server::start(scratch, server);
    let mut client = FrameClient::connect(&endpoint(server.socket())).unwrap();
    blocking(server, move || {
        let mut events = client.request_streaming(PROTOCOL, EVENTS_REQUEST.to_vec()).unwrap();
        let mut taken = 0;
        while let Some(event) = events.next_event().unwrap() {
            assert_eq!(event.payload.len(), EVENT.len());
            taken += 1;
        }
        assert_eq!(taken, EVENTS);
    })
}

/// Connects the client on tokio.
pub fn client_on_tokio(scratch: &Scratch, server: &str, exchange: Exchange, at_once: usize) -> Client {
    client_in(runtime(), scratch, server, exchange, at_once)
}

/// Connects the client on tokio, in a runtime with a thread for each core.
pub fn client_on_tokio_threads(
    scratch: &Scratch,
    server: &str,
    exchange: Exchange,
    at_once: usize,
) -> Client {
    client_in(runtime_of_all_cores(), scratch, server, exchange, at_once)
}

fn client_in(
    runtime: Runtime,
    scratch: &Scratch,
    server: &str,
    exchange: Exchange,
    at_once: usize,
) -> Client {
    let server = Server::start(scratch, server);
    let client = runtime.block_on(AsyncFrameClient::connect(&endpoint(server.socket()))).unwrap();
    let request = exchange.request();
    on_tokio(server, runtime, at_once, async move || {
        exchange.check(&client.request(PROTOCOL, request.clone()).await.unwrap().payload);
    })
}
