//! Owning a listening socket and, unless it was inherited, its name: the lock beside it, and what may be replaced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags, chmod, rename};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrUnix, bind, listen, shutdown};

use super::super::error::{BindError, ConnectError};
use super::name::{self, MAX_PATH_BYTES};
use super::{LocalStream, denies_sockets, inherited, new_socket};

/// How many connections may wait to be accepted, as asked of the system, which clips it to its own limit.
const BACKLOG: i32 = 4096;
/// Read and write for the owner: a Unix-domain socket asks for write permission to connect.
const OWNER_ONLY: u32 = 0o600;
/// Length of the name that a socket has until it replaces a stale one, where there is room.
const TEMPORARY_NAME_BYTES: usize = 12;
/// How many temporary names are tried before giving up.
const TEMPORARY_NAMES: u64 = 64;

/// A listening socket, which owns its name for as long as this value lives unless somebody else made it.
#[derive(Debug)]
pub(super) struct Claim {
    socket: OwnedFd,
    /// `None`: the name is the service manager's, which keeps the socket and passes it again.
    name: Option<OwnedName>,
}

/// The name of a socket that this process made.
///
/// Ownership is an advisory lock on the file `PATH.lock`. Whoever holds it, and nobody else, may replace or remove
/// the socket at `PATH`. The lock ends with the process, however it ends. The file stays behind for good: if it were removed,
/// one process could hold the lock on the removed file and another on its successor.
#[derive(Debug)]
struct OwnedName {
    path: PathBuf,
    identity: FileIdentity,
    lock: File,
}

/// Device and inode. The number is not reused while the socket is bound, because the kernel holds the inode.
#[derive(Debug, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { device: found.dev(), inode: found.ino() })
    }
}

impl Claim {
    pub(super) fn new(path: &str) -> Result<Self, BindError> {
        let address = name::address(path)?;
        let lock = lock(path)?;
        let socket =
            if stale_socket(path)? { replace(Path::new(path)) } else { listen_at(&address, Path::new(path)) };
        let socket = socket.map_err(|error| bind_error(path, error))?;
        let identity = FileIdentity::of(Path::new(path))
            .map_err(|source| BindError::Io { path: path.to_owned(), source })?;
        // The path may be relative and the working directory change before the socket is removed.
        let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        Ok(Self { socket, name: Some(OwnedName { path, identity, lock }) })
    }

    /// The socket at `path` that a service manager passed to this process.
    pub(super) fn inherited(path: &str) -> Result<Self, BindError> {
        Ok(Self { socket: inherited::take(path)?, name: None })
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }
}

/// Removes a socket of one's own if it is still this one, while the lock is held and the socket open. One that was
/// inherited goes on listening for the daemon's successor.
///
/// Closing alone would not end listening and the lock: a child that another thread is about to start has copies of
/// both descriptors until it runs its program, and one that runs none keeps them.
impl Drop for Claim {
    fn drop(&mut self) {
        let Some(OwnedName { path, identity, lock }) = &self.name else { return };
        if FileIdentity::of(path).is_ok_and(|found| found == *identity) {
            // If it cannot be removed it stays as a stale socket, which the next owner replaces.
            let _ = fs::remove_file(path);
        }
        // Systems that cannot shut a listening socket down say so; there it ends with its last descriptor.
        let _ = shutdown(&self.socket, Shutdown::Both);
        // Closing the file unlocks it too, if nobody has a copy.
        let _ = lock.unlock();
    }
}

fn lock(path: &str) -> Result<File, BindError> {
    let lock_path = format!("{path}.lock");
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .custom_flags(flags.bits().cast_signed())
        .open(&lock_path);
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            let something_else = fs::symlink_metadata(&lock_path).is_ok_and(|found| !found.is_file());
            return Err(if something_else {
                BindError::NotALock { path: lock_path }
            } else {
                let errno = Errno::from_io_error(&error);
                errno.map_or_else(
                    || BindError::Io { path: lock_path.clone(), source: error },
                    |errno| bind_error(path, errno),
                )
            });
        }
    };
    match file.metadata() {
        Ok(found) if found.is_file() => {}
        Ok(_) => return Err(BindError::NotALock { path: lock_path }),
        Err(source) => return Err(BindError::Io { path: lock_path, source }),
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(BindError::Io { path: lock_path, source }),
    }
}

