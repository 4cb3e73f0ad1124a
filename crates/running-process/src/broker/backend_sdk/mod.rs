//! The parts of a daemon and its clients: the mux, the state machines of a connection, and their drivers.
//!
//! [`BackendEndpointMux`], [`Connection`], [`ServerConnection`] and [`ClientConnection`] are pure. With the feature `host`,
//! `ServerSession` adds the policy of a server to a `ServerConnection`. `Server` drives it on threads and `FrameClient` drives a
//! `ClientConnection`, both blocking. With the feature `tokio`, `AsyncServer` and `AsyncFrameClient` drive the same state
//! machines in tasks, and `ReconnectingClient` replaces its connection when that ends.

#[cfg(feature = "host")]
mod client;
mod config;
#[cfg(feature = "host")]
mod file_payload;
#[cfg(all(test, shuttle))]
mod model_check;
mod mux;
mod proto;
#[cfg(feature = "host")]
mod server;

#[cfg(all(feature = "fuzzing", feature = "tokio"))]
pub(crate) use client::fuzzing;
#[cfg(feature = "tokio")]
pub use client::{
    AsyncFrameClient, AsyncResponseStream, ConnectFailure, FrameEvents, ReconnectConfig, ReconnectError,
    ReconnectingClient,
};
#[cfg(feature = "host")]
pub use client::{
    DEFAULT_RESPONSE_LIMIT, FrameClient, FrameClientError, MAX_WAITING_EVENT_BYTES, Reply, RequestOptions,
    ResponseStream,
};
#[cfg(feature = "host")]
pub use file_payload::FilePayloadError;
pub use mux::{BackendEndpointMux, LegacyClassification, MuxError, MuxPoll, MuxPollRef};
pub use proto::client_connection::{
    ClientConnection, ClientConnectionError, ClientEvent, RequestHead, RequestId,
};
pub use proto::connection::{
    Connection, ConnectionConfig, ConnectionError, ConnectionEvent, Received, ReceivedRequest, Reclassify,
    WaitingFor,
};
pub use proto::descriptors::DescriptorFault;
pub use proto::payload::Payload;
pub use proto::send_buffer::SendBuffer;
pub use proto::server_connection::{
    Call, CallId, CancelReason, Cancelled, SendEventError, ServerConnection, ServerEvent,
};
#[cfg(feature = "host")]
pub use server::{
    ACCEPT_PAUSE, AcceptErrors, Action, AfterError, Answer, Callback, Cancellation, ConnectionTable,
    Dispatched, HandlerError, InlineRequest, LegacyConnection, NotAuthorized, OVER_CAPACITY_CONNECTIONS,
    PeerCredentials, Phase, Registration, RegistrationGuard, RequestParts, RunningServer, ServeError, Server,
    ServerBuilder, ServerConfig, ServerError, ServerPolicy, ServerRequest, ServerSession, ServerStats,
    ServerStop, Shutdown, ShutdownStep, Slot,
};
#[cfg(feature = "tokio")]
pub use server::{AsyncLegacyConnection, AsyncServer, AsyncServerRequest, RunningAsyncServer};
#[cfg(feature = "tokio")]
pub(in crate::broker) use server::{Backend, Connecting};
#[cfg(feature = "host")]
pub(in crate::broker) use server::{HandoverHooks, Lifecycle};

#[cfg(feature = "host")]
pub use crate::broker::backend_lifecycle::identity_file::{
    IdentityFileError, MAX_IDENTITY_FILE_BYTES, check_daemon_identity_path, read_daemon_identity_file,
    remove_daemon_identity_file, try_read_daemon_identity_file, try_remove_daemon_identity_file,
    write_daemon_identity_file,
};
#[cfg(feature = "host")]
pub use crate::sys::OnTermination;
#[cfg(feature = "host")]
pub use crate::transport::{
    BindError, ConnectError, DirectoryFault, InheritedFault, LocalListener, LocalStream, LockFault,
    NameError, NotPassed, StopSignal,
};
