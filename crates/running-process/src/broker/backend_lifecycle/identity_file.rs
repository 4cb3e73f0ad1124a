//! The identity file: where a daemon writes who it is, and clients find it.
//!
//! The file is the [`DaemonProcess`] as JSON, which every generation of published peers reads. Whoever can write it
//! decides which process a client talks to, so a reader takes it only from its own user (or root), from a regular file
//! that nobody else can write, in a directory in which nobody else can replace it, and in bounded size.

#[cfg(unix)]
mod place;
#[cfg(not(unix))]
#[path = "identity_file/unowned_place.rs"]
mod place;
mod publish;

use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::Endpoint;
#[cfg(unix)]
use crate::transport::DirectoryFault;
use place::Place;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest identity file that is read, in bytes. One is about 1.5 KiB, plus the lengths of its two paths.
pub const MAX_IDENTITY_FILE_BYTES: usize = 64 * 1024;

/// Why an identity file is not taken. It is the inner error of the [`io::Error`] that
/// [`try_read_daemon_identity_file`] returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityFileError {
    /// A directory, a FIFO, a device or a socket stands at the path, or a symbolic link, which is not followed.
    #[error("not a regular file")]
    NotARegularFile,
    /// Another user owns the file. One of root's is read, and not replaced.
    #[error("owned by user {owner}, not by this user")]
    ForeignOwner {
        /// The user id of the owner.
        owner: u32,
    },
    /// Users other than the owner can write the file.
    #[error("mode {mode:03o} lets other users write it; make it 600")]
    WritableByOthers {
        /// The permission bits.
        mode: u32,
    },
    /// Neither this user nor root owns the directory of the file.
    #[error("in a directory of user {owner}, not of this user or root")]
    ForeignDirectory {
        /// The user id of the owner.
        owner: u32,
    },
    /// Users other than the owner can put another file in the place of this one.
    #[error("in a directory of mode {mode:03o}, which lets other users replace it; make it 700")]
    DirectoryWritableByOthers {
        /// The permission bits.
        mode: u32,
    },
    /// This process cannot tell whether the file and its directory are of its own user: in its user namespace, which does
    /// not map that user, all users have one number (Linux).
    #[error("users cannot be told apart in this user namespace, which shows all of them as {uid}")]
    UnmappedUser {
        /// The number that the kernel shows for every user without one.
        uid: u32,
    },
    /// The file is larger than an identity can be.
    #[error("larger than {MAX_IDENTITY_FILE_BYTES} bytes")]
    TooLarge,
    /// The content is not an identity of any generation.
    #[error("not an identity")]
    Malformed(#[from] serde_json::Error),
    /// The file is that of another daemon, at another endpoint, which runs, or may run in another pid namespace.
    #[error(
        "it belongs to the daemon of process {pid} at {endpoint:?}; stop that one, or choose another file"
    )]
    InUse {
        /// The recorded process.
        pid: u32,
        /// The endpoint at which that daemon listens.
        endpoint: String,
    },
    /// The path is that of the daemon's own socket, or of the lock beside it.
    #[error("it is the path of the endpoint's socket or lock; choose another file")]
    EndpointItself,
    /// Other processes write the file and do not come to an end.
    #[error("other processes are writing it")]
    Busy,
}

#[cfg(unix)]
impl From<DirectoryFault> for IdentityFileError {
    fn from(fault: DirectoryFault) -> Self {
        match fault {
            DirectoryFault::ForeignOwner { owner } => Self::ForeignDirectory { owner },
            DirectoryFault::WritableByOthers { mode } => Self::DirectoryWritableByOthers { mode },
            DirectoryFault::UnmappedUser { uid } => Self::UnmappedUser { uid },
        }
    }
}

