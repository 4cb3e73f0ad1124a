//! A daemon that serves the conformance protocol of docs/wire.md, so that `running-process conform` can judge it.
//!
//! ```sh
//! cargo build --features tokio --example conformance
//! running-process conform -- target/debug/examples/conformance {socket} {identity}
//! ```
//!
//! With `--tokio` it serves on tokio, else on threads. To judge a daemon of yours, serve `conform` beside your own protocols while it
//! is tested.

use running_process::broker::backend_sdk::{AsyncServerRequest, ServeError, ServerRequest};
use running_process::broker::protocol::{EndpointNameError, RefusalReason};
use running_process::{AsyncServer, Endpoint, HandlerError, Refusal, Server};
use std::collections::HashMap;
use std::error::Error;
use std::io::{Write, stderr};
use std::iter::successors;
use std::sync::{Arc, Mutex, PoisonError};

running_process::register_payload_protocol! {
    /// The conformance protocol.
    const CONFORMANCE: u32 = 0xF0C0;
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [socket, identity_file] => on_threads(socket, identity_file),
        ["--tokio", socket, identity_file] => on_tokio(socket, identity_file),
        _ => Err("usage: conformance [--tokio] SOCKET IDENTITY_FILE".into()),
    }
}

fn on_threads(socket: &str, identity_file: &str) -> Result<(), Box<dyn Error>> {
    let waits = Waits::default();
    Server::bind(endpoint(socket)?)?
        .identity_file(identity_file)
        .serve(CONFORMANCE, move |request: ServerRequest| {
            match Asked::read(request.payload())? {
                Asked::Echo(bytes) => Ok(bytes.to_vec()),
                Asked::Events(count) => {
                    for number in 0..count {
                        request.send_event(number.to_string())?;
                    }
                    Ok(count.to_string().into_bytes())
                }
                Asked::Wait(name) => {
                    let _waiting = waits.begin(name);
                    // Returns once the client has cancelled the request, its deadline has passed or its connection has ended.
                    let reason = request.cancellation().wait(None);
                    Err(reason.map_or_else(String::new, |reason| reason.to_string()).into())
                }
                Asked::Ended(name) => Ok(waits.state(name).into()),
                // The client receives a `Refusal` unchanged. Of another error it learns the reason, and not the message.
                Asked::Fail(text) => Err(Refusal::new(RefusalReason::HandlerFailed, text).into()),
            }
        })
        .observe(log)
        .stop_on_signals()?
        .run()?;
    Ok(())
}

#[tokio::main]
async fn on_tokio(socket: &str, identity_file: &str) -> Result<(), Box<dyn Error>> {
    let waits = Waits::default();
    let server = AsyncServer::bind(endpoint(socket)?)?
        .identity_file(identity_file)
        .serve(CONFORMANCE, move |request: AsyncServerRequest| {
            let waits = waits.clone();
            async move { answer(&request, &waits).await }
        })
        .observe(log)
        .stop_on_signals()?;
    server.run().await?;
    Ok(())
}

async fn answer(request: &AsyncServerRequest, waits: &Waits) -> Result<Vec<u8>, HandlerError> {
    match Asked::read(request.payload())? {
        Asked::Echo(bytes) => Ok(bytes.to_vec()),
        Asked::Events(count) => {
            for number in 0..count {
                request.send_event(number.to_string()).await?;
            }
            Ok(count.to_string().into_bytes())
        }
        Asked::Wait(name) => {
            let _waiting = waits.begin(name);
            // The server drops this future once the client does not wait any more.
            std::future::pending().await
        }
        Asked::Ended(name) => Ok(waits.state(name).into()),
        // The client receives a `Refusal` unchanged. Of another error it learns the reason, and not the message.
        Asked::Fail(text) => Err(Refusal::new(RefusalReason::HandlerFailed, text).into()),
    }
}

/// A request of the conformance protocol.
enum Asked<'a> {
    Echo(&'a [u8]),
    Events(u32),
    Wait(&'a str),
    Ended(&'a str),
    Fail(&'a str),
}

impl<'a> Asked<'a> {
    fn read(payload: &'a [u8]) -> Result<Self, HandlerError> {
        let space = payload.iter().position(|byte| *byte == b' ').ok_or("the request has no space")?;
        let (word, rest) = (&payload[..space], &payload[space + 1..]);
        let text = || std::str::from_utf8(rest).map_err(|error| HandlerError::from(error.to_string()));
        match word {
            b"echo" => Ok(Self::Echo(rest)),
            b"events" => match text()?.parse() {
                Ok(count @ 0..=10_000) => Ok(Self::Events(count)),
                _ => Err("the number of events is not from 0 to 10000".into()),
            },
            b"wait" => Ok(Self::Wait(text()?)),
            b"ended" => Ok(Self::Ended(text()?)),
            b"fail" => Ok(Self::Fail(text()?)),
            _ => Err("the request is not known".into()),
        }
    }
}

/// The names of requests that wait or waited, on any connection. `true` while they wait.
#[derive(Clone, Default)]
struct Waits(Arc<Mutex<HashMap<String, bool>>>);

impl Waits {
    /// Records that a request waits, until the result is dropped.
    fn begin(&self, name: &str) -> Waiting {
        self.set(name, true);
        Waiting { waits: self.clone(), name: name.to_owned() }
    }

    fn set(&self, name: &str, waits: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), waits);
    }

    fn state(&self, name: &str) -> &'static str {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            Some(true) => "waiting",
            Some(false) => "cancelled",
            None => "unknown",
        }
    }
}

struct Waiting {
    waits: Waits,
    name: String,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waits.set(&self.name, false);
    }
}

/// Returns the path of a socket, or on Windows the bare name of a pipe, as an endpoint.
fn endpoint(name: &str) -> Result<Endpoint, EndpointNameError> {
    if cfg!(windows) {
        Endpoint::windows_pipe("conformance", name)
    } else {
        Endpoint::unix_socket("conformance", name)
    }
}

/// Prints failures of connections and handlers, each with its causes. Unlike `eprintln!`, it does not panic if standard error is closed.
fn log(error: &ServeError) {
    let causes = successors(Some(error as &dyn Error), |&error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    let _closed = writeln!(stderr(), "{}", texts.join(": "));
}
