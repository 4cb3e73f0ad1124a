//! Reasons why an identity file is not read or written.

#[cfg(unix)]
use crate::transport::DirectoryFault;
use std::io;

/// Largest identity file that is read, in bytes. A usual one has about 1.5 KiB, plus the lengths of its two paths.
pub const MAX_IDENTITY_FILE_BYTES: usize = 64 * 1024;

/// The reason why an identity file is not read or written. It is the inner error of the [`io::Error`] that
/// [`try_read_daemon_identity_file`](super::try_read_daemon_identity_file) returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityFileError {
    /// The path leads to a directory, a FIFO, a device, a socket or a symbolic link, which is not followed.
    #[error("not a regular file")]
    NotARegularFile,
    /// Another user owns the file. A file of root is read, and not replaced.
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
    /// Users other than the owner can replace the file.
    #[error("in a directory of mode {mode:03o}, which lets other users replace it; make it 700")]
    DirectoryWritableByOthers {
        /// The permission bits.
        mode: u32,
    },
    /// This process cannot tell whether its own user owns the file and the directory: its user namespace does not map that
    /// user, so all users have one number (Linux).
    #[error("users cannot be told apart in this user namespace, which shows all of them as {uid}")]
    UnmappedUser {
        /// The number that the kernel shows for every user without a number of its own.
        uid: u32,
    },
    /// The file is larger than an identity can be.
    #[error("larger than {MAX_IDENTITY_FILE_BYTES} bytes")]
    TooLarge,
    /// The content is not an identity of any generation.
    #[error("not an identity")]
    Malformed(#[from] serde_json::Error),
    /// The file belongs to another daemon, at another endpoint, that runs, or may run in another pid namespace.
    #[error(
        "it belongs to the daemon of process {pid} at {endpoint:?}; stop that one, or choose another file"
    )]
    InUse {
        /// The process of that daemon.
        pid: u32,
        /// The endpoint at which that daemon listens.
        endpoint: String,
    },
    /// The path is that of the daemon's own socket, or of the lock beside it.
    #[error("it is the path of the endpoint's socket or lock; choose another file")]
    EndpointItself,
    /// Other processes write the file again and again.
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
