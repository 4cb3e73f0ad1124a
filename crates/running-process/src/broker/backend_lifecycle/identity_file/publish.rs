//! Writing and removing an identity file, and what is not taken for one.

use super::place::{Place, Unfinished};
use super::{IdentityFileError, MAX_IDENTITY_FILE_BYTES, check_trustworthy, read_from};
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::protocol::Endpoint;
use crate::sys::{self, ProcessHandle};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Time for which writing a file is tried while other processes write it, too. The process that has written it is the first to
/// see the new file, and may write it again before others wake: how often that happens says nothing of how long it will.
const WRITING: Duration = Duration::from_secs(10);
/// Time for which removing a file is tried. After that it stays behind, which every client notices.
const REMOVING: Duration = Duration::from_secs(2);

/// The identity file that stands at a place.
struct Occupant {
    file: File,
    daemon: DaemonProcess,
}

impl Occupant {
    /// Returns the identity file at `place`, if anything stands there.
    ///
    /// # Errors
    ///
    /// It is not an identity file of this user, so it is left alone; or the directory is not one that a reader accepts.
    fn at(place: &Place) -> io::Result<Option<Self>> {
        let Some(file) = place.open()? else { return Ok(None) };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(IdentityFileError::NotARegularFile.into());
        }
        place.check_owner(&metadata)?;
        let daemon = read_from(&file, metadata.len())?;
        Ok(Some(Self { file, daemon }))
    }

    /// Checks that a daemon at `endpoint` may take its place. The owner of the endpoint may replace what an earlier one wrote;
    /// any other daemon only what a daemon wrote that has ended.
    fn check_free_for(&self, endpoint: &Endpoint) -> io::Result<()> {
        let recorded = &self.daemon.ipc_endpoint.path;
        if *recorded != endpoint.path && may_run(&self.daemon) {
            let (pid, endpoint) = (self.daemon.pid, recorded.clone());
            return Err(IdentityFileError::InUse { pid, endpoint }.into());
        }
        Ok(())
    }
}

/// Checks that the identity of a daemon at `endpoint` can be published at `path`.
pub(super) fn check(path: &Path, endpoint: &Endpoint) -> io::Result<()> {
    checked(&Place::of(path)?, endpoint).map(drop)
}

fn checked(place: &Place, endpoint: &Endpoint) -> io::Result<Option<Occupant>> {
    place.check_apart_from(endpoint)?;
    let occupant = Occupant::at(place)?;
    if let Some(occupant) = &occupant {
        occupant.check_free_for(endpoint)?;
    }
    Ok(occupant)
}

/// Writes `daemon` to `path`, as it will be read.
pub(super) fn write(path: &Path, daemon: &DaemonProcess) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(daemon)?;
    // As readers do.
    if json.len() > MAX_IDENTITY_FILE_BYTES {
        return Err(IdentityFileError::TooLarge.into());
    }
    serde_json::from_slice::<DaemonProcess>(&json).map_err(IdentityFileError::Malformed)?;
    let place = Place::of(path)?;
    let deadline = Instant::now() + WRITING;
    loop {
        let occupant = checked(&place, &daemon.ipc_endpoint)?;
        let replaces = occupant.is_some();
        let held = occupant.map(|occupant| place.hold(occupant.file, deadline)).transpose()?.flatten();
        // Else another process has replaced it meanwhile.
        if replaces == held.is_some() {
            place.remove_abandoned();
            let unfinished = Unfinished::write(&place, &json)?;
            check_trustworthy(unfinished.file())?;
            if unfinished.publish(replaces)? {
                return Ok(());
            }
        }
        if Instant::now() >= deadline {
            return Err(IdentityFileError::Busy.into());
        }
    }
}

/// Removes the identity file at `path`, if there is one and `is_it` says so of its content.
pub(super) fn remove(path: &Path, is_it: impl FnOnce(&DaemonProcess) -> bool) -> io::Result<()> {
    let place = match Place::of(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        place => place?,
    };
    let Some(Occupant { file, daemon }) = Occupant::at(&place)? else { return Ok(()) };
    let held = place.hold(file, Instant::now() + REMOVING)?;
    if held.is_some() && is_it(&daemon) { place.remove() } else { Ok(()) }
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
                // A published peer does not say when it was started.
                None => sys::process_image(&process).map(|image| image == daemon.exe_path),
            };
            !matches!(process.has_exited(), Ok(true)) && same.unwrap_or(true)
        }
    }
}
