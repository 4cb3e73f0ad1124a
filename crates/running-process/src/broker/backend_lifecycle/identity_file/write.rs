//! Writing, checking and removing an identity file.

use super::error::{IdentityFileError, MAX_IDENTITY_FILE_BYTES};
use super::location::{Location, TempFile};
use super::read::{check_trusted, read_from};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::Endpoint;
use crate::sys::{self, ProcessHandle};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time for which writing a file is tried while other processes write it, too.
///
/// The process that has just written it sees the new file first, and may write it again before others wake. So the number of
/// attempts says nothing of how long that lasts, and the time is long.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which removing a file is tried. After that it stays behind, and every client finds out that its daemon is gone.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes `daemon` to `path` for every generation of clients, readable by this user alone.
///
/// The file is replaced as a whole: a reader sees the old content or the new one, also after a crash of the machine. Two kinds
/// of files are not replaced: one that is no identity file of this user, and one of a daemon that runs at another endpoint.
/// Temporary files of processes that were killed while they wrote to `path` are removed.
///
/// # Errors
///
/// The directory is missing or cannot be written, or clients would not accept a file in it, or another file stands at
/// `path`, which is left alone: the error then carries an [`IdentityFileError`].
///
/// # Platform-specific behavior
///
/// On Windows ownership and access are not checked, and of two processes that write at the same moment the later one wins.
/// A file that another program has open without sharing it is replaced as soon as it is closed, within two seconds; else
/// writing fails.
///
/// # Examples
///
/// A server writes it by itself. This is for a daemon with an accept loop of its own, once it listens:
///
/// ```no_run
/// use running_process::broker::backend_sdk::{remove_daemon_identity_file, write_daemon_identity_file};
/// use running_process::{DaemonProcess, Endpoint};
/// use std::path::Path;
///
/// let endpoint = Endpoint::unix_socket("cache", "/run/user/1000/cache/daemon.sock")?;
/// let daemon = DaemonProcess::current_process(endpoint, Some(600))?;
/// let path = Path::new("/run/user/1000/cache/daemon.json");
/// write_daemon_identity_file(path, &daemon)?;
/// // It serves. When it ends:
/// remove_daemon_identity_file(path);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_daemon_identity_file(path: &Path, daemon: &DaemonProcess) -> io::Result<()> {
    write_daemon_identity_file_after(path, daemon, &mut || Ok(()))
}

/// Writes `daemon` as [`write_daemon_identity_file`] does. Calls `before` right before the file is moved to `path`: the time for
/// which a disk takes the file is over then.
///
/// # Errors
///
/// As [`write_daemon_identity_file`], and that of `before`: then nothing was replaced.
pub(crate) fn write_daemon_identity_file_after(
    path: &Path,
    daemon: &DaemonProcess,
    before: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(daemon)?;
    // A file that is written must be readable.
    if json.len() > MAX_IDENTITY_FILE_BYTES {
        return Err(IdentityFileError::TooLarge.into());
    }
    serde_json::from_slice::<DaemonProcess>(&json).map_err(IdentityFileError::Malformed)?;
    let location = Location::of(path)?;
    let deadline = Instant::now() + WRITE_TIMEOUT;
    loop {
        let existing = replaceable(&location, &daemon.ipc_endpoint)?;
        let replaces = existing.is_some();
        let lock = existing.map(|existing| location.lock(existing.file, deadline)).transpose()?.flatten();
        // If it is there and not locked, another process has replaced it meanwhile.
        if replaces == lock.is_some() {
            location.remove_abandoned();
            let temporary = TempFile::write(&location, &json)?;
            check_trusted(temporary.file())?;
            before()?;
            if temporary.publish(replaces)? {
                return Ok(());
            }
        }
        if Instant::now() >= deadline {
            return Err(IdentityFileError::Busy.into());
        }
    }
}

/// Checks whether the identity of a daemon at `endpoint` can be written to `path`, and changes nothing. A daemon can call it
/// before it binds.
///
/// # Errors
///
/// Those of [`write_daemon_identity_file`].
pub fn check_daemon_identity_path(path: &Path, endpoint: &Endpoint) -> io::Result<()> {
    replaceable(&Location::of(path)?, endpoint).map(drop)
}

