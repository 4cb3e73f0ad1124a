//! The sockets of services on which processes of this user listen, as the kernel tells, whether a path leads there or not.

use super::deadline::Deadline;
use super::definition::Service;
use super::stop::{GRACE, Stopped};
use crate::broker::backend_handle::KILL_TIMEOUT;
use crate::broker::local_sockets::{ListeningSocket, ProcessDescription, SocketName, listening_sockets};
use crate::sys::{ProcessHandle, SocketFile};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A socket of a service on which a process listens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceSocket {
    /// The path at which the socket was bound, as the process gave it: a relative one begins in a directory that the kernel does not keep.
    pub path: PathBuf,
    /// The processes that have the socket: the daemon, and others that it has given a copy.
    pub owners: Vec<ProcessDescription>,
    /// The path leads to the socket, for this process or one of the owners; `None` if that cannot be told.
    pub is_reachable: Option<bool>,
    inode: u64,
    file: SocketFile,
}

impl ServiceSocket {
    /// Returns the sockets of this user's services in all roots, and those that were bound by a relative path with the name of one.
    ///
    /// # Errors
    ///
    /// As [`listening_sockets`].
    pub fn all(deadline: Instant) -> io::Result<Vec<Self>> {
        Ok(Self::of_services(&listening_sockets(deadline)?, own_user()))
    }

    /// Returns those of `sockets` that are of services of the user `own`; none if that user is not known.
    fn of_services(sockets: &[ListeningSocket], own: Option<u32>) -> Vec<Self> {
        let of_service = |socket: &ListeningSocket| {
            let SocketName::Path(path) = &socket.name else { return None };
            let is_own = own.is_some() && socket.uid == own;
            (is_own && is_of_service(path)).then(|| Self::of(socket, path))
        };
        sockets.iter().filter_map(of_service).collect()
    }

    fn of(socket: &ListeningSocket, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            owners: socket.owners.clone(),
            is_reachable: socket.is_reachable_here(),
            inode: socket.inode,
            file: socket.file(),
        }
    }

    /// Returns whether a connection to `path` is one to this socket, as far as the system tells.
    ///
    /// The kernel tells the path of `bind`. If that is relative, the file at `path` tells, except on a file system that shows other
    /// numbers than the kernel has (btrfs, overlayfs).
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        self.path == path || (self.path.is_relative() && self.file.is_at(path))
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
        if !self.is_unreachable_at(&sockets, pid) || process.has_exited()? {
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

    /// Returns whether no path leads to this socket of the process `pid`, as one of `sockets` tells.
    fn is_unreachable_at(&self, sockets: &[Self], pid: u32) -> bool {
        sockets.iter().any(|socket| {
            socket.inode == self.inode
                && socket.is_reachable == Some(false)
                && socket.owners.iter().any(|owner| owner.pid == pid)
        })
    }
}

