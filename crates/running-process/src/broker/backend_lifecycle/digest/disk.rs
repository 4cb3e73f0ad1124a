//! The cache on disk: a fixed number of small files in a private directory.
//!
//! A directory that is not private to this user is left as it is and not used. An entry counts only if it is complete
//! and of this boot: it carries the boot's id, its key and a checksum. Nothing here waits, follows a link below the
//! base, or reads more than one entry's length.

use super::entry::Entry;
use super::key::FileKey;
use crate::broker::backend_lifecycle::identity::{ExeDigest, ExeDigests};
use crate::sys;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Name of the directory below the base, which has the directory of the entries in it; both are private to the user.
const OUTER: &str = "running-process";
const INNER: &str = "digests";

/// Magic number of an entry. Another layout, or another rule, gets another number.
const MAGIC: &[u8; 8] = b"rpdigst4";
const DIGEST: usize = size_of::<ExeDigest>();
/// Length of the part that must match: magic, boot, key.
const NAMED: usize = MAGIC.len() + size_of::<u64>() + FileKey::BYTES;
/// Length of the part before the checksum: the matching part, the offset of the wall clock, SHA-256, BLAKE3. A digest that is
/// not known is zeros.
const CHECKED: usize = NAMED + size_of::<i64>() + 2 * DIGEST;
/// Length of an entry; the last part is the [`checksum`] of the rest.
const ENTRY: usize = CHECKED + size_of::<u64>();

/// Age at which a temporary file belongs to a process that died.
const ABANDONED: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct DiskCache {
    base: PathBuf,
}

