//! The situations in which the crowd comes.

/// A situation in which the crowd comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Situation {
    /// Nothing runs.
    Cold,
    /// The daemon was killed, and has cleaned up nothing.
    Stale,
    /// A client that gives up too early is starting the daemon.
    Starting,
    /// The daemon is being stopped.
    Stopping,
}

impl Situation {
    pub(super) const ALL: [Self; 4] = [Self::Cold, Self::Stale, Self::Starting, Self::Stopping];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Stale => "stale",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
        }
    }
}
