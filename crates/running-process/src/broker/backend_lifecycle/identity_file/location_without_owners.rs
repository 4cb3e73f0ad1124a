//! The location of an identity file, whether the file exists or not, on a system without owners of files.

use super::error::IdentityFileError;
use crate::broker::protocol::Endpoint;
use crate::sys;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time for which replacing a file is tried while another process has it open: far longer than a client takes to read it.
const REPLACE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Errors of Windows for such a file.
const ACCESS_DENIED: i32 = 5;
const SHARING_VIOLATION: i32 = 32;

#[derive(Debug)]
pub(super) struct Location {
    path: PathBuf,
}

#[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as on Unix")]
impl Location {
    /// Checks that the directory of `path` exists.
    ///
    /// # Errors
    ///
    /// It does not exist, or is no directory.
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

    /// Opens the file, if there is one.
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

    /// Does nothing: a pipe is not in the file system.
    pub(super) fn check_apart_from(&self, _: &Endpoint) -> io::Result<()> {
        Ok(())
    }

    /// Closes the file. A lock would keep readers from reading, and not every file system lets an open file be replaced.
    pub(super) fn lock(&self, file: File, _: Instant) -> io::Result<Option<FileLock>> {
        drop(file);
        Ok(Some(FileLock))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    pub(super) fn remove_abandoned(&self) {}
}

/// No lock: of two processes that write at the same moment the later one wins.
#[derive(Debug)]
pub(super) struct FileLock;

/// A complete identity file that is not at its location yet. It is removed when dropped.
pub(super) struct TempFile<'p> {
    location: &'p Location,
    path: PathBuf,
    file: File,
    published: bool,
}

impl<'p> TempFile<'p> {
    pub(super) fn write(location: &'p Location, content: &[u8]) -> io::Result<Self> {
        let name = location.path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!(".{name}.{:016x}.new", u64::from_ne_bytes(sys::random()?));
        let path = location.path.with_file_name(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        let mut temporary = Self { location, path, file, published: false };
        temporary.file.write_all(content)?;
        Ok(temporary)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn publish(mut self, _: bool) -> io::Result<bool> {
        let deadline = Instant::now() + REPLACE_TIMEOUT;
        while let Err(error) = std::fs::rename(&self.path, &self.location.path) {
            let open = matches!(error.raw_os_error(), Some(ACCESS_DENIED | SHARING_VIOLATION));
            if !open || Instant::now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(RETRY_INTERVAL);
        }
        self.published = true;
        Ok(true)
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        if !self.published {
            let _best_effort = std::fs::remove_file(&self.path);
        }
    }
}
