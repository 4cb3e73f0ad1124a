//! The pure parts: connections as state machines, and what they are made of.

pub(crate) mod client_connection;
pub(crate) mod connection;
pub(crate) mod deadline;
pub(crate) mod id_map;
pub(crate) mod payload;
pub(crate) mod recv_buffer;
pub(crate) mod send_buffer;
pub(crate) mod server_connection;