/// Whether a socket that nobody listens on stands at `path`. `false`: nothing does. All else is an error, because it
/// belongs to somebody.
fn stale_socket(path: &str) -> Result<bool, BindError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(BindError::NotASocket { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(BindError::Io { path: path.to_owned(), source }),
    }
    // A daemon that knows nothing of the lock may listen here.
    match LocalStream::connect(path) {
        Ok(_) | Err(ConnectError::BacklogFull { .. }) => Err(BindError::InUse { path: path.to_owned() }),
        Err(ConnectError::Refused { .. }) => Ok(true),
        Err(ConnectError::NotFound { .. }) => Ok(false),
        Err(ConnectError::NotASocket { path }) => Err(BindError::NotASocket { path }),
        Err(ConnectError::PermissionDenied { path, source }) => {
            Err(BindError::PermissionDenied { path, source })
        }
        Err(ConnectError::Name(error)) => Err(BindError::Name(error)),
        Err(ConnectError::Unavailable { source }) => Err(BindError::Unavailable { source }),
        Err(ConnectError::Io { path, source }) => Err(BindError::Io { path, source }),
    }
}

enum ListenError {
    Socket(Errno),
    Bind(Errno),
}

/// A socket that listens at `path`, which must not exist.
fn listen_at(address: &SocketAddrUnix, path: &Path) -> Result<OwnedFd, ListenError> {
    let socket = new_socket().map_err(ListenError::Socket)?;
    bind(&socket, address).map_err(ListenError::Bind)?;
    // Until the socket listens every connection is refused, so nobody slips in before the mode is set.
    match chmod(path, Mode::RUSR | Mode::WUSR).and_then(|()| listen(&socket, BACKLOG)) {
        Ok(()) => Ok(socket),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(ListenError::Bind(error))
        }
    }
}

/// Puts a listening socket in the place of the one at `path`, in one step: at every moment the name exists, and
/// whoever connects reaches the old socket or the new one.
fn replace(path: &Path) -> Result<OwnedFd, ListenError> {
    let mut taken = Errno::ADDRINUSE;
    for temporary in temporary_names(path) {
        let Ok(address) = SocketAddrUnix::new(&temporary) else { continue };
        match listen_at(&address, &temporary) {
            Err(ListenError::Bind(error @ (Errno::ADDRINUSE | Errno::EXIST))) => taken = error,
            Err(error) => return Err(error),
            Ok(socket) => {
                return match rename(&temporary, path) {
                    Ok(()) => Ok(socket),
                    Err(error) => {
                        let _ = fs::remove_file(&temporary);
                        Err(ListenError::Bind(error))
                    }
                };
            }
        }
    }
    Err(ListenError::Bind(taken))
}

/// Names in the directory of `path` that fit into an address: where there is little room the name is shorter, down
/// to one character, which still fits because the name that it will replace does.
fn temporary_names(path: &Path) -> impl Iterator<Item = PathBuf> {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
    let room = MAX_PATH_BYTES.saturating_sub(directory.join("x").as_os_str().len() - 1);
    // Nothing depends on the names being hard to guess: binding refuses one that exists.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let start = since.as_secs() ^ (u64::from(since.subsec_nanos()) << 32) ^ u64::from(std::process::id());
    (0..TEMPORARY_NAMES).map(move |attempt| {
        let mut number = start.wrapping_add(attempt);
        let digits = std::iter::repeat_with(|| {
            let digit = DIGITS[usize::try_from(number % 36).unwrap_or_default()];
            number /= 36;
            char::from(digit)
        });
        directory.join(digits.take(room.clamp(1, TEMPORARY_NAME_BYTES)).collect::<String>())
    })
}

fn bind_error(path: &str, error: impl Into<ListenError>) -> BindError {
    let error = error.into();
    let path = path.to_owned();
    match error {
        ListenError::Socket(error) if denies_sockets(error) => {
            BindError::Unavailable { source: error.into() }
        }
        ListenError::Bind(error @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => {
            BindError::PermissionDenied { path, source: error.into() }
        }
        ListenError::Bind(Errno::NOENT) => BindError::NoDirectory { path },
        ListenError::Bind(Errno::ADDRINUSE | Errno::EXIST) => BindError::InUse { path },
        ListenError::Bind(error) | ListenError::Socket(error) => BindError::Io { path, source: error.into() },
    }
}

impl From<Errno> for ListenError {
    fn from(error: Errno) -> Self {
        Self::Bind(error)
    }
}
