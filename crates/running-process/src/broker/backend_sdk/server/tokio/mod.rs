//! The server on tokio.

mod accept;
mod alarm;
mod backend;
mod conn;
mod conn_driver;
mod context;
mod legacy;
mod relay;
mod request;
mod running;
mod server;
mod waker;

pub(in crate::broker) use backend::{Backend, Connecting};
pub use legacy::AsyncLegacyConnection;
pub use request::AsyncServerRequest;
pub use running::RunningAsyncServer;
pub use server::AsyncServer;
