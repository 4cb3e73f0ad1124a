//! The place of an identity file, which is there or will be: a name in an open directory.

use super::{IdentityFileError, own_user};
use crate::broker::protocol::Endpoint;
use crate::sys;
use crate::transport::{Directory, FileIdentity, type_of};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, linkat, renameat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pause between two looks whether another process has written the file.
const PAUSE: Duration = Duration::from_millis(1);
/// End of the name of a file that is still being written; the name begins with a dot and the name of the identity file,
/// and has 16 hexadecimal digits between them.
const UNFINISHED: &[u8] = b".new";

#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    directory: Directory,
    name: OsString,
}

impl Place {
    /// The place that `path` names.
    ///
    /// # Errors
    ///
    /// There is no such directory, or it is one in which other users can put a file in the place of this one.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        if path.file_name().is_none() {
            return Err(IdentityFileError::NotARegularFile.into());
        }
        let (directory, name) = Directory::of(path)?;
        directory.check()?.map_err(IdentityFileError::from)?;
        Ok(Self { path: path.to_owned(), directory, name })
    }

    /// Opens what stands there itself; `None` if nothing does. It never waits for the writer of a FIFO.
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

    /// Returns the error for a file that cannot be opened: another user's file usually.
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

    /// Checks that the file is this user's, who alone may replace it.
    #[allow(clippy::unused_self, reason = "where files have no owners nothing is checked")]
    pub(super) fn check_owner(&self, file: &Metadata) -> Result<(), IdentityFileError> {
        let owner = file.uid();
        if owner == own_user()? { Ok(()) } else { Err(IdentityFileError::ForeignOwner { owner }) }
    }

    /// Checks that it is neither the socket nor the lock of `endpoint`, whether they are there or not.
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

    /// Keeps other processes of this library from replacing or removing `file` until the result is dropped; `None` if it is not
    /// what stands there any more. Waits for one that has it, until `deadline`.
    pub(super) fn hold(&self, file: File, deadline: Instant) -> io::Result<Option<Held>> {
        loop {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => return Err(IdentityFileError::Busy.into()),
                // An error is that of a file system without locks.
                Ok(()) | Err(TryLockError::Error(_)) => break,
            }
        }
        let held = Held(file);
        Ok(self.leads_to(&held.0)?.then_some(held))
    }

    /// Returns whether `file` is the one that stands there.
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

    fn unfinished_name(&self) -> io::Result<OsString> {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{:016x}", u64::from_ne_bytes(sys::random()?)));
        name.push(OsStr::from_bytes(UNFINISHED));
        Ok(name)
    }

    /// Returns whether a file of this name was meant to become this identity file.
    fn is_unfinished(&self, name: &OsStr) -> bool {
        let digits = (|| {
            let rest = name.as_bytes().strip_prefix(b".")?.strip_prefix(self.name.as_bytes())?;
            rest.strip_prefix(b".")?.strip_suffix(UNFINISHED)
        })();
        digits.is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
    }

    /// Removes files of processes that were killed while they wrote: those of this user that no process has locked.
    pub(super) fn remove_abandoned(&self) {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let Ok(entries) = std::fs::read_dir(parent.unwrap_or(Path::new("."))) else { return };
        for name in entries.flatten().map(|entry| entry.file_name()) {
            if self.is_unfinished(&name)
                && let Ok(file) = self.directory.open_file(&name, OFlags::RDONLY, Mode::empty())
                && file
                    .metadata()
                    .is_ok_and(|found| found.is_file() && own_user().is_ok_and(|own| own == found.uid()))
                && file.try_lock().is_ok()
            {
                let _best_effort = self.directory.remove(&name);
            }
        }
    }
}

/// A locked file.
#[derive(Debug)]
pub(super) struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // Closing would not do while a child that another thread starts has a copy.
        let _ = self.0.unlock();
    }
}

/// A whole identity file that is not at its place yet. It is locked, and removed when dropped.
pub(super) struct Unfinished<'p> {
    place: &'p Place,
    name: OsString,
    file: File,
    published: bool,
}

impl<'p> Unfinished<'p> {
    pub(super) fn write(place: &'p Place, content: &[u8]) -> io::Result<Self> {
        let name = place.unfinished_name()?;
        let own = Mode::RUSR | Mode::WUSR;
        // Beside it, because renaming stays within a file system.
        let file = place.directory.open_file(&name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, own)?;
        let mut unfinished = Self { place, name, file, published: false };
        // Without it the file counts as abandoned, which is noticed when it is published.
        let _ = unfinished.file.try_lock();
        // The umask may have taken something.
        fchmod(&unfinished.file, own)?;
        unfinished.file.write_all(content)?;
        // After a crash of the machine there is the old file or the new one, never an empty one.
        unfinished.file.sync_data()?;
        Ok(unfinished)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Puts it at its place: over the file that stands there, or where nothing does. `false`: something else has come or gone
    /// meanwhile.
    pub(super) fn publish(mut self, over: bool) -> io::Result<bool> {
        let Place { directory, name, .. } = self.place;
        let replaced = || renameat(directory, &self.name, directory, name);
        let done = if over {
            replaced()
        } else {
            // Unlike renaming, it fails if the name exists; the other name goes with this value.
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

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let _ = self.file.unlock();
        if !self.published {
            let _best_effort = self.place.directory.remove(&self.name);
        }
    }
}
