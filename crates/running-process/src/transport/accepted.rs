//! The outcome of waiting for a connection.

use std::io;

/// An event that a listener waits for; `S` is the type of a connection.
#[derive(Debug)]
pub(crate) enum Accepted<S> {
    Connection(S),
    /// The name does not lead to this listener any more.
    #[cfg_attr(windows, allow(dead_code, reason = "a pipe has its name for as long as it exists"))]
    NameLost,
    /// The signal to stop was given, which only the blocking listener waits for.
    Stopped,
}

impl<S> Accepted<S> {
    /// Converts a connection by `convert`.
    pub(super) fn map<T>(self, convert: impl FnOnce(S) -> T) -> Accepted<T> {
        match self {
            Self::Connection(stream) => Accepted::Connection(convert(stream)),
            Self::NameLost => Accepted::NameLost,
            Self::Stopped => Accepted::Stopped,
        }
    }
}

/// Returns the error for an accepted connection that cannot be used, such as one whose peer is gone already. Its kind says
/// nothing of the listener, whatever `error` would say of one.
pub(super) fn unprepared(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}
