//! One local endpoint for a backend daemon: its legacy wire, identity probes and framed requests.
//!
//! Three kinds of traffic reach the Unix-domain socket or named pipe of a daemon: the wire that it spoke before, probes of its
//! identity, and framed requests. The library tells them apart, answers the probes and hands the rest to the daemon. A client
//! reads the daemon's identity file, lets the kernel prove that this very process is at the other end, and sends its requests
//! on the connection that was proven.
#![cfg_attr(
    feature = "host",
    doc = r#"
```no_run
use running_process::{BackendHandle, Endpoint, Server, read_daemon_identity_file};
use std::{error::Error, path::Path};

running_process::register_payload_protocol! { const SHOUT: u32 = 0xF00D; }

// Binds the socket, writes the identity file, answers probes, serves requests, and cleans up.
fn daemon(socket: &str, identity_file: &Path) -> Result<(), Box<dyn Error>> {
    Server::bind(Endpoint::unix_socket("shout", socket)?)?
        .identity_file(identity_file)
        .serve(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
        .stop_on_signals()?
        .run()?;
    Ok(())
}

// Reads the identity file, proves the daemon, and sends a request on the connection that was proven.
fn client(identity_file: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let daemon = read_daemon_identity_file(identity_file).ok_or("no daemon runs")?;
    let handle = BackendHandle::probe_with_service("shout", "1.0.0", &daemon.ipc_endpoint, &daemon)?;
    Ok(handle.into_client().request(SHOUT, b"ping".to_vec())?.payload)
}
```

# Where to start

- [`Service`]: exactly one daemon, found or started by its clients.
- [`Server`], or `AsyncServer` on tokio: a whole daemon.
- [`read_daemon_identity_file`] and [`BackendHandle::probe_with_service`]: finding and proving a daemon.
- [`FrameClient`], or `AsyncFrameClient` and `ReconnectingClient` on tokio: requests and answers.
- [`ServerSession`](broker::backend_sdk::ServerSession): the policy of a server without I/O, for an event loop of your own.
"#
)]
#![cfg_attr(
    all(doc, not(doctest), feature = "host"),
    doc = "
# Guides

[integrate](docs::integrate): a daemon and a client, step by step, and how an existing daemon adopts the library.
[service](docs::service): exactly one daemon. [tokio](docs::tokio): the asynchronous side. [descriptors](docs::descriptors):
open files in requests and answers. [front](docs::front): this endpoint before a daemon that stays as it is.
[observe](docs::observe): counters, traces, metrics. [identity](docs::identity): the proof and its limits. [wire](docs::wire):
every byte. [All guides](docs), and the [examples](docs::examples) to copy.
"
)]
//! # Features
//!
//! | feature | default | for |
//! | --- | --- | --- |
//! | `host` | yes | everything that touches the operating system: servers, clients, proofs, identity files, services. Without it the state machines below are left, with prost, bytes and thiserror as the only direct dependencies |
//! | `tokio` | | `AsyncServer`, `AsyncFrameClient`, `ReconnectingClient` and a proof that waits as a task |
//! | `lz4`, `snappy`, `zstd` | | payloads in these encodings, for peers that accept them; `zstd` builds C code |
//! | `tracing` | | spans and events of servers |
//! | `metrics` | | counters of servers through the facade `metrics` |
//!
//! # Layers
//!
//! Each module uses only those above it:
//!
//! - [`broker::protocol`]: frames, their codec, payload-protocol ids, endpoint names;
//! - [`broker::backend_lifecycle`]: the identity of a daemon, the probe, the proof and the identity file;
//! - [`broker::backend_sdk`]: the state machines below, and the servers and clients that drive them;
//! - [`broker::backend_handle`]: a proven connection to a live daemon;
//! - `broker::service`: a service and its one daemon, found, started and stopped.
//!
//! # State machines without I/O
//!
//! Each takes bytes and a time, and returns events, bytes to write and the next deadline. The servers and clients are loops
//! around them; a program with an event loop of its own drives them itself.
//!
//! - [`BackendEndpointMux`]: classifies the bytes at the start of a buffer;
//! - [`Connection`](broker::backend_sdk::Connection): a daemon's connection, with deadlines and one decision between the wires;
//! - [`ServerConnection`](broker::backend_sdk::ServerConnection): a `Connection` with calls, their admission and their answers;
//! - [`ClientConnection`](broker::backend_sdk::ClientConnection): a client's connection, with requests and their answers.
//!
//! Without the feature `host` only these, the protocol and the identity are left.

// The badges of features.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod broker;
mod descriptor;
#[cfg(all(any(doc, doctest), feature = "host"))]
pub mod docs;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
#[cfg(feature = "host")]
mod own_process;
#[cfg(feature = "host")]
mod sys;
#[cfg(feature = "host")]
mod transport;

#[cfg(feature = "host")]
pub use broker::backend_handle::BackendHandle;
pub use broker::backend_lifecycle::identity::DaemonProcess;
#[cfg(feature = "tokio")]
pub use broker::backend_sdk::{AsyncFrameClient, AsyncServer, ReconnectingClient};
pub use broker::backend_sdk::{BackendEndpointMux, LegacyClassification, Payload};
#[cfg(feature = "host")]
pub use broker::backend_sdk::{
    FrameClient, HandlerError, LegacyConnection, Server, ServerStop, read_daemon_identity_file,
};
pub use broker::protocol::{Endpoint, Frame, Refusal};
#[cfg(feature = "host")]
pub use broker::service::Service;
