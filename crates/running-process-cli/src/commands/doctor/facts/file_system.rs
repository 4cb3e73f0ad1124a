//! The file system of a directory.

use std::path::{Path, PathBuf};

/// Facts about a file system.
#[derive(Debug)]
pub(crate) struct FileSystem {
    /// The nearest directory that exists.
    pub(crate) directory: PathBuf,
    pub(crate) is_read_only: bool,
    /// No block or no inode is left for this user.
    pub(crate) is_full: bool,
    /// Its name, if it is of a kind without sockets.
    pub(crate) without_sockets: Option<&'static str>,
}

/// Returns the file system of `directory`, or of the nearest one above it that exists.
#[cfg(unix)]
pub(super) fn of(directory: &Path) -> Option<FileSystem> {
    use rustix::fs::{StatVfsMountFlags, statvfs};
    /// Blocks that a start writes at least: one each for the history, the log and the identity file.
    const BLOCKS: u64 = 3;
    let (directory, found) =
        directory.ancestors().find_map(|directory| Some((directory, statvfs(directory).ok()?)))?;
    let is_root = rustix::process::geteuid().is_root();
    let blocks = if is_root { found.f_bfree } else { found.f_bavail };
    let inodes = if is_root { found.f_ffree } else { found.f_favail };
    Some(FileSystem {
        directory: directory.to_owned(),
        is_read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
        // Some file systems count neither blocks nor inodes.
        is_full: (found.f_blocks > 0 && blocks < BLOCKS) || (found.f_files > 0 && inodes < BLOCKS),
        without_sockets: without_sockets(directory),
    })
}

/// Returns the name of the kind of file system, if that has no sockets.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn without_sockets(directory: &Path) -> Option<&'static str> {
    /// The numbers in `statfs(2)`.
    const KINDS: [(i64, &str); 5] = [
        (0x4d44, "vfat"),
        (0x2011_bab0, "exfat"),
        (0x0102_1997, "9p, as drvfs of WSL"),
        (0xff53_4d42, "cifs"),
        (0xfe53_4d42, "smb"),
    ];
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the type differs between systems")]
    let kind = rustix::fs::statfs(directory).ok()?.f_type as i64;
    KINDS.into_iter().find_map(|(number, name)| (number == kind).then_some(name))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn without_sockets(_: &Path) -> Option<&'static str> {
    None
}

#[cfg(not(unix))]
pub(super) fn of(_: &Path) -> Option<FileSystem> {
    None
}
