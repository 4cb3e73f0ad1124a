//! The outcome of waiting for a connection.

use std::io;

/// An event that a listener waits for; `S` is the type of a connection.
#[derive(Debug)]
pub(crate) enum Accepted<S> {
    Connection(S),
    /// The name does not lead to this listener any more.
    #[cfg_attr(windows, allow(dead_code, reason = "a pipe has its name for as long as it exists"))]
    NameLost,
    /// The signal to stop was given, or the listener is closed.
    Stopped,
}

impl<S> Accepted<S> {
    /// Returns the connection that waited at a closed listener, or the end of these.
    pub(crate) fn waiting(connection: Option<S>) -> Self {
        connection.map_or(Self::Stopped, Self::Connection)
    }

    /// Converts a connection by `convert`.
    pub(super) fn map<T>(self, convert: impl FnOnce(S) -> T) -> Accepted<T> {
        match self {
            Self::Connection(stream) => Accepted::Connection(convert(stream)),
            Self::NameLost => Accepted::NameLost,
            Self::Stopped => Accepted::Stopped,
        }
    }
}

/// The outcome of publishing a listener again.
#[derive(Debug)]
pub(crate) struct Republished<S> {
    /// The lock file or the socket is another one than before. The watch is to be begun anew.
    pub(crate) renewed: bool,
    /// The connections that waited at the former socket.
    pub(crate) waiting: Vec<S>,
}

impl<S> Republished<S> {
    /// Converts the connections by `convert`.
    pub(super) fn map<T>(self, convert: impl FnMut(S) -> T) -> Republished<T> {
        Republished { renewed: self.renewed, waiting: self.waiting.into_iter().map(convert).collect() }
    }
}

/// Returns the error for an accepted connection that cannot be used, such as one whose peer is gone already. Its kind says
/// nothing of the listener, whatever `error` would say of one.
pub(super) fn unprepared(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}
