//! The cache on disk: a fixed number of small files in a private directory.
//!
//! A directory that is not this user's alone is left as it is and not used. An entry is believed only whole: it carries
//! the key that it belongs to and a checksum. Nothing here waits, follows a link below the base, or reads more than one
//! entry's length.

use super::key::FileKey;
use crate::broker::backend_lifecycle::identity::{ExeDigest, ExeDigests};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Below the base directory, each private to the user.
const DIRECTORIES: [&str; 2] = ["running-process", "digests"];

/// What an entry starts with; another layout takes another one.
const MAGIC: &[u8; 8] = b"rpdigst1";
const DIGEST: usize = size_of::<ExeDigest>();
/// Everything before the checksum: magic, key, SHA-256, BLAKE3.
const CHECKED: usize = MAGIC.len() + FileKey::BYTES + 2 * DIGEST;
/// Length of an entry; the checksum is the BLAKE3 of the rest.
const ENTRY: usize = CHECKED + DIGEST;

/// After this time a file that is still being written belongs to a process that died.
const ABANDONED: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct DiskCache {
    base: PathBuf,
}

impl DiskCache {
    /// The cache of this user: below `$XDG_CACHE_HOME` if that is an absolute path, else below `.cache` in `$HOME`.
    ///
    /// None without either, and none for a program that runs with another user's rights than its caller's, who chose
    /// the environment.
    pub(super) fn of_user() -> Option<Self> {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        if getuid() != geteuid() || getgid() != getegid() {
            return None;
        }
        let absolute = |variable| {
            let path = PathBuf::from(std::env::var_os(variable)?);
            path.is_absolute().then_some(path)
        };
        let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
        Some(Self::below(base))
    }

    pub(super) fn below(base: PathBuf) -> Self {
        Self { base }
    }

    /// The digests that were kept for `key`.
    pub(super) fn read(&self, key: &FileKey) -> Option<ExeDigests> {
        let directory = self.directory(false)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, slot(key), flags, Mode::empty()).ok()?;
        let found = rustix::fs::fstat(&file).ok()?;
        let whole = u64::try_from(found.st_size) == Ok(ENTRY as u64);
        if !whole || !is_private(&found, FileType::RegularFile) {
            return None;
        }
        let mut entry = [0; ENTRY];
        File::from(file).read_exact(&mut entry).ok()?;
        decode(&entry, key)
    }

    /// Keeps `digests` for `key`, instead of whatever was in its place. Says nothing if it could not.
    pub(super) fn write(&self, key: &FileKey, digests: &ExeDigests) {
        let Some(entry) = encode(key, digests) else { return };
        let Some(directory) = self.directory(true) else { return };
        let slot = slot(key);
        let unfinished = format!("{slot}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&directory, &unfinished, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            Err(Errno::EXIST) => return remove_abandoned(&directory, &unfinished),
            Err(_) => return,
        };
        // Not forced to the disk: what a crash of the machine leaves fails its checksum.
        let written = File::from(file).write_all(&entry).is_ok()
            && rustix::fs::renameat(&directory, &unfinished, &directory, &slot).is_ok();
        if !written {
            let _best_effort = rustix::fs::unlinkat(&directory, &unfinished, AtFlags::empty());
        }
    }

    /// The directory of the entries, held open, if it is this user's alone.
    fn directory(&self, create: bool) -> Option<OwnedFd> {
        let base = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut directory = match rustix::fs::open(&self.base, base, Mode::empty()) {
            Err(Errno::NOENT) if create => {
                make_private(None, &self.base)?;
                rustix::fs::open(&self.base, base, Mode::empty()).ok()?
            }
            directory => directory.ok()?,
        };
        for name in DIRECTORIES {
            if create {
                make_private(Some(&directory), Path::new(name))?;
            }
            directory = rustix::fs::openat(&directory, name, base | OFlags::NOFOLLOW, Mode::empty()).ok()?;
            let found = rustix::fs::fstat(&directory).ok()?;
            if !is_private(&found, FileType::Directory) {
                return None;
            }
        }
        Some(directory)
    }
}

/// Makes the directory `name`, unless something of that name is there.
fn make_private(directory: Option<&OwnedFd>, name: &Path) -> Option<()> {
    let made = match directory {
        Some(directory) => rustix::fs::mkdirat(directory, name, Mode::RWXU),
        None => rustix::fs::mkdir(name, Mode::RWXU),
    };
    matches!(made, Ok(()) | Err(Errno::EXIST)).then_some(())
}

/// Whether something is of this type and belongs to this user, and nobody else may do anything with it.
fn is_private(found: &Stat, file_type: FileType) -> bool {
    FileType::from_raw_mode(found.st_mode) == file_type
        && found.st_uid == rustix::process::geteuid().as_raw()
        && (Mode::from_raw_mode(found.st_mode) & (Mode::RWXG | Mode::RWXO)).is_empty()
}

/// Removes what a process left that died while it wrote. If the writer lives after all, it fails to finish, or finishes
/// another one's entry early: then the checksum tells.
fn remove_abandoned(directory: &OwnedFd, unfinished: &str) {
    let Ok(found) = rustix::fs::statat(directory, unfinished, AtFlags::SYMLINK_NOFOLLOW) else { return };
    let Ok(seconds) = u64::try_from(found.st_mtime) else { return };
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    if SystemTime::now().duration_since(written).is_ok_and(|age| age >= ABANDONED) {
        let _best_effort = rustix::fs::unlinkat(directory, unfinished, AtFlags::empty());
    }
}

/// The name of the one file in which an entry for `key` can be: one of 256, so that the directory stays small.
fn slot(key: &FileKey) -> String {
    format!("{:02x}", blake3::hash(&key.to_bytes()).as_bytes()[0])
}

fn encode(key: &FileKey, digests: &ExeDigests) -> Option<[u8; ENTRY]> {
    let parts = [&MAGIC[..], &key.to_bytes(), digests.sha256()?, digests.blake3()?];
    let content = parts.concat();
    let mut entry = [0; ENTRY];
    let (checked, checksum) = entry.split_at_mut(CHECKED);
    checked.copy_from_slice(&content);
    checksum.copy_from_slice(blake3::hash(&content).as_bytes());
    Some(entry)
}

fn decode(entry: &[u8; ENTRY], key: &FileKey) -> Option<ExeDigests> {
    let (content, checksum) = entry.split_at(CHECKED);
    if blake3::hash(content).as_bytes() != checksum {
        return None;
    }
    let digests = content.strip_prefix(MAGIC)?.strip_prefix(&key.to_bytes())?;
    let (sha256, blake3) = digests.split_at(DIGEST);
    Some(ExeDigests::Both { sha256: sha256.try_into().ok()?, blake3: blake3.try_into().ok()? })
}

#[cfg(test)]
mod tests;
