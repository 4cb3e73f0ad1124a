//! A daemon on tokio.
//!
//! ```sh
//! cargo run --features tokio --example tokio_daemon -- /tmp/shout/daemon.sock /tmp/shout/daemon.json
//! ```
//!
//! It serves the same protocol as the example `blocking_daemon`, and the example `client` talks to it.

use running_process::broker::backend_sdk::{AsyncServerRequest, ServeError};
use running_process::broker::protocol::{EndpointNameError, RefusalReason};
use running_process::{AsyncServer, Endpoint, HandlerError, Refusal};
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::iter::successors;

running_process::register_payload_protocol! {
    /// A request is a text; its response is the text in capitals. Each word is an event ahead of the response.
    const SHOUT: u32 = 0xF00D;
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, identity_file] = &arguments[..] else {
        return Err("usage: tokio_daemon SOCKET IDENTITY_FILE".into());
    };
    let server = AsyncServer::bind(endpoint(socket)?)?
        .identity_file(identity_file)
        .serve(SHOUT, shout)
        .observe(log)
        .on_ready(|daemon| {
            let _closed = writeln!(stdout(), "ready: process {}", daemon.pid);
        })
        .stop_on_signals()?;
    server.run().await?;
    Ok(())
}

/// Returns the path of a socket, or on Windows the bare name of a pipe, as an endpoint.
fn endpoint(name: &str) -> Result<Endpoint, EndpointNameError> {
    if cfg!(windows) { Endpoint::windows_pipe("shout", name) } else { Endpoint::unix_socket("shout", name) }
}

/// Handles one request. The server drops this future once the client has cancelled the request or its deadline has passed.
async fn shout(request: AsyncServerRequest) -> Result<String, HandlerError> {
    let Ok(text) = std::str::from_utf8(request.payload()) else {
        // The client receives a `Refusal` unchanged.
        return Err(Refusal::new(RefusalReason::Unspecified, "the text is not UTF-8").into());
    };
    let text = text.to_uppercase();
    for word in text.split_whitespace() {
        request.send_event(word).await?;
    }
    Ok(text)
}

/// Prints failures of connections and handlers, each with its causes. Unlike `eprintln!`, it does not panic if standard error is closed.
fn log(error: &ServeError) {
    let causes = successors(Some(error as &dyn Error), |&error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    let _closed = writeln!(stderr(), "{}", texts.join(": "));
}
