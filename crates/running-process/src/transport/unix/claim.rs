//! A listening socket with, unless it was inherited, its name and the lock beside it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrUnix, bind, listen, shutdown};

use super::super::error::{BindError, ConnectError, NameError};
use super::bind_error::{ListenError, bind_error};
use super::directory::{Directory, FileIdentity, bits, mode_of, type_of};
use super::lock::{self, OWNER_ONLY};
use super::socket::new_socket;
use super::stream::Stream;
use super::watch::{self, Watch};
use super::{inherited, name};
use crate::sys::{PeerError, PidfdPolicy, own_user};

/// Number of connections that may wait to be accepted. The system reduces it to its own limit.
const BACKLOG: i32 = 4096;

/// A listening socket. It owns its name for as long as this value lives, unless another process made the socket.
#[derive(Debug)]
pub(super) struct Claim {
    socket: OwnedFd,
    path: PathBuf,
    /// `None` if the name is the service manager's, which keeps the socket and passes it again.
    name: Option<OwnedName>,
}

/// The name of a socket that this process made, under the [lock](lock::take) beside it.
#[derive(Debug)]
struct OwnedName {
    directory: Directory,
    name: OsString,
    /// Identity of the socket's file; the kernel holds the inode while the socket is bound.
    identity: FileIdentity,
    lock: File,
}

impl Claim {
    pub(super) fn new(path: &str) -> Result<Self, BindError> {
        name::address(path)?;
        // The working directory may change before a client connects or the socket is removed.
        let path = &*absolute(path)?;
        let address = name::address(path)?;
        let (directory, name) = Directory::of(Path::new(path)).map_err(|error| bind_error(path, error))?;
        match directory.check() {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return Err(BindError::Directory { path: path.to_owned(), fault }),
            Err(error) => return Err(BindError::Io { path: path.to_owned(), source: Arc::new(error) }),
        }
        let lock = lock::take(&directory, &name, path)?;
        remove_stale(&directory, &name, path)?;
        let (socket, identity) =
            listen_at(&address, &directory, &name).map_err(|error| bind_error(path, error))?;
        let name = Some(OwnedName { directory, name, identity, lock });
        Ok(Self { socket, path: PathBuf::from(path), name })
    }

    /// Takes the socket at `path` that a service manager passed to this process.
    pub(super) fn inherited(path: &str) -> Result<Self, BindError> {
        Ok(Self { socket: inherited::take(path)?, path: PathBuf::from(path), name: None })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Watches the name, unless it is a service manager's socket that is not visible from here.
    pub(super) fn watch(&self) -> Option<Watch> {
        let identity = match &self.name {
            Some(name) => name.identity,
            None => watch::find(&self.path)?,
        };
        Watch::new(self.path.clone(), identity)
    }
}

/// Removes the listener's own socket if it is still the one at the path, while the lock is held and the socket open. An
/// inherited socket goes on listening for the daemon's successor.
///
/// Closing alone would not end listening and the lock. A child that another thread is about to start has copies of both
/// descriptors until it runs its program, and a child that runs none keeps them.
impl Drop for Claim {
    fn drop(&mut self) {
        let Some(OwnedName { directory, name, identity, lock }) = &self.name else { return };
        if matches!(directory.look_at(name), Ok(Some(found)) if FileIdentity::of(&found) == *identity) {
            // If it cannot be removed it stays as a stale socket, which the next owner replaces.
            let _ = directory.remove(name);
        }
        // Some systems cannot shut a listening socket down; there it ends with its last descriptor.
        let _ = shutdown(&self.socket, Shutdown::Both);
        // Closing the file would unlock it only if no child has a copy.
        let _ = lock.unlock();
    }
}

fn absolute(path: &str) -> Result<String, BindError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| BindError::Io { path: path.to_owned(), source: Arc::new(error) })?
        .into_os_string()
        .into_string();
    absolute.map_err(|path| NameError::Invalid { name: path.to_string_lossy().into_owned() }.into())
}

/// Removes a socket on which no process listens. Anything else is an error, and is left alone.
///
/// The name is missing until the next socket is bound. No daemon listens meanwhile, and none can start to while the
/// lock is held. Binding under another name and renaming would leave the kernel with that other name for good.
fn remove_stale(directory: &Directory, name: &OsString, path: &str) -> Result<(), BindError> {
    let look = || directory.look_at(name).map_err(|error| bind_error(path, error));
    let Some(found) = look()? else { return Ok(()) };
    if type_of(&found) != FileType::Socket {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    // A daemon that does not use the lock may listen here.
    match Stream::connect(path) {
        Err(ConnectError::Refused { .. }) => {}
        Err(ConnectError::NotFound { .. }) => return Ok(()),
        Ok(stream) => {
            let path = path.to_owned();
            return Err(match stream.peer(PidfdPolicy::Use) {
                // The process that called `listen` has ended, so a child that it forked keeps the socket.
                Err(PeerError::Gone { .. }) => BindError::HeldByChild { path, pid: None },
                _ => BindError::InUse { path },
            });
        }
        Err(ConnectError::BacklogFull { path }) => return Err(BindError::InUse { path }),
        Err(ConnectError::NotASocket { path }) => return Err(BindError::NotASocket { path }),
        Err(ConnectError::PermissionDenied { path, source }) => {
            return Err(BindError::PermissionDenied { path, source });
        }
        Err(ConnectError::Name(error)) => return Err(BindError::Name(error)),
        Err(ConnectError::Unavailable { source }) => return Err(BindError::Unavailable { source }),
        Err(ConnectError::Io { path, source }) => return Err(BindError::Io { path, source }),
    }
    match look()? {
        Some(now) if FileIdentity::of(&now) == FileIdentity::of(&found) => match directory.remove(name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(bind_error(path, error)),
        },
        // A daemon that does not use the lock is just taking the name. If it has, binding fails.
        _ => Ok(()),
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
    let found = match directory.look_at(name) {
        Ok(Some(found)) if type_of(&found) == FileType::Socket && own_user() == Ok(found.st_uid) => found,
        // Another file has taken the name since.
        Ok(_) => return Err(ListenError::Bind(Errno::EXIST)),
        Err(error) => return Err(ListenError::Bind(error)),
    };
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
