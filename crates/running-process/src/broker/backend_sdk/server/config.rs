use super::callback::Callback;
use super::handler::HandlerError;
use super::peer::{NotAuthorized, PeerCredentials};
use crate::broker::backend_sdk::proto::connection::{ConnectionConfig, ConnectionError};
use crate::broker::protocol::STATUS_PAYLOAD_PROTOCOL;
use std::io;
use std::time::Duration;

/// Limits and deadlines of a [`Server`](super::Server).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Connections at once. Up to [`OVER_CAPACITY_CONNECTIONS`](super::over_capacity::OVER_CAPACITY_CONNECTIONS) more are accepted and not
    /// served: their probes are answered, their requests are refused as overloaded, then they are closed, as they are when
    /// they speak the legacy wire or keep silent for a second. Further ones wait in the backlog. On threads, each connection
    /// has one. Default: 1024.
    pub max_connections: usize,
    /// What each connection demands of its peer.
    pub connection: ConnectionConfig,
    /// Requests that are served at once, over all connections; one more is refused as overloaded. While half of them are
    /// there, no connection gets a second one: its further requests wait. Requests that are answered inline do not
    /// count. Default: 1024.
    pub max_in_flight: usize,
    /// What an overloaded server tells clients to wait before they ask again. Default: 50 ms.
    pub retry_after: Duration,
    /// The memory of all connections together, in bytes: what they received, the requests that handlers work on, with
    /// payloads decoded, and the answers and events that wait to be read. It is charged before it is taken, and an answer
    /// when its handler returns. A request that no memory is left for waits for earlier ones of its connection, and is
    /// refused as overloaded if there are none; a connection that needs more for what it receives, or for an answer to be
    /// kept, is ended.
    ///
    /// The handlers' own memory does not count, and neither do payloads that the daemon shares. Each connection has up to
    /// 16 KiB to itself, and half of the rest is kept for peers that the daemon has said it serves. Default: 256 MiB.
    pub memory: usize,
    /// While so many bytes wait for a peer to read them, none of its requests is taken, none of its handlers begins, and
    /// those that send it events wait. Default: 256 KiB.
    pub enough_output: usize,
    /// How long a peer may take to read what is written to it at once. Default: 30 s.
    pub write: Duration,
    /// Time for which connections at work are waited for once the server is stopped. Then what they work on is cancelled.
    /// A peer that takes nothing of what waits to be written to it is waited for a second at most. Default: 5 s.
    pub drain: Duration,
    /// The payload protocol under which the server tells what it has counted, to whom it serves and inline, unless the
    /// daemon serves that protocol itself; `None`: it tells nobody. Default:
    /// [`STATUS_PAYLOAD_PROTOCOL`](crate::broker::protocol::STATUS_PAYLOAD_PROTOCOL).
    pub status: Option<u32>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            connection: ConnectionConfig::default(),
            max_in_flight: 1024,
            retry_after: Duration::from_millis(50),
            memory: 256 * 1024 * 1024,
            enough_output: 256 * 1024,
            write: Duration::from_secs(30),
            drain: Duration::from_secs(5),
            status: Some(STATUS_PAYLOAD_PROTOCOL),
        }
    }
}

/// Why a connection did not end well. The others go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerTrouble {
    /// As many connections as allowed were open, so this one is not served: its peer is told so.
    #[error("{max_connections} connections are open, one more is not served")]
    TooManyConnections {
        /// [`ServerConfig::max_connections`].
        max_connections: usize,
    },
    /// As many requests as allowed were being served, so this one was refused.
    #[error("{max_in_flight} requests are being served, one more was refused")]
    TooManyRequests {
        /// [`ServerConfig::max_in_flight`].
        max_in_flight: usize,
    },
    /// All connections together use as much memory as they may, so one that needs more was ended.
    #[error("a connection needs {wanted} bytes, which the budget of {budget} bytes does not leave")]
    OutOfMemory {
        /// What the connection would have used, in bytes.
        wanted: usize,
        /// [`ServerConfig::memory`].
        budget: usize,
    },
    /// The daemon does not serve this peer, whose requests are refused and whose legacy wire is closed.
    #[error("a peer is not served: {peer}")]
    NotAuthorized {
        /// Who it is.
        peer: PeerCredentials,
        /// What it is told.
        source: NotAuthorized,
    },
    /// The system can make no more threads, so a connection was closed or a request refused as overloaded. The next one is
    /// tried again.
    #[error("no thread could be made")]
    NoThread(#[source] io::Error),
    /// The socket is not at its path any more: removed, replaced or moved, for example by a cleaner of old files. The daemon goes on
    /// with the connections that it has, and no further client finds it; another daemon may start beside it. One that would rather
    /// end calls [`ServerStop::stop`](super::stop::ServerStop::stop).
    ///
    /// # Platform-specific behavior
    ///
    /// Linux, macOS and FreeBSD notice it at once and without asking, as long as the user may have another watch. A
    /// change of the directories above that of the socket is not noticed. On Windows a pipe cannot lose its name.
    #[error("the socket {path:?} was removed or replaced, so clients do not find this daemon any more")]
    EndpointLost {
        /// The path of the socket.
        path: String,
    },
    /// A connection could not be accepted.
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
    /// A handler returned an error instead of a response, or a response that does not fit a frame; the client was told.
    #[error("the handler of payload protocol 0x{payload_protocol:04X} failed")]
    Handler {
        /// The protocol of the request.
        payload_protocol: u32,
        /// What the handler returned.
        source: HandlerError,
    },
    /// A handler panicked; its message went to the panic hook, and the client was told that much.
    #[error("a handler panicked")]
    HandlerPanicked,
    /// Another closure of the daemon panicked; its message went to the panic hook. A connection whose detector panicked is
    /// ended, and one whose rule did is not served. The observer is not told that it panicked itself; that is only counted.
    #[error("{callback} panicked")]
    CallbackPanicked {
        /// The closure that panicked.
        callback: Callback,
    },
}
