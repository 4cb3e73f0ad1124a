//! The sockets of services on which processes of this user listen, as the kernel tells, whether a path leads there or not.

use super::deadline::Deadline;
use super::definition::Service;
use super::stop::{GRACE, Stopped};
use crate::broker::backend_handle::KILL_TIMEOUT;
use crate::broker::local_sockets::{ListeningSocket, ProcessDescription, SocketName, listening_sockets};
use crate::sys::ProcessHandle;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A socket of a service on which a process listens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceSocket {
    /// The path at which the socket was bound.
    pub path: PathBuf,
    /// The processes that have the socket: the daemon, and others that it has given a copy.
    pub owners: Vec<ProcessDescription>,
    /// The path leads to the socket, for this process or one of the owners; `None` if that cannot be told.
    pub is_reachable: Option<bool>,
    inode: u64,
}

impl ServiceSocket {
    /// Returns the sockets of this user's services in all roots.
    ///
    /// # Errors
    ///
    /// As [`listening_sockets`].
    pub fn all(deadline: Instant) -> io::Result<Vec<Self>> {
        let own = own_user();
        let sockets = listening_sockets(deadline)?.into_iter().filter_map(|socket| {
            let SocketName::Path(path) = &socket.name else { return None };
            let is_own = own.is_some() && socket.uid == own;
            (is_own && is_of_service(path)).then(|| Self::of(&socket, path))
        });
        Ok(sockets.collect())
    }

    fn of(socket: &ListeningSocket, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            owners: socket.owners.clone(),
            is_reachable: socket.is_reachable_here(),
            inode: socket.inode,
        }
    }

    /// Ends the process `pid` if it still has this socket and no path leads there: asks it to end, and kills it after 15 seconds or at
    /// the deadline. The signals go through a handle that was opened before the kernel named the process.
    ///
    /// # Errors
    ///
    /// The process has the socket no longer, a path leads there, or that cannot be told: then it is left alone. Or it cannot be ended.
    pub fn end_owner(&self, pid: u32, deadline: impl Into<Deadline>) -> io::Result<Stopped> {
        let deadline = deadline.into();
        let refused = |text: &str| io::Error::new(io::ErrorKind::NotFound, text);
        let process = ProcessHandle::open(pid)?.ok_or_else(|| refused("the process has ended"))?;
        let sockets = Self::all(deadline.within(KILL_TIMEOUT))?;
        let is_unreachable = sockets.iter().any(|socket| {
            socket.inode == self.inode
                && socket.is_reachable == Some(false)
                && socket.owners.iter().any(|owner| owner.pid == pid)
        });
        if !is_unreachable || process.has_exited()? {
            return Err(refused("it does not listen there any more, or clients can reach it"));
        }
        // A system without such a request kills at once.
        match process.terminate() {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
            Ok(()) if process.wait_exit(Some(deadline.within(GRACE)))? => return Ok(Stopped::Ended { pid }),
            _ => {}
        }
        process.kill()?;
        if process.wait_exit(Some(Instant::now() + KILL_TIMEOUT))? {
            return Ok(Stopped::Killed { pid });
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "it was killed and has not ended"))
    }
}

/// Returns whether `path` is that of a service's socket: in a directory with the name of one, or in the short one of a long path.
fn is_of_service(path: &Path) -> bool {
    let parent = |path: &Path| {
        path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).map(str::to_owned)
    };
    let Some(directory) = path.parent() else { return false };
    path.file_name().is_some_and(|name| name == "socket")
        && (parent(path).is_some_and(|name| Service::of_directory(&name).is_some())
            || parent(directory).is_some_and(|name| name.starts_with("running-process-services-")))
}

#[cfg(unix)]
fn own_user() -> Option<u32> {
    crate::sys::own_user().ok()
}

#[cfg(not(unix))]
fn own_user() -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sockets_of_services_are_told_by_their_paths() {
        for path in [
            "/r/cache/socket",
            "/r/cache.0123456789abcdef/socket",
            "/tmp/running-process-services-0/0a1b/socket",
        ] {
            assert!(is_of_service(Path::new(path)), "{path}");
        }
        for path in ["/r/cache/control", "/r/Cache/socket", "socket", "/socket", "/r/cache.1/socket"] {
            assert!(!is_of_service(Path::new(path)), "{path}");
        }
    }
}
