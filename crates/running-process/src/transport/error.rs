//! Reasons why a name could not be connected to, or not be owned. Names are quoted in the messages, since others choose them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::sys::NotPassed;

/// Returns the error of every call whose deadline has passed.
pub(crate) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the deadline has passed")
}

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
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No endpoint can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing has this name.
    #[error("there is no endpoint at {path:?}")]
    NotFound {
        /// The name as given.
        path: String,
    },
    /// A socket stands there and nobody listens on it: its daemon has ended.
    ///
    /// # Platform-specific behavior
    ///
    /// macOS and FreeBSD also say this for a full backlog. Windows never says it: a pipe vanishes with its daemon.
    #[error("nobody listens at {path:?}")]
    Refused {
        /// The name as given.
        path: String,
    },
    /// The daemon lives and has more connections waiting than it accepts. Trying again later is sensible.
    #[error("the backlog of {path:?} is full")]
    BacklogFull {
        /// The name as given.
        path: String,
    },
    /// Something that is not a stream socket stands there.
    #[error("{path:?} is not a stream socket")]
    NotASocket {
        /// The name as given.
        path: String,
    },
    /// This user may not connect.
    #[error("no permission to connect to {path:?}")]
    PermissionDenied {
        /// The name as given.
        path: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// This process cannot make local sockets at all, for example because a sandbox denies them.
    #[error("local sockets are not available to this process")]
    Unavailable {
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Anything else.
    #[error("cannot connect to {path:?}")]
    Io {
        /// The name as given.
        path: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// Why [`LocalListener::bind`](super::LocalListener::bind) does not own the name, or
/// [`LocalListener::inherited`](super::LocalListener::inherited) does not have the socket.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No endpoint can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Another process owns the name: it holds the lock, or somebody answers.
    #[error("{path:?} is in use")]
    InUse {
        /// The name as given.
        path: String,
    },
    /// The process that owned the name has ended, and one that it forked, and that runs no other program, still has its lock
    /// or its socket. That one may be a daemon that detached itself after it had bound; else it is to be ended.
    #[error(
        "the process that owned {path:?} has ended, but {}, which it forked, keeps its lock: end that one",
        process(*pid)
    )]
    HeldByChild {
        /// The name as given.
        path: String,
        /// The forked process, where the system tells (Linux, of this user's processes).
        pid: Option<u32>,
    },
    /// Other users could put another socket in the place of this one. Nothing was made.
    #[error("the directory of {path:?} {fault}")]
    Directory {
        /// The name as given.
        path: String,
        /// The fault of the directory.
        fault: DirectoryFault,
    },
    /// The lock file is there and cannot be used. It was left alone.
    #[error("the lock {path:?} {fault}")]
    Lock {
        /// The name of the lock file.
        path: String,
        /// The fault of the lock file.
        fault: LockFault,
    },
    /// Something that is not a stream socket stands at the name. It was left alone.
    #[error("{path:?} exists and is not a stream socket")]
    NotASocket {
        /// The name as given.
        path: String,
    },
    /// Something that is not a regular file stands at the name of the lock file. It was left alone.
    #[error("the lock {path:?} exists and is not a regular file")]
    NotALock {
        /// The name of the lock file.
        path: String,
    },
    /// The directory of the socket does not exist.
    #[error("the directory of {path:?} does not exist")]
    NoDirectory {
        /// The name as given.
        path: String,
    },
    /// This user may not make the endpoint there.
    #[error("no permission to listen at {path:?}")]
    PermissionDenied {
        /// The name as given.
        path: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// This process cannot make local sockets at all, for example because a sandbox denies them.
    #[error("local sockets are not available to this process")]
    Unavailable {
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// No service manager passed a socket to this process.
    #[error("no service manager passed a socket for {path:?} to this process")]
    NotInherited {
        /// The name as given.
        path: String,
        /// What is missing or wrong.
        source: NotPassed,
    },
    /// The service manager passed sockets, and they listen elsewhere. Its configuration or this daemon's is to be
    /// changed.
    #[error("the service manager listens at {}, not at {path:?}", listed(passed))]
    InheritedElsewhere {
        /// The name as given.
        path: String,
        /// Where those that were passed listen, in their order.
        passed: Vec<PathBuf>,
    },
    /// What the service manager passed is nothing to accept connections from.
    #[error("descriptor {descriptor}, passed for {path:?}, {fault}")]
    InheritedUnusable {
        /// The name as given.
        path: String,
        /// The number of the descriptor.
        descriptor: i32,
        /// What it is instead.
        fault: InheritedFault,
    },
    /// The socket was passed, and this process has taken it before: each has one owner, for good.
    #[error("the socket that was passed for {path:?} has been taken already")]
    AlreadyInherited {
        /// The name as given.
        path: String,
    },
    /// A named pipe cannot be passed from a service manager to a daemon.
    #[error("{path:?} is a named pipe, which cannot be inherited: the daemon must make it")]
    NotInheritable {
        /// The name as given.
        path: String,
    },
    /// Anything else.
    #[error("cannot listen at {path:?}")]
    Io {
        /// The name as given.
        path: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// The reason why a directory is not one in which only its user puts files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryFault {
    /// Neither this user nor root owns it.
    #[error("belongs to user {owner}, not to this user or root")]
    ForeignOwner {
        /// The user id of the owner.
        owner: u32,
    },
    /// This process cannot tell: in its user namespace, which does not map its user, all users have one number (Linux).
    #[error(
        "has an owner that cannot be told: this user namespace shows every user as {uid}, this one included"
    )]
    UnmappedUser {
        /// The number that the kernel shows for every user without one.
        uid: u32,
    },
    /// Users other than the owner can replace what is in it.
    #[error("has mode {mode:03o}, which lets other users replace what is in it; make it 700")]
    WritableByOthers {
        /// The permission bits.
        mode: u32,
    },
}

/// The reason why a lock file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockFault {
    /// Another user owns it, who could hold its lock for ever. A run as root leaves such a file.
    #[error("belongs to user {owner}, not to this user; if no daemon of that user runs, remove it")]
    ForeignOwner {
        /// The user id of the owner.
        owner: u32,
    },
    /// This process cannot tell: in its user namespace, which does not map its user, all users have one number (Linux).
    #[error(
        "has an owner that cannot be told: this user namespace shows every user as {uid}, this one included"
    )]
    UnmappedUser {
        /// The number that the kernel shows for every user without one.
        uid: u32,
    },
    /// This user owns it and cannot open it.
    #[error("has mode {mode:03o} and cannot be opened; make it 600")]
    Unusable {
        /// The permission bits.
        mode: u32,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"))
}

/// What a descriptor is that should be a listening Unix-domain stream socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InheritedFault {
    /// There is no such descriptor.
    #[error("is not open")]
    NotOpen,
    /// It is close-on-exec, so this process opened it, or code of this process has taken it from the service manager.
    #[error("is close-on-exec: other code of this process owns it")]
    CloseOnExec,
    /// A file, a pipe or the like.
    #[error("is not a socket")]
    NotASocket,
    /// A socket of another family, such as TCP.
    #[error("is not a Unix-domain socket")]
    NotLocal,
    /// A socket for datagrams or packets.
    #[error("is not a stream socket")]
    NotAStream,
    /// A connection, or a socket that was bound only. macOS does not tell: there accepting fails.
    #[error("does not listen")]
    NotListening,
    /// A socket without a path, such as one in the abstract namespace of Linux.
    #[error("has no path")]
    NoPath,
}

#[expect(clippy::unnecessary_debug_formatting, reason = "quotes what others chose")]
fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| format!("{path:?}")).collect();
    paths.join(", ")
}
