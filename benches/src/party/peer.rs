//! The published library of the same name. Its daemons write their own loop around its mux, as its documentation shows.

use super::{Client, Exchange, PROTOCOL, Server, answer, blocking, on_tokio, runtime, runtime_of_all_cores};
use crate::artifact;
use crate::floor::blocking::{READ, serve_each};
use crate::scratch::Scratch;
use peer::broker::backend_handle::{BackendHandle, DaemonProcess};
use peer::broker::backend_sdk::{
    AsyncFrameClient, BackendEndpointMux, FrameClient, LegacyClassification, MuxPoll,
    read_daemon_identity_file, write_daemon_identity_file,
};
use peer::broker::protocol::{Endpoint, Frame, encode_framed};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

type Mux = BackendEndpointMux<fn(&[u8]) -> LegacyClassification>;

fn endpoint(socket: &Path) -> Endpoint {
    Endpoint::unix_socket("benches", socket.to_str().expect("a path in UTF-8")).expect("a path")
}

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

/// Writes the identity file of this process.
fn identify(socket: &Path) -> &'static Mux {
    let daemon = DaemonProcess::current_process(endpoint(socket), None).unwrap();
    write_daemon_identity_file(&socket.with_extension("json"), &daemon).unwrap();
    let is_legacy: fn(&[u8]) -> LegacyClassification = is_legacy;
    Box::leak(Box::new(BackendEndpointMux::new(daemon, &[PROTOCOL], is_legacy)))
}

/// Reads the identity of the daemon at `socket`.
pub fn read_identity_file(socket: &Path) -> DaemonProcess {
    read_daemon_identity_file(&socket.with_extension("json")).expect("the daemon writes its identity file")
}

/// Verifies the daemon completely, on a connection of its own.
pub fn prove(daemon: &DaemonProcess) -> BackendHandle {
    BackendHandle::probe_with_service("benches", "1.0.0", &daemon.ipc_endpoint, daemon).unwrap()
}

/// Verifies the daemon and sends a request on another connection, since the peer does not hand out the verified one.
pub fn prove_and_ask(daemon: &DaemonProcess, request: Vec<u8>) -> Vec<u8> {
    let handle = prove(daemon);
    let mut client = FrameClient::connect(&handle.daemon_process.ipc_endpoint).unwrap();
    client.request(PROTOCOL, request).unwrap().payload
}

pub fn serve(socket: &Path, ready: impl FnOnce()) {
    let mux = identify(socket);
    serve_each(socket, ready, move |mut stream: UnixStream| {
        let (mut buffer, mut chunk) = (Vec::new(), vec![0; READ]);
        loop {
            let length = stream.read(&mut chunk)?;
            buffer.extend_from_slice(&chunk[..length]);
            let Some(output) = respond(mux, &mut buffer) else { return Ok(()) };
            stream.write_all(&output)?;
            if length == 0 {
                return Ok(());
            }
        }
    });
}

pub fn serve_tokio(socket: &Path, ready: impl FnOnce()) {
    let mux = identify(socket);
    runtime().block_on(async {
        let listener = tokio::net::UnixListener::bind(socket).expect("a free path");
        ready();
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut buffer, mut chunk) = (Vec::new(), vec![0; READ]);
                while let Ok(length @ 1..) = stream.read(&mut chunk).await {
                    buffer.extend_from_slice(&chunk[..length]);
                    let Some(output) = respond(mux, &mut buffer) else { return };
                    if stream.write_all(&output).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Answers all complete messages in `buffer`. Returns `None` if the connection cannot go on.
fn respond(mux: &Mux, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut output = Vec::new();
    loop {
        match mux.poll(buffer).ok()? {
            MuxPoll::NeedMoreBytes => return Some(output),
            MuxPoll::Legacy => return None,
            MuxPoll::ProbeAnswered { reply, consumed } => {
                append(&mut output, reply);
                buffer.drain(..consumed);
            }
            MuxPoll::Payload { frame, consumed } => {
                let payload = artifact::part(&frame.payload).unwrap_or_else(|| answer(&frame.payload));
                let response = Frame::response_to(&frame, payload);
                append(&mut output, encode_framed(&response).ok()?);
                buffer.drain(..consumed);
            }
        }
    }
}

/// Returns a single answer without a copy.
fn append(output: &mut Vec<u8>, answer: Vec<u8>) {
    if output.is_empty() { *output = answer } else { output.extend_from_slice(&answer) }
}

/// Connects the blocking client.
pub fn client(scratch: &Scratch, exchange: Exchange) -> Client {
    let server = Server::start(scratch, "peer");
    let mut client = FrameClient::connect(&endpoint(server.socket())).unwrap();
    let request = exchange.request();
    blocking(server, move || {
        exchange.check(&client.request(PROTOCOL, request.clone()).unwrap().payload);
    })
}

/// Connects the blocking client, which asks for all bytes of the artifact.
pub fn artifact(scratch: &Scratch) -> Client {
    let server = Server::start(scratch, "peer");
    let mut client = FrameClient::connect(&endpoint(server.socket())).unwrap();
    blocking(server, move || {
        artifact::check_parts(|request| client.request(PROTOCOL, request).unwrap().payload);
    })
}

/// Connects the client on tokio, which has one request in flight.
pub fn client_on_tokio(scratch: &Scratch, exchange: Exchange) -> Client {
    client_in(runtime(), scratch, exchange)
}

/// Connects the client on tokio, in a runtime with a thread for each core. The server has one thread.
pub fn client_on_tokio_threads(scratch: &Scratch, exchange: Exchange) -> Client {
    client_in(runtime_of_all_cores(), scratch, exchange)
}

fn client_in(runtime: Runtime, scratch: &Scratch, exchange: Exchange) -> Client {
    let server = Server::start(scratch, "peer-tokio");
    let client = runtime.block_on(AsyncFrameClient::connect(&endpoint(server.socket()))).unwrap();
    let client = tokio::sync::Mutex::new(client);
    let request = exchange.request();
    on_tokio(server, runtime, 1, async move || {
        exchange.check(&client.lock().await.request(PROTOCOL, request.clone()).await.unwrap().payload);
    })
}
