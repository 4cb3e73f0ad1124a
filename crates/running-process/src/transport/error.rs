//! Why a name could not be connected to, or not be owned.

use std::io;

/// A name that cannot be an endpoint on this system, found before the system is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("the endpoint name is empty")]
    Empty,
    /// The name contains a NUL character, or on Unix its last part is not the name of a file.
    #[error("{name:?} cannot be the name of a local endpoint")]
    Invalid {
        /// The name as given.
        name: String,
    },
    /// A pipe name that already carries `\\.\pipe\`, which is added when the pipe is opened.
    #[error(r"{name:?} already carries the prefix \\.\pipe\, give the bare pipe name")]
    AlreadyPrefixed {
        /// The name as given.
        name: String,
    },
    /// The system has no room for a name of this length.
    ///
    /// # Platform-specific behavior
    ///
    /// `max` is 107 bytes on Linux and 103 on macOS and FreeBSD (`sun_path` in unix(7) and unix(4), less the NUL),
    /// and 247 UTF-16 units on Windows (`CreateNamedPipeW`: 256 characters with the prefix).
    #[error(
        "the endpoint name has length {length}, the limit here is {max}: use a shorter directory or name"
    )]
    TooLong {
        /// Length of the name: bytes on Unix, UTF-16 units on Windows.
        length: usize,
        /// The longest name possible, in the same unit.
        max: usize,
    },
}

/// Why [`LocalStream::connect`](super::LocalStream::connect) has no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No endpoint can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing has this name.
    #[error("there is no endpoint at {path}")]
    NotFound {
        /// The name as given.
        path: String,
    },
    /// A socket stands there and nobody listens on it: its daemon has ended.
    ///
    /// # Platform-specific behavior
    ///
    /// macOS and FreeBSD also say this for a full backlog. Windows never says it: a pipe vanishes with its daemon.
    #[error("nobody listens at {path}")]
    Refused {
        /// The name as given.
        path: String,
    },
    /// The daemon lives and has more connections waiting than it accepts. Trying again later is sensible.
    #[error("the backlog of {path} is full")]
    BacklogFull {
        /// The name as given.
        path: String,
    },
    /// Something that is not a stream socket stands there.
    #[error("{path} is not a stream socket")]
    NotASocket {
        /// The name as given.
        path: String,
    },
    /// This user may not connect.
    #[error("no permission to connect to {path}")]
    PermissionDenied {
        /// The name as given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// This process cannot make local sockets at all, for example because a sandbox denies them.
    #[error("local sockets are not available to this process")]
    Unavailable {
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot connect to {path}")]
    Io {
        /// The name as given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why [`LocalListener::bind`](super::LocalListener::bind) does not own the name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No endpoint can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Another process owns the name: it holds the lock, or somebody answers.
    #[error("{path} is in use")]
    InUse {
        /// The name as given.
        path: String,
    },
    /// Something that is not a stream socket stands at the name. It was left alone.
    #[error("{path} exists and is not a stream socket")]
    NotASocket {
        /// The name as given.
        path: String,
    },
    /// Something that is not a regular file stands at the name of the lock file. It was left alone.
    #[error("the lock {path} exists and is not a regular file")]
    NotALock {
        /// The name of the lock file.
        path: String,
    },
    /// The directory of the socket does not exist.
    #[error("the directory of {path} does not exist")]
    NoDirectory {
        /// The name as given.
        path: String,
    },
    /// This user may not make the endpoint there.
    #[error("no permission to listen at {path}")]
    PermissionDenied {
        /// The name as given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// This process cannot make local sockets at all, for example because a sandbox denies them.
    #[error("local sockets are not available to this process")]
    Unavailable {
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen at {path}")]
    Io {
        /// The name as given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}
