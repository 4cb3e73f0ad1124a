//! The identity file: where a daemon writes who it is, and clients find it.
//!
//! The file is the [`DaemonProcess`] as JSON, which every generation of published peers reads. Whoever can write it
//! decides which process a client talks to, so a reader takes it only from its own user (or root), from a regular file
//! that nobody else can write, in a directory in which nobody else can replace it, and in bounded size.

use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::sys;
use std::fs::File;
use std::io::{self, Read, Write};
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
    /// Neither this user nor root owns the file.
    #[error("owned by user {owner}, not by this user or root")]
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
    /// The file is larger than an identity can be.
    #[error("larger than {MAX_IDENTITY_FILE_BYTES} bytes")]
    TooLarge,
    /// The content is not an identity of any generation.
    #[error("not an identity")]
    Malformed(#[from] serde_json::Error),
}

impl From<IdentityFileError> for io::Error {
    fn from(error: IdentityFileError) -> Self {
        let kind = match error {
            IdentityFileError::ForeignOwner { .. }
            | IdentityFileError::WritableByOthers { .. }
            | IdentityFileError::ForeignDirectory { .. }
            | IdentityFileError::DirectoryWritableByOthers { .. } => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Writes `daemon` to `path` for every generation of clients, readable by this user alone.
///
/// The file is replaced as a whole: a reader sees the old content or the new one, and a symbolic link at `path` is
/// replaced, not followed.
///
/// # Errors
///
/// The directory is missing or cannot be written.
pub fn write_daemon_identity_file(path: &Path, daemon: &DaemonProcess) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(daemon)?;
    replace(path, &json)
}

/// Puts a file with `content` in the place of whatever is at `path`.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // Beside it, because renaming stays within a file system.
    let unfinished = path.with_file_name(format!(".{:016x}.new", u64::from_ne_bytes(sys::random()?)));
    let written = options.open(&unfinished)?.write_all(content);
    let replaced = written.and_then(|()| std::fs::rename(&unfinished, path));
    if replaced.is_err() {
        let _best_effort = std::fs::remove_file(&unfinished);
    }
    replaced
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
    let file = match open_without_following(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let length = usize::try_from(check_trustworthy(&file)?).unwrap_or(usize::MAX);
    // With room left, one more read finds the end.
    let mut json = Vec::with_capacity(length.min(MAX_IDENTITY_FILE_BYTES) + 1);
    file.take(MAX_IDENTITY_FILE_BYTES as u64 + 1).read_to_end(&mut json)?;
    if json.len() > MAX_IDENTITY_FILE_BYTES {
        return Err(IdentityFileError::TooLarge.into());
    }
    // Editors put a byte order mark there, which a parser may ignore (RFC 8259, section 8.1).
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&json);
    Ok(Some(serde_json::from_slice(json).map_err(IdentityFileError::Malformed)?))
}

/// Removes the file at `path`. A failure changes nothing for clients, who verify what they find there;
/// [`try_remove_daemon_identity_file`] tells of it.
pub fn remove_daemon_identity_file(path: &Path) {
    let _best_effort = try_remove_daemon_identity_file(path);
}

/// Removes the file at `path`, if there is one.
///
/// # Errors
///
/// The file is there and cannot be removed.
pub fn try_remove_daemon_identity_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Opens whatever stands at `path` itself, in a directory in which nobody else can put another file in its place; never
/// waits for the writer of a FIFO.
#[cfg(unix)]
fn open_without_following(path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    use rustix::io::Errno;
    // To look at, not to list: whoever may pass through the directory may read a file in it.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    const LOOK: OFlags = OFlags::PATH;
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    const LOOK: OFlags = OFlags::RDONLY;

    let Some(name) = path.file_name() else { return Err(IdentityFileError::NotARegularFile.into()) };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = openat(CWD, parent, LOOK | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    check_directory(&rustix::fs::fstat(&directory)?)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(&directory, name, flags, Mode::empty()) {
        Ok(file) => Ok(File::from(file)),
        // What a symbolic link gives (FreeBSD: EMLINK), and a socket.
        Err(Errno::LOOP | Errno::MLINK | Errno::NXIO) => Err(IdentityFileError::NotARegularFile.into()),
        Err(error) => Err(error.into()),
    }
}

/// In a directory with the sticky bit, such as `/tmp`, only its owner replaces a file.
#[cfg(unix)]
fn check_directory(directory: &rustix::fs::Stat) -> Result<(), IdentityFileError> {
    const STICKY: u32 = 0o1000;
    let owner = directory.st_uid;
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(IdentityFileError::ForeignDirectory { owner });
    }
    #[allow(clippy::useless_conversion, reason = "the type differs between systems")]
    let mode = u32::from(directory.st_mode) & 0o7777;
    if mode & 0o022 != 0 && mode & STICKY == 0 {
        return Err(IdentityFileError::DirectoryWritableByOthers { mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn open_without_following(path: &Path) -> io::Result<File> {
    if std::fs::symlink_metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(IdentityFileError::NotARegularFile.into())
    }
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
        if owner != 0 && owner != rustix::process::geteuid().as_raw() {
            return Err(IdentityFileError::ForeignOwner { owner }.into());
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(IdentityFileError::WritableByOthers { mode }.into());
        }
    }
    Ok(metadata.len())
}
