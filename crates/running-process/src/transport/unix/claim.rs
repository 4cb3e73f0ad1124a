//! A listening socket with, unless it was inherited, its name and the lock beside it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrUnix, bind, listen, shutdown};

use super::super::error::{BindError, ConnectError, NameError};
use super::super::instance_lock::{HeldLock, InstanceLock};
use super::bind_error::{ListenError, bind_error};
use super::directory::{Directory, FileIdentity, bits, mode_of, type_of};
use super::lock::{self, OWNER_ONLY};
use super::shared_socket::SharedSocket;
use super::socket::{BACKLOG, new_socket};
use super::stream::Stream;
use super::watch::{self, Watch};
use super::{inherited, name};
use crate::sys::{LockHolder, PeerError, PidfdPolicy, own_user};

/// A listening socket. It owns its name for as long as this value lives, unless another process made the socket.
#[derive(Debug)]
pub(super) struct Claim {
    socket: Arc<OwnedFd>,
    path: PathBuf,
    /// `None` if the name is the service manager's, which keeps the socket and passes it again.
    name: Option<OwnedName>,
    /// The place of the service whose daemon serves a service manager's socket.
    passed: Option<PassedName>,
}

/// The name of a service manager's socket, which the daemon of a service serves under the service's lock.
#[derive(Debug)]
struct PassedName {
    /// Identity of the socket's file when the socket was passed.
    identity: FileIdentity,
    /// Released by its last owner.
    lock: Mutex<Option<HeldLock>>,
}

/// The name of a socket that this process made, or got from the daemon before it, under the lock.
#[derive(Debug)]
struct OwnedName {
    directory: Directory,
    name: OsString,
    /// Identity of the socket's file; the kernel holds the inode while the socket is bound.
    identity: FileIdentity,
    shared: SharedSocket,
    /// Released by its last owner.
    lock: Mutex<Option<HeldLock>>,
}

impl Claim {
    /// Takes the name under the [lock](take_beside) beside it.
    pub(super) fn new(path: &str) -> Result<Self, BindError> {
        Self::under(path, take_beside)
    }

    /// Takes the name under a lock that this process holds.
    pub(super) fn locked(path: &str, lock: HeldLock) -> Result<Self, BindError> {
        Self::under(path, |_, _, _| Ok(lock))
    }

    fn under(
        path: &str,
        lock: impl FnOnce(&Directory, &OsStr, &str) -> Result<HeldLock, BindError>,
    ) -> Result<Self, BindError> {
        name::address(path)?;
        // The working directory may change before a client connects or the socket is removed.
        let path = &*absolute(path)?;
        let address = name::address(path)?;
        let (directory, name) = lock::checked_directory(Path::new(path), path)?;
        // A lock is made beside the name, and stays: there is none where no socket can be.
        socket_at(&directory, &name, path)?;
        let lock = lock(&directory, &name, path)?;
        remove_stale(&directory, &name, path)?;
        let (socket, identity) =
            listen_at(&address, &directory, &name).map_err(|error| bind_error(path, error))?;
        Ok(Self::owning(socket, path, directory, name, identity, lock))
    }

    /// Takes the socket at `path` that the daemon before this process has passed, with the lock. It has the file `file` there.
    pub(super) fn from_handover(
        path: &str,
        socket: OwnedFd,
        file: FileIdentity,
        lock: HeldLock,
    ) -> Result<Self, BindError> {
        name::address(path)?;
        let (directory, name) = lock::checked_directory(Path::new(path), path)?;
        let found = directory.look_at(&name).map_err(|error| bind_error(path, error))?;
        let is_its_file = found.is_some_and(|found| FileIdentity::of(&found) == file);
        let listens = inherited::listens_at(socket.as_fd(), Path::new(path));
        if is_its_file && listens.map_err(|error| bind_error(path, error))? {
            return Ok(Self::owning(socket, path, directory, name, file, lock));
        }
        Err(BindError::OtherSocket { path: path.to_owned() })
    }

