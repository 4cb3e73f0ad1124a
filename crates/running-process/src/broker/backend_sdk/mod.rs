//! What a daemon and its clients are made of: the mux, the connection state machines, and their drivers.
//!
//! [`BackendEndpointMux`] and [`Connection`] are pure; a server driver and [`FrameClient`] move bytes around them.

mod buffer;
mod client_connection;
mod connection;
mod mux;

pub use client_connection::{ClientConnection, ClientConnectionError, ClientEvent, RequestId};
pub use connection::{
    Connection, ConnectionConfig, ConnectionError, ConnectionEvent, Reclassify, Request, WaitingFor,
};
pub use mux::{BackendEndpointMux, LegacyClassification, MuxError, MuxPoll, MuxPollRef};