impl DiskCache {
    /// Returns the cache of this user: below `$XDG_CACHE_HOME` if that is an absolute path, else below `.cache` in
    /// `$HOME`.
    ///
    /// Returns `None` without either, and for a program that runs with another user's rights than its caller's, who
    /// chose the environment.
    pub(super) fn of_user() -> Option<Self> {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        if acts_for_another((getuid(), geteuid()), (getgid(), getegid())) {
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

    /// Returns the entry for `key` of this boot.
    pub(super) fn read(&self, key: &FileKey) -> Option<Entry> {
        let owner = own_user()?;
        let directory = self.directory(owner, false)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, slot(key), flags, Mode::empty()).ok()?;
        let found = rustix::fs::fstat(&file).ok()?;
        let whole = u64::try_from(found.st_size) == Ok(ENTRY as u64);
        if !whole || !is_private(&found, FileType::RegularFile, owner) {
            return None;
        }
        let mut entry = [0; ENTRY];
        File::from(file).read_exact(&mut entry).ok()?;
        decode(&entry, boot()?, key)
    }

    /// Writes an entry over any other in its slot. Ignores errors.
    pub(super) fn write(&self, entry: &Entry) {
        let slot = slot(&entry.key);
        let Some(entry) = boot().map(|boot| encode(boot, entry)) else { return };
        let Some(directory) = own_user().and_then(|owner| self.directory(owner, true)) else { return };
        let unfinished = format!("{slot}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&directory, &unfinished, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file,
            Err(Errno::EXIST) => return remove_abandoned(&directory, &unfinished),
            Err(_) => return,
        };
        // Not forced to the disk: a file damaged by a crash of the machine fails its checksum.
        let written = File::from(file).write_all(&entry).is_ok()
            && rustix::fs::renameat(&directory, &unfinished, &directory, &slot).is_ok();
        if !written {
            let _best_effort = rustix::fs::unlinkat(&directory, &unfinished, AtFlags::empty());
        }
    }

    /// Checks the owner of the base directory: root with the `HOME` of a user would leave there what that user could
    /// not use.
    fn check_base(&self, owner: Uid) -> Option<()> {
        let base = match rustix::fs::stat(&self.base) {
            Err(Errno::NOENT) => rustix::fs::stat(self.base.parent()?),
            base => base,
        };
        may_be_in(Uid::from_raw(base.ok()?.st_uid), owner).then_some(())
    }

    /// Opens the directory of the entries, if it is private to `owner`.
    fn directory(&self, owner: Uid, create: bool) -> Option<OwnedFd> {
        let outer = self.base.join(OUTER);
        if create {
            self.check_base(owner)?;
            make(rustix::fs::mkdir(&self.base, Mode::RWXU))?;
            make(rustix::fs::mkdir(&outer, Mode::RWXU))?;
        }
        let outer = open_private(CWD, &outer, owner)?;
        if create {
            make(rustix::fs::mkdirat(&outer, INNER, Mode::RWXU))?;
        }
        open_private(outer.as_fd(), Path::new(INNER), owner)
    }
}

/// Returns whether a process with these real and effective users and groups has other rights than its caller.
fn acts_for_another(user: (Uid, Uid), group: (Gid, Gid)) -> bool {
    user.0 != user.1 || group.0 != group.1
}

/// Returns the user of this process; `None` if it cannot be told from others.
fn own_user() -> Option<Uid> {
    sys::own_user().ok().map(Uid::from_raw)
}

/// Returns whether a cache of `owner` may be in a directory of this user.
fn may_be_in(directory: Uid, owner: Uid) -> bool {
    directory == owner || directory == Uid::ROOT
}

/// Returns `Some` if a directory was made or something of its name exists.
fn make(made: rustix::io::Result<()>) -> Option<()> {
    matches!(made, Ok(()) | Err(Errno::EXIST)).then_some(())
}

/// Opens a directory that is private to `owner`, without following a link.
fn open_private(beside: BorrowedFd<'_>, path: &Path, owner: Uid) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(beside, path, flags, Mode::empty()).ok()?;
    is_private(&rustix::fs::fstat(&directory).ok()?, FileType::Directory, owner).then_some(directory)
}

/// Returns whether a file is of this type, belongs to `owner`, and allows nothing to other users.
fn is_private(found: &Stat, file_type: FileType, owner: Uid) -> bool {
    FileType::from_raw_mode(found.st_mode) == file_type
        && found.st_uid == owner.as_raw()
        && (Mode::from_raw_mode(found.st_mode) & (Mode::RWXG | Mode::RWXO)).is_empty()
}

/// Removes the temporary file of a process that died while it wrote. If the writer is alive after all, it fails to
/// finish, or finishes another writer's file early; the checksum then fails.
fn remove_abandoned(directory: &OwnedFd, unfinished: &str) {
    let Ok(found) = rustix::fs::statat(directory, unfinished, AtFlags::SYMLINK_NOFOLLOW) else { return };
    let Ok(seconds) = u64::try_from(found.st_mtime) else { return };
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    if SystemTime::now().duration_since(written).is_ok_and(|age| age >= ABANDONED) {
        let _best_effort = rustix::fs::unlinkat(directory, unfinished, AtFlags::empty());
    }
}

/// Returns the name of the file for `key`: one of 256, so that the directory stays small.
fn slot(key: &FileKey) -> String {
    format!("{:02x}", checksum(&key.to_bytes()) & 0xff)
}

/// Returns the FNV-1a of `bytes`, against accidents: a program that can write here can act as this user anyway. The
/// digests would query the features of the processor, which on a virtual machine costs more than everything else here.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Returns a number for the current boot. The boot id has 122 random bits, so its checksum is distinct enough.
fn boot() -> Option<u64> {
    sys::boot_id().ok().map(|id| checksum(id.as_bytes()))
}

/// Returns the bytes that an entry for `key` must begin with.
fn name(boot: u64, key: &FileKey) -> [u8; NAMED] {
    let mut name = [0; NAMED];
    name.copy_from_slice(&[&MAGIC[..], &boot.to_le_bytes(), &key.to_bytes()].concat());
    name
}

fn encode(boot: u64, Entry { key, offset, digests }: &Entry) -> [u8; ENTRY] {
    let known = |digest: Option<&ExeDigest>| digest.copied().unwrap_or_default();
    let (sha256, blake3) = (known(digests.sha256()), known(digests.blake3()));
    let parts = [&name(boot, key)[..], &offset.to_le_bytes(), &sha256, &blake3];
    let mut entry = [0; ENTRY];
    let (checked, sum) = entry.split_at_mut(CHECKED);
    checked.copy_from_slice(&parts.concat());
    sum.copy_from_slice(&checksum(checked).to_le_bytes());
    entry
}

fn decode(entry: &[u8; ENTRY], boot: u64, key: &FileKey) -> Option<Entry> {
    let (content, sum) = entry.split_at(CHECKED);
    if checksum(content).to_le_bytes() != sum {
        return None;
    }
    let (offset, digests) = content.strip_prefix(&name(boot, key))?.split_first_chunk()?;
    let (sha256, blake3) = digests.split_at(DIGEST);
    let digests = ExeDigests::from_known(Some(sha256.try_into().ok()?), Some(blake3.try_into().ok()?))?;
    Some(Entry { key: *key, offset: i64::from_le_bytes(*offset), digests })
}

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