    fn owning(
        socket: OwnedFd,
        path: &str,
        directory: Directory,
        name: OsString,
        identity: FileIdentity,
        lock: HeldLock,
    ) -> Self {
        let (socket, path) = (Arc::new(socket), PathBuf::from(path));
        let shared = SharedSocket::new(&socket, &path, identity);
        let name = Some(OwnedName { directory, name, identity, shared, lock: Mutex::new(Some(lock)) });
        Self { socket, path, name, passed: None }
    }

    /// Takes the socket at `path` that a service manager passed to this process.
    pub(super) fn inherited(path: &str) -> Result<Self, BindError> {
        let socket = Arc::new(inherited::take(path)?);
        Ok(Self { socket, path: PathBuf::from(path), name: None, passed: None })
    }

    /// Serves `socket`, which a service manager passed and which listens at `path`, under the lock of a service. The system names
    /// this process as the listener from now on.
    pub(super) fn passed(path: &str, socket: OwnedFd, lock: HeldLock) -> Result<Self, BindError> {
        let Some(identity) = watch::find(Path::new(path)) else {
            return Err(BindError::PassedSocketLost { path: path.to_owned() });
        };
        listen(&socket, BACKLOG).map_err(|error| bind_error(path, error))?;
        let passed = Some(PassedName { identity, lock: Mutex::new(Some(lock)) });
        Ok(Self { socket: Arc::new(socket), path: PathBuf::from(path), name: None, passed })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Returns whether the connections that wait are another process's: the socket is a service manager's, or that of the
    /// daemon before this one or after it.
    pub(super) fn is_of_another(&self) -> bool {
        self.name.as_ref().is_none_or(|name| !name.is_owner())
    }

    /// Returns whether the daemon before this process can still take the socket back.
    pub(super) fn is_borrowed(&self) -> bool {
        self.name.as_ref().and_then(OwnedName::lock).is_some_and(|lock| lock.is_borrowed())
    }

    /// Returns the socket for other threads; `None` if it is a service manager's.
    pub(super) fn shared_socket(&self) -> Option<SharedSocket> {
        self.name.as_ref().map(|name| name.shared.clone())
    }

    /// Removes the listener's own socket if it is still the one at the path, while the lock is held and the socket open, and
    /// refuses further connections. Those that wait can still be accepted. Leaves a socket alone that is inherited or another
    /// daemon's.
    ///
    /// Only Linux refuses a connection on its way here, by a process that found the socket before it was removed. Elsewhere
    /// that one waits until it is accepted or the socket is closed.
    pub(super) fn close(&self) {
        let Some(name) = self.name.as_ref().filter(|name| name.is_owner()) else { return };
        name.remove();
        if cfg!(any(target_os = "linux", target_os = "android")) {
            let _ = shutdown(&self.socket, Shutdown::Read);
        }
    }

    /// [Closes](Self::close) the socket, resets the connections that wait, and gives the lock up.
    ///
    /// Closing the descriptors alone would not end listening and the lock. A child that another thread is about to start has
    /// copies of both until it runs its program, and a child that runs none keeps them.
    pub(super) fn end(&self) {
        if let Some(passed) = &self.passed {
            passed.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let Some(name) = self.name.as_ref().filter(|name| name.is_owner()) else { return };
        self.close();
        // Some systems cannot shut a listening socket down; there it ends with its last descriptor.
        let _ = shutdown(&self.socket, Shutdown::Both);
        drop(name.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Watches the name, unless it is a service manager's socket that is not visible from here. With `service`, also the
    /// directory of the lock.
    pub(super) fn watch(&self, service: bool) -> io::Result<Option<Watch>> {
        let (identity, lock) = match (&self.name, &self.passed) {
            (Some(name), _) => (name.identity, name.lock().filter(|_| service)),
            (None, Some(passed)) => (passed.identity, passed.lock().filter(|_| service)),
            (None, None) => match watch::find(&self.path) {
                Some(identity) => (identity, None),
                None => return Ok(None),
            },
        };
        Watch::new(self.path.clone(), identity, lock).map(Some)
    }

    /// Takes the lock and the name again if the lock file or the socket was removed. Returns whether one of them was, and the former
    /// socket if it has lost its name: nobody can connect to it, and connections may wait there.
    ///
    /// # Errors
    ///
    /// Another process has the lock or the name, or it cannot be taken, as that of a service manager's socket. Nothing has changed
    /// then, except perhaps the lock.
    pub(super) fn publish_again(&mut self) -> Result<(bool, Option<Arc<OwnedFd>>), BindError> {
        if let Some(passed) = &self.passed {
            return passed.renew_lock(&self.path).map(|renewed| (renewed, None));
        }
        let Some(owned) = self.name.as_mut().filter(|name| name.is_owner()) else { return Ok((false, None)) };
        let Some(lock) = owned.lock() else { return Ok((false, None)) };
        let renewed = lock.renew()?;
        if watch::find(&self.path) == Some(owned.identity) {
            return Ok((renewed, None));
        }
        let path = self.path.to_string_lossy();
        let (directory, name) = lock::checked_directory(&self.path, &path)?;
        remove_stale(&directory, &name, &path)?;
        let (socket, identity) =
            listen_at(&name::address(&path)?, &directory, &name).map_err(|error| bind_error(&path, error))?;
        // If its directory was moved, the former socket is there.
        owned.remove();
        (owned.directory, owned.identity) = (directory, identity);
        let former = std::mem::replace(&mut self.socket, Arc::new(socket));
        owned.shared.change(&self.socket, identity);
        let _ = shutdown(&former, Shutdown::Read);
        Ok((true, Some(former)))
    }
}

impl PassedName {
    /// Returns the lock, unless it was given up.
    fn lock(&self) -> Option<HeldLock> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the lock again if its file was removed, and returns whether it was. Only the service manager can make its socket again.
    fn renew_lock(&self, path: &Path) -> Result<bool, BindError> {
        let Some(lock) = self.lock() else { return Ok(false) };
        let renewed = lock.renew()?;
        if watch::find(path) == Some(self.identity) {
            return Ok(renewed);
        }
        Err(BindError::PassedSocketLost { path: path.to_string_lossy().into_owned() })
    }
}

impl OwnedName {
    /// Returns the lock, unless it was given up.
    fn lock(&self) -> Option<HeldLock> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether this process may remove the name and end the listening.
    fn is_owner(&self) -> bool {
        self.lock().is_none_or(|lock| lock.is_owner())
    }

    /// Removes the socket if it is still the one at the path.
    fn remove(&self) {
        // If it cannot be removed it stays as a stale socket, which the next owner replaces.
        let _ = self.directory.remove_same(&self.name, self.identity);
    }
}

/// An inherited socket goes on listening for the daemon's successor.
impl Drop for Claim {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes the lock on the file `NAME.lock` in the directory of the socket `path`, which is absolute.
fn take_beside(directory: &Directory, name: &OsStr, path: &str) -> Result<HeldLock, BindError> {
    let lock_path = format!("{path}.lock");
    let mut lock_name = OsString::from(name);
    lock_name.push(".lock");
    let open = || lock::open(directory, &lock_name, path, &lock_path);
    let taken = InstanceLock::take_opened(Path::new(&lock_path), open)?;
    taken.map(HeldLock::new).ok_or_else(|| match InstanceLock::holder(Path::new(&lock_path)) {
        Ok(Some(LockHolder::Inherited { pids })) => {
            BindError::HeldByChild { path: path.to_owned(), pid: pids.first().copied() }
        }
        _ => BindError::InUse { path: path.to_owned() },
    })
}

fn absolute(path: &str) -> Result<String, BindError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| BindError::Io { path: path.to_owned(), source: Arc::new(error) })?
        .into_os_string()
        .into_string();
    absolute.map_err(|path| NameError::Invalid { name: path.to_string_lossy().into_owned() }.into())
}

/// Returns whether the file at `path` is a socket on which no process listens.
pub(crate) fn is_stale_socket(path: &Path) -> bool {
    let is_socket = || path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket());
    is_socket()
        && path
            .to_str()
            .is_some_and(|path| Stream::connect(path).is_err_and(|error| shows_no_listener(&error)))
}

/// Removes the socket at `path` if no process listens there. The caller holds the lock that decides who may.
///
/// # Errors
///
/// A process listens there, or the file is not a stream socket: it was left alone. Or it cannot be removed.
pub(crate) fn remove_stale_socket(path: &Path) -> Result<(), BindError> {
    let shown = &*path.to_string_lossy();
    let (directory, name) = lock::checked_directory(path, shown)?;
    remove_stale(&directory, &name, shown)
}

/// Returns the socket at the name, if a file is there; fails if that is none.
fn socket_at(directory: &Directory, name: &OsStr, path: &str) -> Result<Option<Stat>, BindError> {
    let found = directory.look_at(name).map_err(|error| bind_error(path, error))?;
    match found {
        Some(found) if type_of(&found) != FileType::Socket => {
            Err(BindError::NotASocket { path: path.to_owned() })
        }
        found => Ok(found),
    }
}

/// Removes a socket on which no process listens. Anything else is an error, and is left alone.
///
/// The name is missing until the next socket is bound. No daemon listens meanwhile, and none can start to while the
/// lock is held. Binding under another name and renaming would leave the kernel with that other name for good.
fn remove_stale(directory: &Directory, name: &OsString, path: &str) -> Result<(), BindError> {
    let Some(found) = socket_at(directory, name, path)? else { return Ok(()) };
    // A daemon that does not use the lock may listen here.
    match Stream::connect(path) {
        Err(error) if shows_no_listener(&error) => {}
        Err(ConnectError::NotFound { .. }) => return Ok(()),
        Ok(stream) => {
            let path = path.to_owned();
            return Err(match stream.peer(PidfdPolicy::Use) {
                // The process that called `listen` has ended, so a child that it forked keeps the socket.
                Err(PeerError::Gone { .. }) => BindError::HeldByChild { path, pid: None },
                _ => BindError::InUse { path },
            });
        }
        Err(ConnectError::Refused { path } | ConnectError::BacklogFull { path }) => {
            return Err(BindError::InUse { path });
        }
        Err(ConnectError::NotASocket { path }) => return Err(BindError::NotASocket { path }),
        Err(ConnectError::PermissionDenied { path, source } | ConnectError::Sandboxed { path, source }) => {
            return Err(BindError::PermissionDenied { path, source });
        }
        Err(ConnectError::Name(error)) => return Err(BindError::Name(error)),
        Err(ConnectError::Unavailable { source }) => return Err(BindError::Unavailable { source }),
        Err(ConnectError::Io { path, source }) => return Err(BindError::Io { path, source }),
    }
    // A daemon that does not use the lock may be taking the name. If it has, binding fails.
    directory.remove_same(name, FileIdentity::of(&found)).map_err(|error| bind_error(path, error))
}

/// Returns whether the error of connecting to a socket shows that no process listens there. Some kernels reset the
/// connection instead of refusing it.
fn shows_no_listener(error: &ConnectError) -> bool {
    match error {
        ConnectError::Refused { .. } => true,
        ConnectError::Io { source, .. } => {
            matches!(source.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted)
        }
        _ => false,
    }
}

/// Returns a new socket that listens at `name`, which must not exist, and the identity of its file.
fn listen_at(
    address: &SocketAddrUnix,
    directory: &Directory,
    name: &OsString,
) -> Result<(OwnedFd, FileIdentity), ListenError> {
    let socket = new_socket().map_err(ListenError::Socket)?;
    // The file gets the mode of the socket when it is bound, less the umask.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    rustix::fs::fchmod(&socket, OWNER_ONLY).map_err(ListenError::Bind)?;
    bind(&socket, address).map_err(ListenError::Bind)?;
    let found = look_at_bound(directory, name).map_err(ListenError::Bind)?;
    let right = mode_of(&found) == bits(OWNER_ONLY);
    let set = if right { Ok(()) } else { set_mode(directory, name, &found) };
    // Until the socket listens every connection is refused, so no client slips in before the mode is right.
    match set.and_then(|()| listen(&socket, BACKLOG)) {
        Ok(()) => Ok((socket, FileIdentity::of(&found))),
        Err(error) => {
            let _ = directory.remove(name);
            Err(ListenError::Bind(error))
        }
    }
}

/// Returns the metadata of the socket's file, which was just bound.
fn look_at_bound(directory: &Directory, name: &OsString) -> Result<Stat, Errno> {
    match directory.look_at(name)? {
        Some(found) if type_of(&found) == FileType::Socket && own_user() == Ok(found.st_uid) => Ok(found),
        // Another file has taken the name since.
        Some(_) => Err(Errno::EXIST),
        // Another process has removed the name since, and may go on doing so.
        None => Err(Errno::NOENT),
    }
}

/// Sets the mode of the socket's file, which was just `found`. Links are not followed: the file is opened and compared
/// with `found`.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_mode(directory: &Directory, name: &OsString, found: &Stat) -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags, chmod, fstat};
    use std::os::fd::AsRawFd;
    let held = directory.open_file(name, OFlags::PATH, Mode::empty())?;
    if FileIdentity::of(&fstat(&held)?) != FileIdentity::of(found) {
        return Err(Errno::EXIST);
    }
    // No call changes the mode of the file of such a descriptor; its entry in `/proc` leads to that file.
    chmod(PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd())), OWNER_ONLY)
}

