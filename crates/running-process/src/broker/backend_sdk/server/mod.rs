//! The servers: one policy, and a driver for threads and one for tasks.
//!
//! [`ServerSession`] is the policy of one connection as a state machine; [`Server`] and `AsyncServer` move bytes around it.

mod accept_errors;
mod acceptor;
mod answer_file;
mod blocking;
mod budget;
mod builder;
mod callback;
mod cancellation;
mod charges;
mod config;
mod connection_table;
mod dispatch;
mod driver_methods;
mod error;
mod handler;
mod handover_hooks;
mod hooks;
mod idle_exit;
mod lifecycle;
mod peer;
#[cfg_attr(not(feature = "tokio"), allow(dead_code))]
mod phase;
mod policy;
mod publication;
mod registration;
mod registration_state;
mod request;
#[cfg_attr(not(feature = "tokio"), allow(dead_code))]
mod rewind;
#[cfg_attr(not(feature = "tokio"), allow(dead_code))]
mod scratch;
mod session;
mod shutdown;
mod stop;
mod sync;
mod telemetry;
#[cfg(feature = "tokio")]
mod tokio;

pub use accept_errors::{ACCEPT_PAUSE, AcceptErrors, AfterError};
pub use blocking::{LegacyConnection, RunningServer, Server, ServerRequest};
pub use builder::ServerBuilder;
pub use callback::Callback;
pub use cancellation::Cancellation;
pub use config::{ServeError, ServerConfig};
pub use connection_table::{ConnectionTable, OVER_CAPACITY_CONNECTIONS, Slot};
pub use dispatch::{Answer, Dispatched};
pub use error::ServerError;
pub use handler::HandlerError;
pub(in crate::broker) use handover_hooks::HandoverHooks;
pub(in crate::broker) use lifecycle::Lifecycle;
pub use peer::{NotAuthorized, PeerCredentials};
pub use phase::Phase;
pub use policy::ServerPolicy;
pub use registration::{Registration, RegistrationGuard};
pub use request::{InlineRequest, RequestParts};
pub use session::{Action, ServerSession};
pub use shutdown::{Shutdown, ShutdownStep};
pub use stop::ServerStop;
pub use telemetry::stats::ServerStats;
#[cfg(feature = "tokio")]
pub use tokio::{AsyncLegacyConnection, AsyncServer, AsyncServerRequest, RunningAsyncServer};
#[cfg(feature = "tokio")]
pub(in crate::broker) use tokio::{Backend, Connecting};
