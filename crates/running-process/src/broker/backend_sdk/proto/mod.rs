//! The pure state machines of connections, and their parts.

pub(crate) mod client_connection;
pub(crate) mod connection;
pub(crate) mod deadline;
pub(crate) mod descriptors;
pub(crate) mod id_map;
pub(crate) mod payload;
pub(crate) mod recv_buffer;
pub(crate) mod send_buffer;
pub(crate) mod server_connection;
