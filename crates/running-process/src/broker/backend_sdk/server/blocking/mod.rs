//! The driver of the blocking server: readiness of all connections on one thread, handlers there while they are quick, and
//! on a pool when they are not.

mod accept;
mod adaptive;
mod background;
mod conn;
mod context;
mod events;
mod handler;
#[cfg(all(test, shuttle))]
pub(super) mod model;
mod poll;
#[cfg(all(unix, not(all(test, shuttle))))]
mod poller;
#[cfg(not(any(unix, all(test, shuttle))))]
#[path = "poller_unsupported.rs"]
mod poller;
#[cfg(all(test, shuttle))]
#[path = "model/poller.rs"]
mod poller;
mod pool;
mod run_queue;
mod running;
mod server;

pub use handler::{LegacyConnection, ServerRequest};
pub use running::RunningServer;
pub use server::Server;