/// Sets the mode of the socket's file, without following a link.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_mode(directory: &Directory, name: &OsString, _: &Stat) -> Result<(), Errno> {
    rustix::fs::chmodat(directory, name.as_os_str(), OWNER_ONLY, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_stale_socket_may_refuse_or_reset_a_connection() {
        let failed = |errno: Errno| ConnectError::Io { path: "s".to_owned(), source: Arc::new(errno.into()) };
        assert!(shows_no_listener(&ConnectError::Refused { path: "s".to_owned() }));
        assert!(shows_no_listener(&failed(Errno::CONNRESET)));
        for other in [failed(Errno::MFILE), ConnectError::BacklogFull { path: "s".to_owned() }] {
            assert!(!shows_no_listener(&other), "{other}");
        }
    }

    #[test]
    fn a_socket_is_stale_if_no_process_listens_there() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("s");
        assert!(!is_stale_socket(&path), "there is none");
        // It refuses connections until it listens.
        let socket = new_socket().unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        assert!(is_stale_socket(&path));
        listen(&socket, 1).unwrap();
        assert!(!is_stale_socket(&path), "a process listens");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(!is_stale_socket(&path), "it is no socket");
    }

    #[test]
    fn a_file_that_takes_the_name_of_a_bound_socket_is_not_mistaken_for_it() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("s");
        let (directory, name) = Directory::of(&path).unwrap();
        let look = || look_at_bound(&directory, &name).map(|found| FileIdentity::of(&found).numbers());
        assert_eq!(look(), Err(Errno::NOENT));
        let _listener = UnixListener::bind(&path).unwrap();
        let bound = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(look(), Ok((bound.dev(), bound.ino())));
        // Only root can give it to another user.
        if std::os::unix::fs::chown(&path, Some(bound.uid() + 1), None).is_ok() {
            assert_eq!(look(), Err(Errno::EXIST));
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(look(), Err(Errno::EXIST));
    }
}
