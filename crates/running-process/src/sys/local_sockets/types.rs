//! A socket that listens, and its owners, as the kernel tells them.

use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::sys::ProcessHandle;
use crate::sys::process::{process_image, started_at};

/// A Unix-domain socket on which some process can accept connections, as the kernel told at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListeningSocket {
    /// The name to which the socket was bound.
    pub name: SocketName,
    /// The inode of the socket itself, as in `/proc/PID/fd`. The file at its path has another one.
    pub inode: u64,
    /// The user who made the socket; `None` if the kernel does not tell.
    pub uid: Option<u32>,
    /// The connections that wait to be accepted; `None` if the kernel does not tell.
    pub queue: Option<AcceptQueue>,
    /// The processes that were found to have the socket, by their pids. A child that was forked and a process that got the
    /// descriptor have it as well. There may be none: a descriptor in a message that no process has read.
    pub owners: Vec<ProcessDescription>,
    /// Every process that can have the socket was looked at, so there are no other owners. A thread with descriptors of its
    /// own (`CLONE_FILES` in unshare(2)) is not looked at.
    ///
    /// It is `false` if the descriptors of some process cannot be read, as those of other users, if `/proc` may hide processes
    /// (`hidepid`, a pid namespace), or if the deadline passed before.
    pub has_all_owners: bool,
    /// The file that `bind` made; `None` if the kernel does not tell, or if there is none.
    pub(super) file: Option<BoundFile>,
}

/// The name to which a Unix-domain socket is bound (unix(7)).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SocketName {
    /// The path as it was given to `bind`. A relative one starts at a directory of that time, which the kernel does not keep.
    Path(PathBuf),
    /// The bytes of an abstract name, without the NUL before them.
    Abstract(Vec<u8>),
    /// No name.
    Unnamed,
}

/// The connections to a listening socket that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptQueue {
    /// The number of connections that wait.
    pub waiting: u32,
    /// The largest number that may wait: the `backlog` of `listen`.
    pub limit: u32,
}

/// A process as the operating system describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessDescription {
    /// The pid.
    pub pid: u32,
    /// The executable that runs; `None` if this user may not know.
    pub program: Option<PathBuf>,
    /// The time at which the process started; `None` if this user may not know.
    pub started_at: Option<SystemTime>,
}

/// The file of a socket, as the kernel numbers it.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BoundFile {
    /// In the form of `st_dev`.
    pub(super) device: u64,
    /// The lower half of the inode.
    pub(super) inode: u32,
}

/// No value of this type exists: no socket is listed.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BoundFile {}

impl fmt::Display for SocketName {
    /// Writes a path, or an abstract name after an `@`, which also stands for each NUL in it. Bytes that are not UTF-8 are
    /// replaced by `\u{fffd}`. Control characters stay.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(formatter),
            Self::Abstract(name) => {
                write!(formatter, "@{}", String::from_utf8_lossy(name).replace('\0', "@"))
            }
            Self::Unnamed => formatter.write_str("(no name)"),
        }
    }
}

impl ProcessDescription {
    /// Describes the process of a handle. If it has exited by then, nothing but its pid is known.
    pub(crate) fn of(process: &ProcessHandle) -> Self {
        Self {
            pid: process.pid(),
            program: process_image(process).ok(),
            started_at: process.start_time().ok().and_then(started_at),
        }
    }
}

/// Returns a socket without its owners.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn unowned(
    name: SocketName,
    inode: u64,
    uid: Option<u32>,
    queue: Option<AcceptQueue>,
    file: Option<BoundFile>,
) -> ListeningSocket {
    ListeningSocket { name, inode, uid, queue, owners: Vec::new(), has_all_owners: false, file }
}
