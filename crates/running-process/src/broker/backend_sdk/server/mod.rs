//! The servers, and the policy that both have.

mod accept_errors;
mod blocking;
mod budget;
mod builder;
mod callback;
mod charges;
mod config;
mod error;
mod handler;
mod hooks;
mod over_capacity;
mod peer;
mod policy;
mod registration;
mod request;
mod session;
mod shared_methods;
mod stop;
mod sync;
mod telemetry;
#[cfg(feature = "tokio")]
mod tokio;

pub use self::blocking::{Cancellation, LegacyConnection, Server, ServerRequest};
#[cfg(feature = "tokio")]
pub use self::tokio::{AsyncLegacyConnection, AsyncRequest, AsyncServer};
pub use callback::Callback;
pub use config::{ServerConfig, ServerTrouble};
pub use error::ServerError;
pub use handler::HandlerError;
pub use over_capacity::OVER_CAPACITY_CONNECTIONS;
pub use peer::{NotAuthorized, PeerCredentials};
pub use request::IncomingRequest;
pub use stop::ServerStop;
pub use telemetry::stats::ServerStats;