/// Returns whether `path` is that of a service's socket: in a directory with the name of one, or in the short one of a long path.
/// A relative path need not name the directory.
fn is_of_service(path: &Path) -> bool {
    let parent = |path: &Path| {
        path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).map(str::to_owned)
    };
    let Some(directory) = path.parent() else { return false };
    path.file_name().is_some_and(|name| name == "socket")
        && (path.is_relative()
            || parent(path).is_some_and(|name| Service::of_directory(&name).is_some())
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

// Without the letter of a drive the paths of these tests are relative on Windows.
#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn the_sockets_of_services_are_told_by_their_paths() {
        for path in [
            "/r/cache/socket",
            "/r/cache.0123456789abcdef/socket",
            "/tmp/running-process-services-0/0a1b/socket",
            "socket",
            "../cache/socket",
        ] {
            assert!(is_of_service(Path::new(path)), "{path}");
        }
        for path in ["/r/cache/control", "/r/Cache/socket", "control", "/socket", "/r/cache.1/socket"] {
            assert!(!is_of_service(Path::new(path)), "{path}");
        }
    }

    #[cfg(target_os = "linux")]
    mod listening {
        use super::*;
        use crate::own_process;
        use std::fs;
        use std::io::{self, Read};
        use std::os::unix::net::UnixListener;
        use std::process::{Child, Command, Stdio};
        use std::time::Duration;

        const PATH: &str = "TEST_SERVICE_SOCKET";

        fn soon() -> Instant {
            Instant::now() + Duration::from_mins(1)
        }

        fn found(path: &Path) -> ServiceSocket {
            ServiceSocket::all(soon()).unwrap().into_iter().find(|socket| socket.path == path).unwrap()
        }

        #[test]
        fn the_sockets_are_those_of_this_user_and_of_services() {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("shout").join("socket");
            fs::create_dir(path.parent().unwrap()).unwrap();
            let _listener = UnixListener::bind(&path).unwrap();
            let listed = listening_sockets(soon()).unwrap();
            let is_named = |socket: &ListeningSocket| socket.name == SocketName::Path(path.clone());
            let socket = listed.into_iter().find(is_named).unwrap();
            let (own, mut foreign, mut other) = (socket.uid, socket.clone(), socket.clone());
            foreign.uid = own.map(|uid| uid + 1);
            other.name = SocketName::Path(root.path().join("shout").join("control"));
            let paths = |own| -> Vec<_> {
                let listed = [socket.clone(), foreign.clone(), other.clone()];
                ServiceSocket::of_services(&listed, own).into_iter().map(|socket| socket.path).collect()
            };
            assert_eq!(paths(own), std::slice::from_ref(&path));
            assert_eq!(paths(None), Vec::<PathBuf>::new(), "this user is not known");
        }

        #[test]
        fn a_process_is_ended_only_for_a_socket_of_its_own_to_which_no_path_leads() {
            let owner = ProcessDescription { pid: 7, program: None, started_at: None };
            let lost = ServiceSocket {
                path: PathBuf::from("/r/shout/socket"),
                owners: vec![owner],
                is_reachable: Some(false),
                inode: 11,
                file: SocketFile::default(),
            };
            assert!(lost.is_unreachable_at(std::slice::from_ref(&lost), 7));
            assert!(!lost.is_unreachable_at(std::slice::from_ref(&lost), 8), "it is another process's");
            for is_reachable in [Some(true), None] {
                assert!(!lost.is_unreachable_at(&[ServiceSocket { is_reachable, ..lost.clone() }], 7));
            }
            assert!(!lost.is_unreachable_at(&[ServiceSocket { inode: 12, ..lost.clone() }], 7));
        }

        #[test]
        fn a_process_that_clients_can_reach_is_left_alone() {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("shout").join("socket");
            fs::create_dir(path.parent().unwrap()).unwrap();
            let mut puppet = puppet(&path, "");
            let refused = found(&path).end_owner(puppet.0.id(), soon()).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::NotFound, "{refused}");
            assert!(puppet.0.try_wait().unwrap().is_none());
        }

        #[test]
        #[ignore = "started by other tests in a process of its own"]
        fn puppet_that_listens() {
            let _listener = UnixListener::bind(std::env::var_os(PATH).unwrap()).unwrap();
            io::Write::write_all(&mut io::stderr(), b"!").unwrap();
            io::stdin().read_to_end(&mut Vec::new()).unwrap();
        }

        struct Puppet(Child);

        impl Drop for Puppet {
            fn drop(&mut self) {
                let _best_effort = self.0.kill();
                let _best_effort = self.0.wait();
            }
        }

        /// Starts a process that listens at `path`, after the commands `before` of a shell.
        fn puppet(path: &Path, before: &str) -> Puppet {
            let mut command = Command::new("sh");
            command
                .args(["-c", &format!("{before} exec \"$@\""), "sh"])
                .arg(std::env::current_exe().unwrap());
            command.args(own_process::arguments(puppet_that_listens)).env(PATH, path);
            let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
            let mut puppet = Puppet(child.unwrap());
            puppet.0.stderr.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            puppet
        }

        #[test]
        fn a_process_that_no_client_can_reach_is_asked_to_end_and_killed_if_it_does_not() {
            for (before, is_killed) in [("", false), ("trap '' TERM;", true)] {
                let root = tempfile::tempdir().unwrap();
                let path = root.path().join("shout").join("socket");
                fs::create_dir(path.parent().unwrap()).unwrap();
                let mut puppet = puppet(&path, before);
                fs::remove_file(&path).unwrap();
                let pid = puppet.0.id();
                let lost = found(&path);
                let timeout = Duration::from_secs(if is_killed { 3 } else { 60 });
                let stopped = lost.end_owner(pid, Instant::now() + timeout).unwrap();
                let expected = if is_killed { Stopped::Killed { pid } } else { Stopped::Ended { pid } };
                assert_eq!(stopped, expected);
                puppet.0.wait().unwrap();
                lost.end_owner(pid, soon()).unwrap_err();
            }
        }
    }
}
