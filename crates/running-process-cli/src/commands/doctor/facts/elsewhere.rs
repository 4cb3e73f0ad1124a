//! Daemons of a service in other places than the one in which its clients look.

use super::listing::Listing;
use running_process::Service;
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use running_process::broker::service::{Roots, ServiceState};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Identity files in one directory that are looked at.
const MAX_FILES: usize = 100;

/// A daemon in another root.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    pub(crate) directory: PathBuf,
    pub(crate) pid: u32,
}

/// A daemon in an identity file that no service has.
#[derive(Debug)]
pub(crate) struct IdentityFile {
    pub(crate) path: PathBuf,
    pub(crate) pid: u32,
}

/// Returns the daemons of the service in other roots, other than `daemon`, that have proven themselves: a client with another
/// environment would look there.
pub(super) fn in_roots(
    service: &Service,
    daemon: Option<u32>,
    roots: &Roots,
    deadline: Instant,
) -> Vec<Elsewhere> {
    let mut found = Vec::new();
    // The look at its own place tells the reason if there is no place.
    add(service.elsewhere(roots).unwrap_or_default(), daemon, deadline, &mut found);
    found
}

/// Adds the daemons of `services` that have proven themselves and are not known.
pub(super) fn add(
    services: impl IntoIterator<Item = Service>,
    daemon: Option<u32>,
    deadline: Instant,
    found: &mut Vec<Elsewhere>,
) {
    for service in services {
        // A lock that another machine holds, or one that cannot be told, is no evidence of a daemon here.
        if let Ok(ServiceState::Live(live)) = service.find(deadline)
            && let (pid, Ok(directory)) = (live.daemon_process.pid, service.directory())
            && Some(pid) != daemon
            && found.iter().all(|found| found.pid != pid)
        {
            found.push(Elsewhere { directory, pid });
        }
    }
}

/// Returns the service in the root of `socket`, if that has a directory of the same name as `own`, that of the service.
pub(super) fn of_socket(service: &Service, own: &Path, socket: &Path) -> Option<Service> {
    let directory = socket.parent().filter(|directory| directory.is_absolute())?;
    let directory = Some(directory).filter(|directory| directory.file_name() == own.file_name())?;
    let root = directory.parent().filter(|_| directory != own)?;
    let elsewhere = service.clone().below(root);
    elsewhere.directory().is_ok_and(|found| found == directory).then_some(elsewhere)
}

/// Returns the daemons of the service's name, other than `daemon`, that have proven themselves by an identity file in a directory
/// where programs that know no services keep them.
pub(super) fn identity_files(
    service: &Service,
    daemon: Option<u32>,
    listings: &[Listing],
    deadline: Instant,
) -> Vec<IdentityFile> {
    let mut found: Vec<IdentityFile> = Vec::new();
    for path in listings.iter().flat_map(|listing| candidates(listing, service.name())) {
        let Ok(Some(identity)) = try_read_daemon_identity_file(&path) else { continue };
        let is_known = Some(identity.pid) == daemon || found.iter().any(|found| found.pid == identity.pid);
        if !is_known && BackendHandle::verify(&identity, Policy::default(), deadline).is_ok() {
            found.push(IdentityFile { path, pid: identity.pid });
        }
    }
    found
}

/// Returns the files that may be identity files of `name`: `NAME.json`, and those in a directory of that name.
fn candidates(listing: &Listing, name: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = listing.path_of(&format!("{name}.json")).into_iter().collect();
    let inner = listing.path_of(name).and_then(|directory| directory.read_dir().ok());
    let files = inner.into_iter().flatten().flatten().map(|entry| entry.path());
    found.extend(files.filter(|path| path.extension() == Some(OsStr::new("json"))).take(MAX_FILES));
    found
}
