//! The limits of a connection.

use crate::broker::backend_sdk::config::config;
use crate::broker::protocol::EncodingPolicy;
use std::time::Duration;

/// The messages for which the legacy detector is asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reclassify {
    /// A connection stays framed after its first frame for the daemon, whatever later frames look like. Probes do not
    /// decide: a client may prove the daemon and then speak the legacy wire on the same connection.
    #[default]
    Never,
    /// Every message is classified anew: for a daemon whose clients change wires on one connection.
    EveryMessage,
}

config! {
    /// Limits and timeouts of a [`Connection`](super::Connection).
    ///
    /// ```
    /// use running_process::broker::backend_sdk::ConnectionConfig;
    /// use std::time::Duration;
    ///
    /// let config = ConnectionConfig::default().max_in_flight(8).message_timeout(Duration::from_secs(5));
    /// assert_eq!(config.max_in_flight, 8);
    /// ```
    pub struct ConnectionConfig {
        /// Time from accepting the connection until its first message is complete. Default: 10 s.
        pub first_message_timeout: Duration = Duration::from_secs(10),
        /// Largest message, header included, of a peer that is not known to be served, in bytes. Default: 1 MiB.
        ///
        /// A server asks its rule of authorization before it ends a connection for this: a peer that it serves may send
        /// any message that fits a frame, and any other peer may not, whatever came before. A
        /// [`Connection`](super::Connection) alone takes any message once a frame for the daemon has come. A probe changes
        /// nothing.
        pub first_message_bytes: usize = 1024 * 1024,
        /// Time from the answer to a probe until something else arrives, while the wire is undecided. Default: 5 min.
        pub probed_timeout: Duration = Duration::from_mins(5),
        /// Time from the first byte of a later message until it is complete. Default: 30 s.
        pub message_timeout: Duration = Duration::from_secs(30),
        /// Time without a byte in either direction, between messages. Default: none; a client may keep a connection for later.
        pub idle_timeout: Option<Duration> = None,
        /// Requests of one connection that are served at once. Further ones wait in the buffer; once that is full, the
        /// connection is not read. A [`Connection`](super::Connection) alone does not count them. Default: 64.
        pub max_in_flight: usize = 64,
        /// Time that a complete frame waits for a detector that wants more bytes, before it is taken as a frame.
        /// Default: 50 ms, much longer than a sender of a header in pieces takes on a local socket.
        pub undecided_frame_timeout: Duration = Duration::from_millis(50),
        /// Payload encodings that are decoded, and used for answers to clients that decode them. A request is decoded
        /// before the daemon sees it, also without [`strict`](Self#structfield.strict). Default: all that are compiled in.
        pub encodings: EncodingPolicy = EncodingPolicy::default(),
        /// Ends the connection at a frame of another envelope version or an unknown kind, and refuses a request in an encoding
        /// that this side cannot decode. Default: yes.
        pub strict: bool = true,
        /// Most descriptors that are taken with one frame, at most
        /// [`MAX_FRAME_DESCRIPTORS`](crate::broker::protocol::MAX_FRAME_DESCRIPTORS); 0 is none. A client that asks is told the number, and a frame with more
        /// ends the connection. A [`Connection`](super::Connection) takes none before
        /// [`accept_descriptors`](super::Connection::accept_descriptors), which the drivers of this library call on Unix. Default: 16.
        pub max_frame_descriptors: usize = 16,
        /// Most descriptors of one connection that wait for their requests to be taken, and at least those of one frame. While another
        /// frame's do not fit, the connection is not read; a peer that sends more ends it. Default: 64.
        pub max_descriptors: usize = 64,
        /// The messages for which the legacy detector is asked again. Default: none.
        pub reclassify: Reclassify = Reclassify::Never,
    }
}
