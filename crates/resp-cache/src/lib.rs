//! An in-memory cache that speaks RESP2, as an example of a daemon on `running_process`.
//!
//! [`attach`] is the adoption: it gives a [`Server`](running_process::broker::backend_sdk::Server) the cache's legacy
//! wire, which is RESP2, and its framed lane, whose payloads are commands in the same protocol.
//!
//! The rest is the cache itself. It is pure code without sockets, threads or clocks: callers pass the bytes that they
//! read and the time. [`Session`] is one connection on the legacy wire; [`execute_payload`] runs the command of one
//! request frame. Both work on one [`Store`].

mod commands;
mod daemon;
mod glob;
mod reply;
mod resp;
mod session;
mod store;

pub use daemon::{Cache, PAYLOAD_PROTOCOL, attach};
pub use session::{Next, Outcome, Session, execute_payload};
pub use store::Store;
