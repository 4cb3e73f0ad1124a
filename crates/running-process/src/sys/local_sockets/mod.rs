//! The Unix-domain sockets on which processes of this machine listen.

#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "linux.rs"]
mod imp;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "unsupported.rs"]
mod imp;
mod types;

pub use types::{AcceptQueue, ListeningSocket, ProcessDescription, SocketName};

use std::io;
use std::path::Path;
use std::time::Instant;

impl ListeningSocket {
    /// Returns whether the path of the socket, as this process looks it up, leads to it: then a connection to the path is one to this
    /// socket. It returns `None` where [`is_reachable`](Self::is_reachable) does for the file's sake.
    #[must_use]
    pub fn is_at_its_path(&self) -> Option<bool> {
        match &self.name {
            SocketName::Path(path) => imp::is_at(path, self.file?),
            _ => self.is_reachable(),
        }
    }

    /// Returns the file that `bind` made.
    pub(crate) fn file(&self) -> SocketFile {
        SocketFile(self.file)
    }

    /// Returns whether the path of the socket leads to it, as this process or one of its owners looks the path up.
    ///
    /// It returns `None` if that cannot be told: the path is relative, or an owner looks it up where this user may not, or the
    /// file system shows other numbers than the kernel has (btrfs, overlayfs), or the kernel does not tell which file `bind`
    /// made. An abstract name always leads to its socket. No process can connect to a socket to which no path leads.
    #[must_use]
    pub fn is_reachable(&self) -> Option<bool> {
        match &self.name {
            SocketName::Path(path) => {
                let found = imp::is_reachable(path, self.file?, &self.owners);
                found.filter(|is_reachable| *is_reachable || self.has_all_owners)
            }
            SocketName::Abstract(_) => Some(true),
            SocketName::Unnamed => Some(false),
        }
    }

    /// Returns [`is_reachable`](Self::is_reachable) as far as this process and the owners that were found look the path up. An
    /// ordinary user cannot find owners of other users, which usually there are none of.
    #[must_use]
    pub fn is_reachable_here(&self) -> Option<bool> {
        match &self.name {
            SocketName::Path(path) => imp::is_reachable(path, self.file?, &self.owners),
            _ => self.is_reachable(),
        }
    }
}

/// The file of a socket, if the kernel tells it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketFile(Option<types::BoundFile>);

impl SocketFile {
    /// Returns whether `path`, which is absolute, certainly leads to the file, as this process looks it up.
    pub(crate) fn is_at(self, path: &Path) -> bool {
        self.0.is_some_and(|file| imp::is_at(path, file) == Some(true))
    }
}

/// Returns the Unix-domain sockets of this process's network namespace that listen, by their names, with their owners as far
/// as they are found before `deadline`.
///
/// The list is no snapshot: sockets that begin or cease to listen meanwhile may be in it or not. All descriptors of all
/// processes are looked at once, which takes up to a second of a processor for a hundred thousand of them; the memory depends
/// on the sockets that listen and their owners alone.
///
/// # Platform-specific behavior
///
/// Linux: `NETLINK_SOCK_DIAG` (`sock_diag(7)`), or `/proc/net/unix` where a sandbox or kernel does without. The latter
/// tells neither user nor queue nor file, and a name with a line feed in it can look like further sockets. Owners are found
/// in `/proc`. No other system is supported.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] on other systems; otherwise the error of reading the list.
pub fn listening_sockets(deadline: Instant) -> io::Result<Vec<ListeningSocket>> {
    let mut sockets = imp::listening_sockets()?;
    imp::find_owners(&mut sockets, deadline);
    sockets.sort_by(|one, other| (&one.name, one.inode).cmp(&(&other.name, other.inode)));
    Ok(sockets)
}
