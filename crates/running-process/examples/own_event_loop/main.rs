//! A daemon with an event loop of its own: poll(2) on one thread drives a `ServerSession` for each connection.
//!
//! Copy `event_loop/` to begin a driver for another runtime. It does all that `Server` does, with public names only:
//!
//! - `event_loop/driver.rs` accepts connections, waits with poll(2), and ends the server;
//! - `event_loop/connection.rs` moves bytes between one socket and its session;
//! - `event_loop/descriptors.rs` does so with the file descriptors that clients pass;
//! - `event_loop/handlers.rs` has the requests and legacy connections as handlers on other threads see them;
//! - `event_loop/workers.rs` has the threads that these handlers run on;
//! - `event_loop/mailbox.rs` brings the results of these threads back to the loop, and wakes it.
//!
//! ```sh
//! cargo run --example own_event_loop -- /tmp/shout/daemon.sock /tmp/shout/daemon.json
//! ```
//!
//! The example `client` talks to it. The directory must exist and have mode 700.

#[cfg(unix)]
mod event_loop;

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use event_loop::{EventLoop, Handler, LegacyConnection, Request};
    use running_process::broker::backend_sdk::{LegacyClassification, LocalListener, ServerBuilder};
    use running_process::broker::protocol::Endpoint;
    use std::io::{Read, Write};
    use std::sync::Arc;

    running_process::register_payload_protocol! {
        /// Answers with its payload in upper case, on a thread.
        const SHOUT: u32 = 0xF00D;
        /// Answers with its payload, on the thread of the loop.
        const ECHO: u32 = 0xF00E;
    }

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, identity_file] = &arguments[..] else {
        return Err("usage: own_event_loop SOCKET IDENTITY_FILE".into());
    };
    let listener = LocalListener::bind(socket)?;
    let builder = ServerBuilder::<Handler>::new(Endpoint::unix_socket("shout", socket)?)
        .identity_file(identity_file)
        .serve(SHOUT, Arc::new(|request: Request| Ok(request.payload().to_ascii_uppercase().into())))
        .serve_inline(ECHO, |request| Ok(request.payload().to_vec()))
        // No message of the old wire begins with the framing byte.
        .legacy_detector(|_| LegacyClassification::NotLegacy)
        .on_ready(|daemon| println!("ready: process {}", daemon.pid))
        .stop_on_signals()?;
    let legacy = |mut connection: LegacyConnection| {
        let mut line = [0; 1024];
        while let Ok(length @ 1..) = connection.read(&mut line) {
            if connection.write_all(&line[..length]).is_err() {
                break;
            }
        }
    };
    EventLoop::new(listener, builder, Some(Arc::new(legacy)))?.run()?;
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this example waits with poll(2), which this system does not have");
}
