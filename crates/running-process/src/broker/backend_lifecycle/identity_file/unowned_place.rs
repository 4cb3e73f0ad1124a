//! The place of an identity file, which is there or will be, on a system without owners of files.

use super::IdentityFileError;
use crate::broker::protocol::Endpoint;
use crate::sys;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time for which replacing a file is tried that another process has open: far longer than a client takes to read it.
const READING: Duration = Duration::from_secs(2);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(10);
/// The errors of Windows for such a file.
const ACCESS_DENIED: i32 = 5;
const SHARING_VIOLATION: i32 = 32;

#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
}

#[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as on Unix")]
impl Place {
    /// The place that `path` names.
    ///
    /// # Errors
    ///
    /// There is no such directory.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        if path.file_name().is_none() {
            return Err(IdentityFileError::NotARegularFile.into());
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if !std::fs::metadata(parent.unwrap_or(Path::new(".")))?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Opens what stands there; `None` if nothing does.
    pub(super) fn open(&self) -> io::Result<Option<File>> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_file() => File::open(&self.path).map(Some),
            Ok(_) => Err(IdentityFileError::NotARegularFile.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn check_owner(&self, _: &Metadata) -> Result<(), IdentityFileError> {
        Ok(())
    }

    /// A pipe has no place among the files.
    pub(super) fn check_apart_from(&self, _: &Endpoint) -> io::Result<()> {
        Ok(())
    }

    /// Closes the file: a lock would keep readers from reading, and not every file system lets an open one be replaced.
    pub(super) fn hold(&self, file: File, _: Instant) -> io::Result<Option<Held>> {
        drop(file);
        Ok(Some(Held))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    pub(super) fn remove_abandoned(&self) {}
}

/// Nothing: of two processes that write at the same moment the later one wins.
#[derive(Debug)]
pub(super) struct Held;

/// A whole identity file that is not at its place yet. It is removed when dropped.
pub(super) struct Unfinished<'p> {
    place: &'p Place,
    path: PathBuf,
    file: File,
    published: bool,
}

impl<'p> Unfinished<'p> {
    pub(super) fn write(place: &'p Place, content: &[u8]) -> io::Result<Self> {
        let name = place.path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!(".{name}.{:016x}.new", u64::from_ne_bytes(sys::random()?));
        let path = place.path.with_file_name(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        let mut unfinished = Self { place, path, file, published: false };
        unfinished.file.write_all(content)?;
        Ok(unfinished)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn publish(mut self, _: bool) -> io::Result<bool> {
        let deadline = Instant::now() + READING;
        while let Err(error) = std::fs::rename(&self.path, &self.place.path) {
            let open = matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION));
            if !open || Instant::now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
        self.published = true;
        Ok(true)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.published {
            let _best_effort = std::fs::remove_file(&self.path);
        }
    }
}