impl From<IdentityFileError> for io::Error {
    fn from(error: IdentityFileError) -> Self {
        let kind = match error {
            IdentityFileError::ForeignOwner { .. }
            | IdentityFileError::WritableByOthers { .. }
            | IdentityFileError::ForeignDirectory { .. }
            | IdentityFileError::DirectoryWritableByOthers { .. }
            | IdentityFileError::UnmappedUser { .. } => io::ErrorKind::PermissionDenied,
            IdentityFileError::InUse { .. } | IdentityFileError::Busy => io::ErrorKind::ResourceBusy,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Writes `daemon` to `path` for every generation of clients, readable by this user alone.
///
/// The file is replaced as a whole: a reader sees the old content or the new one, also after a crash of the machine. Only an
/// identity file of this user is replaced, and one of a daemon that runs at another endpoint than `daemon` is not. Files that
/// processes left which were killed while they wrote to `path` are removed.
///
/// # Errors
///
/// The directory is missing or cannot be written, or clients would not accept a file in it, or something else stands at
/// `path`, which is left alone: the error then carries an [`IdentityFileError`].
///
/// # Platform-specific behavior
///
/// On Windows ownership and access are not checked, and of two processes that write at the same moment the later one wins.
/// A file that another program has open without sharing it is replaced as soon as it is closed, within two seconds; else
/// writing fails.
pub fn write_daemon_identity_file(path: &Path, daemon: &DaemonProcess) -> io::Result<()> {
    publish::write(path, daemon)
}

/// Checks whether the identity of a daemon at `endpoint` can be written to `path`, for a daemon that wants to know before it
/// binds. Nothing is changed.
///
/// # Errors
///
/// As those of [`write_daemon_identity_file`].
pub fn check_daemon_identity_path(path: &Path, endpoint: &Endpoint) -> io::Result<()> {
    publish::check(path, endpoint)
}

/// The identity in the file at `path`, or `None` for any reason: [`try_read_daemon_identity_file`] tells which.
#[must_use]
pub fn read_daemon_identity_file(path: &Path) -> Option<DaemonProcess> {
    try_read_daemon_identity_file(path).ok().flatten()
}

/// The identity in the file at `path`, or `None` if there is no such file.
///
/// # Errors
///
/// The file cannot be opened or read, or is not to be trusted: the error then carries an [`IdentityFileError`].
///
/// # Platform-specific behavior
///
/// On Windows ownership and access are not checked; the file is as trustworthy as the directory it is in.
pub fn try_read_daemon_identity_file(path: &Path) -> io::Result<Option<DaemonProcess>> {
    let file = match Place::of(path).and_then(|place| place.open()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(None) => return Ok(None),
        Ok(Some(file)) => file,
        Err(error) => return Err(error),
    };
    let length = check_trustworthy(&file)?;
    read_from(&file, length).map(Some)
}

/// Returns the identity in `file`, whose length was `length` bytes.
fn read_from(file: &File, length: u64) -> io::Result<DaemonProcess> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    // With room left, one more read finds the end.
    let mut json = Vec::with_capacity(length.min(MAX_IDENTITY_FILE_BYTES) + 1);
    file.take(MAX_IDENTITY_FILE_BYTES as u64 + 1).read_to_end(&mut json)?;
    if json.len() > MAX_IDENTITY_FILE_BYTES {
        return Err(IdentityFileError::TooLarge.into());
    }
    // Editors put a byte order mark there, which a parser may ignore (RFC 8259, section 8.1).
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&json);
    Ok(serde_json::from_slice(json).map_err(IdentityFileError::Malformed)?)
}

/// Removes the file at `path`. A failure changes nothing for clients, who verify what they find there;
/// [`try_remove_daemon_identity_file`] tells of it.
pub fn remove_daemon_identity_file(path: &Path) {
    let _best_effort = try_remove_daemon_identity_file(path);
}

/// Removes the identity file at `path`, if there is one.
///
/// # Errors
///
/// Something stands there that cannot be removed, or that is not an identity file of this user and is left alone: the error
/// then carries an [`IdentityFileError`].
pub fn try_remove_daemon_identity_file(path: &Path) -> io::Result<()> {
    publish::remove(path, |_| true)
}

/// Removes the identity file at `path` if it still is that of `daemon`.
pub(crate) fn remove_own_identity_file(path: &Path, daemon: &DaemonProcess) -> io::Result<()> {
    publish::remove(path, |found| found == daemon)
}

/// Returns the user of this process, if it can be told from others.
#[cfg(unix)]
fn own_user() -> Result<u32, IdentityFileError> {
    crate::sys::own_user().map_err(|error| IdentityFileError::UnmappedUser { uid: error.uid })
}

/// The length of the file, in bytes, if it is one that is read.
fn check_trustworthy(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(IdentityFileError::NotARegularFile.into());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let owner = metadata.uid();
        if owner != 0 && owner != own_user()? {
            return Err(IdentityFileError::ForeignOwner { owner }.into());
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(IdentityFileError::WritableByOthers { mode }.into());
        }
    }
    Ok(metadata.len())
}
