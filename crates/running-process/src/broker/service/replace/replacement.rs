/// The way in which a daemon is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replacement {
    /// The daemon that runs hands its endpoint over to the next one, and serves until that does. Unix only.
    Handover,
    /// The daemon that runs ends before the next one is started: for a daemon that has what only one process may have. Clients
    /// wait meanwhile.
    StopThenStart,
}

impl Default for Replacement {
    /// Returns `Handover` where the system can pass a socket on.
    fn default() -> Self {
        if cfg!(unix) { Self::Handover } else { Self::StopThenStart }
    }
}