/// Removes the identity file at `path`, and ignores errors: clients verify what they find there.
/// [`try_remove_daemon_identity_file`] returns the error.
pub fn remove_daemon_identity_file(path: &Path) {
    let _best_effort = try_remove_daemon_identity_file(path);
}

/// Removes the identity file at `path`, if there is one.
///
/// # Errors
///
/// The file cannot be removed, or is no identity file of this user and is left alone: the error then carries an
/// [`IdentityFileError`].
pub fn try_remove_daemon_identity_file(path: &Path) -> io::Result<()> {
    remove(path, |_| true)
}

/// Removes the identity file at `path` if it still is that of `daemon`.
pub(crate) fn remove_own_identity_file(path: &Path, daemon: &DaemonProcess) -> io::Result<()> {
    remove(path, |found| found == daemon)
}

/// Removes the identity file at `path`, if there is one and `matches` accepts its content.
fn remove(path: &Path, matches: impl FnOnce(&DaemonProcess) -> bool) -> io::Result<()> {
    let location = match Location::of(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        location => location?,
    };
    let Some(ExistingFile { file, daemon }) = ExistingFile::at(&location)? else { return Ok(()) };
    let lock = location.lock(file, Instant::now() + REMOVE_TIMEOUT)?;
    if lock.is_some() && matches(&daemon) { location.remove() } else { Ok(()) }
}

/// Returns the file at `location`, if there is one, after checking that a daemon at `endpoint` may replace it.
fn replaceable(location: &Location, endpoint: &Endpoint) -> io::Result<Option<ExistingFile>> {
    location.check_apart_from(endpoint)?;
    let existing = ExistingFile::at(location)?;
    if let Some(existing) = &existing {
        existing.check_free_for(endpoint)?;
    }
    Ok(existing)
}

/// The identity file at a location.
struct ExistingFile {
    file: File,
    daemon: DaemonProcess,
}

impl ExistingFile {
    /// Returns the identity file at `location`, if there is one.
    ///
    /// # Errors
    ///
    /// It is not an identity file of this user, so it is left alone; or the directory is not one that a reader accepts.
    fn at(location: &Location) -> io::Result<Option<Self>> {
        let Some(file) = location.open()? else { return Ok(None) };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(IdentityFileError::NotARegularFile.into());
        }
        location.check_owner(&metadata)?;
        let daemon = read_from(&file, metadata.len())?;
        Ok(Some(Self { file, daemon }))
    }

    /// Checks that a daemon at `endpoint` may replace it. The owner of the endpoint may replace the file of an earlier owner;
    /// any other daemon may replace only the file of a daemon that has ended.
    fn check_free_for(&self, endpoint: &Endpoint) -> io::Result<()> {
        let recorded = &self.daemon.ipc_endpoint.path;
        if *recorded != endpoint.path && may_run(&self.daemon) {
            let (pid, endpoint) = (self.daemon.pid, recorded.clone());
            return Err(IdentityFileError::InUse { pid, endpoint }.into());
        }
        Ok(())
    }
}

/// Returns whether the daemon may still run: `true` also if that cannot be told.
fn may_run(daemon: &DaemonProcess) -> bool {
    if sys::boot_id().is_ok_and(|boot| boot != daemon.boot_id) {
        return false;
    }
    let recorded = daemon.origin.as_ref().and_then(|origin| origin.pid_namespace);
    if recorded.is_some() && sys::own_pid_namespace().is_ok_and(|own| own != recorded) {
        return true;
    }
    match ProcessHandle::open(daemon.pid) {
        Ok(None) => false,
        Err(_) => true,
        Ok(Some(process)) => {
            let same = match &daemon.origin {
                Some(origin) => process.start_time().map(|start_time| start_time == origin.start_time),
                // A published peer does not record when it was started.
                None => sys::process_image(&process).map(|image| image == daemon.exe_path),
            };
            !matches!(process.has_exited(), Ok(true)) && same.unwrap_or(true)
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
