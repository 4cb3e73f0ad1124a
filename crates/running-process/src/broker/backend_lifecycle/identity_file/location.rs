//! The location of an identity file, whether the file exists or not: a name in an open directory.

use super::error::IdentityFileError;
use super::owner::own_user;
use crate::broker::protocol::Endpoint;
use crate::sys;
use crate::transport::{Directory, FileIdentity, again_if_interrupted, type_of};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, linkat, renameat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pause between two attempts to lock the file.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);
/// End of the name of a temporary file: a dot, the name of the identity file, a dot, 16 hexadecimal digits, and this.
const TEMP_SUFFIX: &[u8] = b".new";

#[derive(Debug)]
pub(super) struct Location {
    path: PathBuf,
    directory: Directory,
    name: OsString,
}

impl Location {
    /// Opens the directory of `path`.
    ///
    /// # Errors
    ///
    /// There is no such directory, or other users can replace files in it.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        if path.file_name().is_none() {
            return Err(IdentityFileError::NotARegularFile.into());
        }
        let (directory, name) = Directory::of(path)?;
        directory.check()?.map_err(IdentityFileError::from)?;
        Ok(Self { path: path.to_owned(), directory, name })
    }

    /// Opens the file, if there is one, without following a link and without waiting for the writer of a FIFO.
    pub(super) fn open(&self) -> io::Result<Option<File>> {
        match self.directory.open_file(&self.name, OFlags::RDONLY, Mode::empty()) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            // The errors of a symbolic link (FreeBSD: EMLINK), and of a socket.
            Err(Errno::LOOP | Errno::MLINK | Errno::NXIO | Errno::OPNOTSUPP) => {
                Err(IdentityFileError::NotARegularFile.into())
            }
            Err(error) => Err(self.unreadable(error)),
        }
    }

    /// Returns the error for a file that cannot be opened, usually because it is another user's.
    fn unreadable(&self, error: Errno) -> io::Error {
        match self.directory.look_at(&self.name) {
            Ok(Some(found)) if type_of(&found) != FileType::RegularFile => {
                IdentityFileError::NotARegularFile.into()
            }
            Ok(Some(found)) if error == Errno::ACCESS && !own_user().is_ok_and(|own| own == found.st_uid) => {
                IdentityFileError::ForeignOwner { owner: found.st_uid }.into()
            }
            _ => error.into(),
        }
    }

    /// Checks that this user owns the file; no other user may replace it.
    #[allow(clippy::unused_self, reason = "where files have no owners nothing is checked")]
    pub(super) fn check_owner(&self, file: &Metadata) -> Result<(), IdentityFileError> {
        let owner = file.uid();
        if owner == own_user()? { Ok(()) } else { Err(IdentityFileError::ForeignOwner { owner }) }
    }

    /// Checks that this is not the location of the socket or the lock of `endpoint`, whether those exist or not.
    pub(super) fn check_apart_from(&self, endpoint: &Endpoint) -> io::Result<()> {
        let socket = Path::new(&endpoint.path);
        let Some(socket_name) = socket.file_name() else { return Ok(()) };
        let mut lock_name = socket_name.to_owned();
        lock_name.push(".lock");
        if (self.name == socket_name || self.name == lock_name)
            && let Ok((directory, _)) = Directory::of(socket)
            && FileIdentity::of(&fstat(&directory)?) == FileIdentity::of(&fstat(&self.directory)?)
        {
            return Err(IdentityFileError::EndpointItself.into());
        }
        Ok(())
    }

    /// Keeps other processes of this library from replacing or removing `file` until the result is dropped. Waits for a
    /// process that holds the lock, until `deadline`. Returns `None` if another file is at the location by then.
    pub(super) fn lock(&self, file: File, deadline: Instant) -> io::Result<Option<FileLock>> {
        loop {
            match again_if_interrupted(|| file.try_lock()) {
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(RETRY_INTERVAL);
                }
                Err(TryLockError::WouldBlock) => return Err(IdentityFileError::Busy.into()),
                // This error means a file system without locks.
                Ok(()) | Err(TryLockError::Error(_)) => break,
            }
        }
        let lock = FileLock(file);
        Ok(self.leads_to(&lock.0)?.then_some(lock))
    }

    /// Returns whether `file` is the one at the location.
    fn leads_to(&self, file: &File) -> io::Result<bool> {
        let own = FileIdentity::of(&fstat(file)?);
        Ok(self.directory.look_at(&self.name)?.is_some_and(|found| FileIdentity::of(&found) == own))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match self.directory.remove(&self.name) {
            Err(Errno::NOENT) => Ok(()),
            removed => Ok(removed?),
        }
    }

    fn temp_name(&self) -> io::Result<OsString> {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{:016x}", u64::from_ne_bytes(sys::random()?)));
        name.push(OsStr::from_bytes(TEMP_SUFFIX));
        Ok(name)
    }

    /// Returns whether `name` is that of a temporary file for this location.
    fn is_temporary(&self, name: &OsStr) -> bool {
        let digits = (|| {
            let rest = name.as_bytes().strip_prefix(b".")?.strip_prefix(self.name.as_bytes())?;
            rest.strip_prefix(b".")?.strip_suffix(TEMP_SUFFIX)
        })();
        digits.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
    }

    /// Removes temporary files of processes that were killed while they wrote: those of this user that no process has locked.
    pub(super) fn remove_abandoned(&self) {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let Ok(entries) = std::fs::read_dir(parent.unwrap_or(Path::new("."))) else { return };
        for name in entries.flatten().map(|entry| entry.file_name()) {
            if self.is_temporary(&name)
                && let Ok(file) = self.directory.open_file(&name, OFlags::RDONLY, Mode::empty())
                && file
                    .metadata()
                    .is_ok_and(|found| found.is_file() && own_user().is_ok_and(|own| own == found.uid()))
                && again_if_interrupted(|| file.try_lock()).is_ok()
            {
                let _best_effort = self.directory.remove(&name);
            }
        }
    }
}

