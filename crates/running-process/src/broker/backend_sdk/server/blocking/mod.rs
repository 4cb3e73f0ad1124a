//! The blocking server.

mod adaptive;
mod background;
mod cancellation;
mod conn;
mod conn_loop;
mod context;
mod handler;
mod legacy;
#[cfg(all(test, shuttle))]
pub(super) mod model;
mod pool;
mod request;
mod server;

pub use cancellation::Cancellation;
pub use legacy::LegacyConnection;
pub use request::ServerRequest;
pub use server::Server;
