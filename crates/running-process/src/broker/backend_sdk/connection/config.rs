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
    /// From the first byte of a later message until it is complete. Default: 30 s.
    pub message: Duration,
    /// Without a byte in either direction, between messages. Default: none; a client may keep a connection for later.
    pub idle: Option<Duration>,
    /// How long a complete frame waits for a detector that wants more bytes before it is taken as a frame.
    /// Default: 50 ms, which no sender of a header in pieces comes near on a local socket.
    pub undecided_frame: Duration,
    /// Whether frames of another envelope version, an unknown kind or an encoding that this side cannot decode end the
    /// connection. Default: yes.
    pub strict: bool,
    /// When the legacy detector is asked again. Default: never.
    pub reclassify: Reclassify,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            first_message: Duration::from_secs(10),
            message: Duration::from_secs(30),
            idle: None,
            undecided_frame: Duration::from_millis(50),
            strict: true,
            reclassify: Reclassify::Never,
        }
    }
}