/// A locked file.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone would not unlock it while a child that another thread starts has a copy.
        let _ = self.0.unlock();
    }
}

/// A complete identity file that is not at its location yet. It is locked, and removed when dropped.
pub(super) struct TempFile<'p> {
    location: &'p Location,
    name: OsString,
    file: File,
    published: bool,
}

impl<'p> TempFile<'p> {
    pub(super) fn write(location: &'p Location, content: &[u8]) -> io::Result<Self> {
        let name = location.temp_name()?;
        let own = Mode::RUSR | Mode::WUSR;
        // In the same directory, because renaming stays within a file system.
        let file = location.directory.open_file(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, own)?;
        let mut temporary = Self { location, name, file, published: false };
        // Without the lock the file counts as abandoned, which publishing notices.
        let _ = again_if_interrupted(|| temporary.file.try_lock());
        // The umask may have removed some of the mode.
        fchmod(&temporary.file, own)?;
        temporary.file.write_all(content)?;
        // After a crash of the machine there is the old file or the new one, never an empty one.
        temporary.file.sync_data()?;
        Ok(temporary)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Moves it to its location: over the file there, or where there is none. Returns `false` if a file has come or gone
    /// meanwhile.
    pub(super) fn publish(mut self, over: bool) -> io::Result<bool> {
        let Location { directory, name, .. } = self.location;
        let replaced = || renameat(directory, &self.name, directory, name);
        let done = if over {
            replaced()
        } else {
            // Unlike renaming, linking fails if the name exists. Dropping this value removes the temporary name.
            match linkat(directory, &self.name, directory, name, AtFlags::empty()) {
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => replaced(),
                linked => linked,
            }
        };
        match done {
            Ok(()) => {
                self.published = over;
                Ok(true)
            }
            Err(Errno::EXIST | Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        let _ = self.file.unlock();
        if !self.published {
            let _best_effort = self.location.directory.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests;
