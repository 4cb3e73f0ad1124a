//! The public surface that needs no operating system: bytes and times in, bytes and events out.

mod borrowed;
mod client_connection;
#[path = "../common/mod.rs"]
mod common;
mod connection;
mod connection_cuts;
mod deadlines;
mod descriptors;
mod encodings;
mod error_texts;
mod field;
mod first_message;
mod golden;
mod judge;
mod moved;
mod negotiation;
mod origin;
mod poll;
mod probe;
mod server_connection;
mod version;
