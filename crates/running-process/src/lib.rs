//! One local endpoint for a backend daemon: its legacy wire, identity probes and framed requests.
//!
//! A daemon binds a `Server` or asks a
//! [`BackendEndpointMux`](broker::backend_sdk::BackendEndpointMux) in its own loop. A client reads the daemon's identity
//! file, gets a `BackendHandle` once the kernel has named the recorded process at
//! the other end of the connection, and talks on that very connection.
//!
//! - [`broker::protocol`]: frames, their codec, payload-protocol ids, endpoint names;
//! - [`broker::backend_lifecycle`]: which process a daemon is, the probe, and the proof;
//! - [`broker::backend_sdk`]: the mux, connections as state machines, blocking clients and servers;
//! - [`broker::backend_handle`]: a proven connection to a live daemon.
//!
//! Without the feature `host` only what is pure is left: it takes bytes and a time, and asks nobody.

pub mod broker;
#[cfg(feature = "host")]
mod sys;
#[cfg(feature = "host")]
mod transport;

/// The code in the documents: compiled, and run where it needs no daemon.
#[cfg(all(doctest, feature = "host"))]
mod documents {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/integrate.md")]
    mod integrate {}
    #[doc = include_str!("../../../docs/observe.md")]
    mod observe {}
    #[cfg(feature = "tokio")]
    #[doc = include_str!("../../../docs/tokio.md")]
    mod on_tokio {}
}
