//! Reasons why a name cannot be connected to or owned. The messages quote names, since other programs choose them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::sys::NotPassed;

/// Returns the error of every call whose deadline has passed.
pub(crate) fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the deadline has passed")
}

/// A name that cannot be an endpoint on this system. It is refused before a system call.
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
    /// The name is longer than the system allows.
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

/// The reason why [`LocalStream::connect`](super::LocalStream::connect) has no connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No endpoint can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no endpoint of this name.
    #[error("there is no endpoint at {path:?}")]
    NotFound {
        /// The name as given.
        path: String,
    },
    /// No process listens on the socket: its daemon has ended.
    ///
    /// # Platform-specific behavior
    ///
    /// macOS and FreeBSD return this for a full backlog, too. Windows never returns it: a pipe vanishes with its
    /// daemon.
    #[error("no process listens at {path:?}")]
    Refused {
        /// The name as given.
        path: String,
    },
    /// The daemon runs, and as many connections wait for it as the system allows. Try again later.
    #[error("the backlog of {path:?} is full")]
    BacklogFull {
        /// The name as given.
        path: String,
    },
    /// The file at the path is not a stream socket.
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
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The socket's mode and owner let this user connect, and the system refuses all the same: a sandbox of this process does,
    /// such as Landlock or another security module.
    #[error("a sandbox of this process forbids connecting to {path:?}, which its mode and owner allow")]
    Sandboxed {
        /// The name as given.
        path: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// This process cannot make local sockets at all, for example because a sandbox denies them.
    #[error("local sockets are not available to this process")]
    Unavailable {
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// Another error of the system.
    #[error("cannot connect to {path:?}")]
    Io {
        /// The name as given.
        path: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
}

/// The reason why [`LocalListener::bind`](super::LocalListener::bind) does not own the name, or
/// [`LocalListener::inherited`](super::LocalListener::inherited) does not have the socket.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No endpoint can have this name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Another process owns the name: it holds the lock, or accepts connections there.
    #[error("{path:?} is in use")]
    InUse {
        /// The name as given.
        path: String,
    },
    /// The owner of the name has ended, and a child that it forked and that runs no other program still has its lock or
    /// its socket. The child may be a daemon that detached itself after it had bound; otherwise end it.
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
    /// Other users could replace the socket. Nothing was created.
    #[error("the directory of {path:?} {fault}")]
    Directory {
        /// The name as given.
        path: String,
        /// The fault of the directory.
        fault: DirectoryFault,
    },
    /// The lock file exists and cannot be used. It was left alone.
    #[error("the lock {path:?} {fault}")]
    Lock {
        /// The name of the lock file.
        path: String,
        /// The fault of the lock file.
        fault: LockFault,
    },
    /// The file at the path is not a stream socket. It was left alone.
    #[error("{path:?} exists and is not a stream socket")]
    NotASocket {
        /// The name as given.
        path: String,
    },
    /// The file at the path of the lock is not a regular file. It was left alone.
    #[error("the lock {path:?} exists and is not a regular file")]
    NotALock {
        /// The name of the lock file.
        path: String,
    },
    /// The file system has no sockets: WSL's drvfs and other network file systems. Choose a directory on a local one.
    #[error("the file system of {path:?} has no sockets; choose a directory on a local file system")]
    NoSockets {
        /// The name as given.
        path: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The file system has no locks: NFS without its lock daemon, and other network file systems.
    #[error("the file system of the lock {path:?} has no locks; choose a directory on a local file system")]
    NoLocks {
        /// The name of the lock file.
        path: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// The directory of the socket does not exist, or another process removed the socket while it was made.
    #[error("the directory of {path:?} does not exist, or is being removed")]
    NoDirectory {
        /// The name as given.
        path: String,
    },
    /// This user may not make the endpoint there.
    #[error("no permission to listen at {path:?}")]
    PermissionDenied {
        /// The name as given.
        path: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// This process cannot make local sockets at all, for example because a sandbox denies them.
    #[error("local sockets are not available to this process")]
    Unavailable {
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// No service manager passed a socket to this process.
    #[error("no service manager passed a socket for {path:?} to this process")]
    NotInherited {
        /// The name as given.
        path: String,
        /// The missing or invalid part of the environment.
        source: NotPassed,
    },
    /// The service manager passed sockets that listen at other paths. Change its configuration or this daemon's.
    #[error("the service manager listens at {}, not at {path:?}", listed(passed))]
    InheritedElsewhere {
        /// The name as given.
        path: String,
        /// The paths at which the passed sockets listen, in their order.
        passed: Vec<PathBuf>,
    },
    /// The daemon that runs has passed another socket than the one at the path, which was removed or replaced meanwhile.
    #[error("the daemon that runs has passed another socket than the one at {path:?}")]
    OtherSocket {
        /// The name as given.
        path: String,
    },
    /// The socket that the service manager passed has lost its name, so no further client finds it. Restart the service manager's
    /// unit of the socket.
    #[error("the socket of the service manager is not at {path:?} any more: it was removed or replaced")]
    PassedSocketLost {
        /// The path at which it listened.
        path: String,
    },
    /// The passed descriptor cannot accept connections.
    #[error("descriptor {descriptor}, passed for {path:?}, {fault}")]
    InheritedUnusable {
        /// The name as given.
        path: String,
        /// The number of the descriptor.
        descriptor: i32,
        /// The fault of the descriptor.
        fault: InheritedFault,
    },
    /// This process has taken the passed socket before: each socket has one owner, for good.
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
    /// Another error of the system.
    #[error("{path:?} cannot be used for an endpoint")]
    Io {
        /// The name as given.
        path: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
}

/// The reason why other users could replace files in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryFault {
    /// Neither this user nor root owns it.
    #[error("belongs to user {owner}, not to this user or root")]
    ForeignOwner {
        /// The user id of the owner.
        owner: u32,
    },
    /// This process cannot tell: its user namespace does not map its user, so all users have one number (Linux).
    #[error(
        "has an owner that cannot be told: this user namespace shows every user as {uid}, this one included"
    )]
    UnmappedUser {
        /// The number that the kernel shows for every user without a number of its own.
        uid: u32,
    },
    /// Users other than the owner can replace files in it.
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
    /// Another user owns it and could hold its lock for ever. A run as root leaves such a file.
    #[error("belongs to user {owner}, not to this user; if no daemon of that user runs, remove it")]
    ForeignOwner {
        /// The user id of the owner.
        owner: u32,
    },
    /// This process cannot tell: its user namespace does not map its user, so all users have one number (Linux).
    #[error(
        "has an owner that cannot be told: this user namespace shows every user as {uid}, this one included"
    )]
    UnmappedUser {
        /// The number that the kernel shows for every user without a number of its own.
        uid: u32,
    },
    /// Another file is at its path by now, on which another process may have the lock.
    #[error("is not the file that was locked: another one has taken its place")]
    Replaced,
    /// This user owns the file and cannot open it.
    #[error("has mode {mode:03o} and cannot be opened; make it 600")]
    Unusable {
        /// The permission bits.
        mode: u32,
    },
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"))
}

/// The reason why a descriptor is not a listening Unix-domain stream socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InheritedFault {
    /// There is no such descriptor.
    #[error("is not open")]
    NotOpen,
    /// The descriptor is close-on-exec, so this process opened it, or code of this process has taken it from the
    /// service manager.
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
    /// A connection, or a socket that was only bound. macOS does not tell: there accepting fails.
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
