//! A server that runs on one thread and waits with poll(2).

mod connection;
mod driver;
mod handlers;
mod mailbox;

pub(crate) use driver::EventLoop;
pub(crate) use handlers::{Handler, LegacyConnection, Request};
