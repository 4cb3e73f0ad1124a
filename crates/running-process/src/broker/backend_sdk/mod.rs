//! What a daemon and its clients are made of: the mux, the connection state machines, and their drivers.
//!
//! [`BackendEndpointMux`], [`Connection`], [`ServerConnection`] and [`ClientConnection`] are pure. `Server` moves bytes around
//! a `ServerConnection`, which is a `Connection` with calls, and `FrameClient` around a `ClientConnection`, both blocking;
//! with the feature `tokio`, `AsyncServer` and `AsyncFrameClient` do so for tasks, and `ReconnectingClient` outlives its daemons.

#[cfg(feature = "tokio")]
mod async_frame_client;
#[cfg(feature = "tokio")]
mod async_server;
mod buffer;
mod client_connection;
mod connection;
#[cfg(feature = "host")]
mod frame_client;
#[cfg(feature = "host")]
mod identity_file;
#[cfg(all(test, shuttle))]
mod model;
mod mux;
mod output;
mod payload;
#[cfg(feature = "tokio")]
mod reconnecting_client;
#[cfg(feature = "host")]
mod request_options;
#[cfg(feature = "host")]
mod server;
mod server_connection;

#[cfg(feature = "tokio")]
pub use async_frame_client::{AsyncFrameClient, AsyncResponseStream, FrameEvents};
#[cfg(feature = "tokio")]
pub use async_server::{AsyncLegacyConnection, AsyncRequest, AsyncServer};
pub use client_connection::{ClientConnection, ClientConnectionError, ClientEvent, RequestHead, RequestId};
pub use connection::{
    Connection, ConnectionConfig, ConnectionError, ConnectionEvent, Reclassify, Request, WaitingFor,
};
#[cfg(feature = "host")]
pub use frame_client::{
    DEFAULT_ANSWER_LIMIT, FrameClient, FrameClientError, MAX_WAITING_EVENT_BYTES, ResponseStream,
};
#[cfg(feature = "host")]
pub use identity_file::{
    IdentityFileError, MAX_IDENTITY_FILE_BYTES, check_daemon_identity_path, read_daemon_identity_file,
    remove_daemon_identity_file, try_read_daemon_identity_file, try_remove_daemon_identity_file,
    write_daemon_identity_file,
};
pub use mux::{BackendEndpointMux, LegacyClassification, MuxError, MuxPoll, MuxPollRef};
pub use output::Output;
pub use payload::Payload;
#[cfg(feature = "tokio")]
pub use reconnecting_client::{NoDaemon, Reconnect, ReconnectError, ReconnectingClient};
#[cfg(feature = "host")]
pub use request_options::RequestOptions;
#[cfg(feature = "host")]
pub use server::{
    Callback, Cancellation, HandlerError, IncomingRequest, LegacyConnection, NotAuthorized,
    OVER_CAPACITY_CONNECTIONS, PeerCredentials, Server, ServerConfig, ServerError, ServerRequest,
    ServerStats, ServerStop, ServerTrouble,
};
pub use server_connection::{Call, CallId, CancelReason, SendEventError, ServerConnection, ServerEvent};

#[cfg(feature = "host")]
pub use crate::sys::OnTermination;
#[cfg(feature = "host")]
pub use crate::transport::{
    BindError, ConnectError, DirectoryFault, InheritedFault, LocalListener, LocalStream, LockFault,
    NameError, NotPassed, StopSignal,
};
