use super::super::connection::{ConnectionConfig, ConnectionError};
use super::HandlerError;
use std::io;
use std::time::Duration;

/// Limits and deadlines of a [`Server`](super::Server).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Connections at once; one more is closed as soon as it is accepted. Default: 1024, each with a thread.
    pub max_connections: usize,
    /// What each connection demands of its peer.
    pub connection: ConnectionConfig,
    /// How long a peer may take to read what is written to it at once. Default: 30 s.
    pub write: Duration,
    /// How long connections at work are waited for once the server is stopped. Default: 5 s.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            connection: ConnectionConfig::default(),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Why a connection did not end well. The others go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerTrouble {
    /// As many connections as allowed were open, so this one was closed.
    #[error("{max_connections} connections are open, one more was closed")]
    TooManyConnections {
        /// [`ServerConfig::max_connections`].
        max_connections: usize,
    },
    /// A connection could not be accepted, or not be given a thread.
    #[error("a connection could not be accepted")]
    Accept(#[source] io::Error),
    /// The peer broke the rules or was too slow.
    #[error("a connection was ended")]
    Connection(#[from] ConnectionError),
    /// The peer is gone, or did not read in time.
    #[error("a connection failed")]
    Stream(#[from] io::Error),
    /// The peer speaks the legacy wire and there is no handler for it.
    #[error("a connection speaks the legacy wire, which this server does not")]
    LegacyNotServed,
    /// A handler returned an error instead of a response.
    #[error("the handler of payload protocol 0x{payload_protocol:04X} failed")]
    Handler {
        /// The protocol of the request.
        payload_protocol: u32,
        /// What the handler returned.
        source: HandlerError,
    },
    /// A handler panicked; its message went to the panic hook.
    #[error("a handler panicked")]
    HandlerPanicked,
}
