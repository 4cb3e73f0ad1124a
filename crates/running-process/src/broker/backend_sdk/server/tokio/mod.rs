//! The server on tokio.

mod accept;
mod alarm;
mod conn;
mod conn_driver;
mod context;
mod handler;
mod introducing;
mod legacy;
mod request;
mod server;
mod waker;

pub use legacy::AsyncLegacyConnection;
pub use request::AsyncServerRequest;
pub use server::AsyncServer;
