//! The server on tokio.

mod accept;
mod alarm;
mod conn;
mod conn_driver;
mod context;
mod legacy;
mod request;
mod running;
mod server;
mod waker;

pub use legacy::AsyncLegacyConnection;
pub use request::AsyncServerRequest;
pub use running::RunningAsyncServer;
pub use server::AsyncServer;
