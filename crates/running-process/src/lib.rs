//! One local endpoint for a backend daemon: its legacy wire, identity probes and framed requests.
//!
//! Three kinds of traffic reach the Unix-domain socket or named pipe of a daemon: the wire that it spoke before, probes of its
//! identity, and framed requests. The library tells them apart, answers the probes and hands the rest to the daemon. A client
//! reads the daemon's identity file, lets the kernel prove that this very process is at the other end, and sends its requests
//! on the connection that was proven.
//!
#![cfg_attr(
    feature = "host",
    doc = "
# Where to start

- [`Service`]: exactly one daemon, found or started by its clients.
- [`Server`], or `AsyncServer` on tokio: a whole daemon.
- [`read_daemon_identity_file`] and [`BackendHandle::probe_with_service`]: finding and proving a daemon.
- [`FrameClient`], or `AsyncFrameClient` and `ReconnectingClient` on tokio: requests and answers.
- [`ServerSession`](broker::backend_sdk::ServerSession): the policy of a server without I/O, for an event loop of your own.
"
)]
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

pub mod broker;
mod descriptor;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
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

/// The code in the documents: compiled, and run where it needs no daemon.
#[cfg(all(doctest, feature = "host"))]
mod documents {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/descriptors.md")]
    mod descriptors {}
    #[doc = include_str!("../../../docs/integrate.md")]
    mod integrate {}
    #[doc = include_str!("../../../docs/migrate.md")]
    mod migrate {}
    #[doc = include_str!("../../../docs/observe.md")]
    mod observe {}
    #[doc = include_str!("../../../docs/service.md")]
    mod service {}
    #[cfg(feature = "tokio")]
    #[doc = include_str!("../../../docs/tokio.md")]
    mod on_tokio {}
}
