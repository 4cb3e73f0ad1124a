//! A server that runs on one thread and waits with poll(2).

mod connection;
mod descriptors;
mod driver;
mod handlers;
mod mailbox;
mod workers;

pub(crate) use driver::EventLoop;
#[allow(unused_imports, reason = "the daemon of the example names not all of them")]
pub(crate) use handlers::{Handler, LegacyConnection, LegacyHandler, Request};
