//! The targets, one in each module.

pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod decode;
pub(crate) mod digest_entry;
pub(crate) mod exchange;
pub(crate) mod frame;
pub(crate) mod handover;
pub(crate) mod identity;
pub(crate) mod messages;
pub(crate) mod payload;
pub(crate) mod poll;
pub(crate) mod probe;
pub(crate) mod reconnecting;
pub(crate) mod resp;
pub(crate) mod server;
pub(crate) mod service_file;
pub(crate) mod session;
