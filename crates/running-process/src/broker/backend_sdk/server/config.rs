//! The limits of a server, and its errors.

use super::callback::Callback;
use super::peer::{NotAuthorized, PeerCredentials};
use crate::broker::backend_sdk::config::config;
use crate::broker::backend_sdk::proto::connection::{ConnectionConfig, ConnectionError};
use crate::broker::protocol::STATUS_PAYLOAD_PROTOCOL;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

config! {
    /// Limits and timeouts of a server.
    ///
    /// ```
    /// use running_process::broker::backend_sdk::{ConnectionConfig, ServerConfig};
    /// use std::time::Duration;
    ///
    /// let config = ServerConfig::default()
    ///     .max_connections(200)
    ///     .memory_limit(64 << 20)
    ///     .drain_timeout(Duration::from_secs(30))
    ///     .connection(ConnectionConfig::default().idle_timeout(Some(Duration::from_mins(10))));
    /// assert_eq!(config.max_connections, 200);
    /// ```
    pub struct ServerConfig {
        /// Connections that are served at once. Up to [`OVER_CAPACITY_CONNECTIONS`](super::OVER_CAPACITY_CONNECTIONS) more
        /// are accepted and not served: their probes are answered, their requests are refused as overloaded, then they are
        /// closed. They are closed as well when they speak the legacy wire or keep silent for a second. Further ones wait in
        /// the backlog. Default: 1024.
        pub max_connections: usize = 1024,
        /// Limits and timeouts of each connection.
        pub connection: ConnectionConfig = ConnectionConfig::default(),
        /// Requests that are served at once, over all connections; one more is refused as overloaded. While half of them are
        /// in flight, no connection gets a second one: its further requests wait. Requests that are answered inline do not
        /// count. Default: 1024.
        pub max_in_flight: usize = 1024,
        /// Time that an overloaded server tells clients to wait before they try again. Default: 50 ms.
        pub retry_after: Duration = Duration::from_millis(50),
        /// Memory of all connections together, in bytes: received bytes, requests in flight with their payloads decoded, and
        /// answers and events that wait to be read. It is charged before it is taken, and an answer when its handler returns.
        /// A request for which no memory is left waits for earlier ones of its connection, and is refused as overloaded if
        /// there are none. A connection that needs more for its input, or for an answer, is ended.
        ///
        /// The handlers' own memory does not count, nor do payloads that the daemon shares. Each connection has up to 16 KiB to
        /// itself, and half of the rest is reserved for peers that the daemon's rule has accepted. Default: 256 MiB.
        pub memory_limit: usize = 256 * 1024 * 1024,
        /// Bytes of output that may wait for a peer to read them. While so many wait, no request of the peer is taken, no
        /// handler of it begins, and handlers that send it events wait. Default: 256 KiB.
        pub send_high_water: usize = 256 * 1024,
        /// Time that a peer has to read the output that waits for it. Default: 30 s.
        pub write_timeout: Duration = Duration::from_secs(30),
        /// Time that connections have to end once the server is stopped. Then their requests are cancelled. A peer that reads
        /// none of its output has a second at most. Default: 5 s.
        pub drain_timeout: Duration = Duration::from_secs(5),
        /// Payload protocol of status requests, which the server answers inline with its counters, to peers that it serves. The
        /// daemon may serve that protocol itself; `None` switches it off. Default:
        /// [`STATUS_PAYLOAD_PROTOCOL`](crate::broker::protocol::STATUS_PAYLOAD_PROTOCOL).
        pub status_protocol: Option<u32> = Some(STATUS_PAYLOAD_PROTOCOL),
    }
}

/// An error of one connection, or of accepting one, that the observer is told. The other connections go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// As many connections as allowed were open, so this one is not served: its peer is told so.
    #[error("{max_connections} connections are open, one more is not served")]
    TooManyConnections {
        /// The limit: [`ServerConfig::max_connections`].
        max_connections: usize,
    },
    /// As many requests as allowed were being served, so this one was refused.
    #[error("{max_in_flight} requests are being served, one more was refused")]
    TooManyRequests {
        /// The limit: [`ServerConfig::max_in_flight`].
        max_in_flight: usize,
    },
    /// All connections together use as much memory as they may, so one that needs more was ended.
    #[error("a connection needs {wanted} bytes, which the budget of {budget} bytes does not leave")]
    OutOfMemory {
        /// The memory that the connection would have used, in bytes.
        wanted: usize,
        /// The limit, in bytes: [`ServerConfig::memory_limit`].
        budget: usize,
    },
    /// The daemon does not serve this peer, whose requests are refused and whose legacy wire is closed.
    #[error("a peer is not served: {peer}")]
    NotAuthorized {
        /// The credentials of the peer.
        peer: PeerCredentials,
        /// The reason that the peer is told.
        source: NotAuthorized,
    },
    /// The system can make no more threads, so a connection was closed or a request refused as overloaded. The next one is
    /// tried again.
    #[error("no thread could be made")]
    NoThread(#[source] io::Error),
    /// The socket is not at its path any more: removed, replaced or moved, for example by a cleaner of old files. The daemon goes on
    /// with the connections that it has, and no further client finds it; another daemon may start beside it. To end the daemon instead, the observer
    /// calls [`ServerStop::stop`](super::stop::ServerStop::stop).
    ///
    /// # Platform-specific behavior
    ///
    /// Linux, macOS and FreeBSD report it at once, without polling, unless the user has no more file watches. A change of the
    /// directories above that of the socket is not noticed. On Windows a pipe cannot lose its name.
    #[error("the socket {path:?} was removed or replaced, so clients do not find this daemon any more")]
    EndpointLost {
        /// The path of the socket.
        path: String,
    },
    /// The socket of a [service](crate::broker::service) was removed or replaced, or another of its files, and the daemon has made
    /// it again. Connections that were open go on.
    #[error("files of the daemon at {path:?} were removed, and were made again")]
    Republished {
        /// The path of the socket.
        path: String,
    },
    /// The socket of a [service](crate::broker::service), or another of its files, is gone and could not be made again: another
    /// daemon may have the place. This one ends.
    #[error("the socket {path:?} is gone and cannot be made again, so this daemon ends")]
    NotRepublished {
        /// The path of the socket.
        path: String,
        /// The reason, a [`BindError`](crate::broker::backend_sdk::BindError) or an error of the system.
        source: Arc<io::Error>,
    },
    /// The path of the socket is not watched, so the daemon does not notice when the socket is removed. On Linux the user may have
    /// no more watches: see `fs.inotify.max_user_instances` in sysctl(8).
    #[error("the socket {path:?} is not watched, so this daemon does not notice if it is removed")]
    NotWatched {
        /// The path of the socket.
        path: String,
        /// The error of the system.
        source: io::Error,
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
        /// The error of the handler.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A handler panicked. Its message went to the panic hook, and the client was told that the handler panicked.
    #[error("a handler panicked")]
    HandlerPanicked,
    /// Another closure of the daemon panicked; its message went to the panic hook. A connection whose detector panicked is
    /// ended, and one whose rule panicked is not served. A panic of the observer is only counted.
    #[error("{callback} panicked")]
    CallbackPanicked {
        /// The closure that panicked.
        callback: Callback,
    },
}
