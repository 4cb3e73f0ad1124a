use crate::broker::protocol::EncodingPolicy;
use std::time::Duration;

/// When the legacy detector is asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reclassify {
    /// A connection stays framed after its first frame for the daemon, whatever later frames look like. Probes decide
    /// nothing: a client may prove the daemon and then speak the legacy wire on the same connection.
    #[default]
    Never,
    /// Every message is classified anew: for a daemon whose clients change wires on one connection.
    EveryMessage,
}

/// What a [`Connection`](super::Connection) demands of its peer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionConfig {
    /// From accepting the connection until its first message is complete. Default: 10 s.
    pub first_message: Duration,
    /// Largest message, header included, of a peer of which nothing is known, in bytes. Default: 1 MiB.
    ///
    /// A server asks its rule of authorization before it ends a connection for this: a peer that it serves may send what
    /// fits a frame, any other peer may not, whatever came before. A [`Connection`](super::Connection) alone takes any
    /// message once a frame for the daemon has come. A probe changes nothing.
    pub first_message_bytes: usize,
    /// From the answer to a probe until something else arrives, since a probe says nothing of what its sender is up to.
    /// Default: 5 min.
    pub probed: Duration,
    /// From the first byte of a later message until it is complete. Default: 30 s.
    pub message: Duration,
    /// Without a byte in either direction, between messages. Default: none; a client may keep a connection for later.
    pub idle: Option<Duration>,
    /// Requests of one connection that are served at once; the next ones wait, unread once they fill a buffer. A
    /// [`Connection`](super::Connection) alone does not count them. Default: 64.
    pub max_in_flight: usize,
    /// How long a complete frame waits for a detector that wants more bytes before it is taken as a frame.
    /// Default: 50 ms, which no sender of a header in pieces comes near on a local socket.
    pub undecided_frame: Duration,
    /// Which payload encodings are taken, and used towards clients that say they take them. What a client sends is decoded
    /// before the daemon sees it, also without [`strict`](Self::strict). Default: all that are compiled in.
    pub encodings: EncodingPolicy,
    /// Whether frames of another envelope version or an unknown kind end the connection, and requests in an encoding that
    /// this side cannot decode are refused. Default: yes.
    pub strict: bool,
    /// When the legacy detector is asked again. Default: never.
    pub reclassify: Reclassify,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            first_message: Duration::from_secs(10),
            first_message_bytes: 1024 * 1024,
            probed: Duration::from_mins(5),
            message: Duration::from_secs(30),
            idle: None,
            max_in_flight: 64,
            undecided_frame: Duration::from_millis(50),
            encodings: EncodingPolicy::default(),
            strict: true,
            reclassify: Reclassify::Never,
        }
    }
}
