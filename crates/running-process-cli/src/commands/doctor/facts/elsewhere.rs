//! Daemons of a service in other places than the one in which its clients look.

use running_process::Service;
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_lifecycle::verify::Policy;
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use running_process::broker::service::{ServiceSocket, ServiceState};
use std::collections::BTreeSet;
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

/// Returns the daemons of the service in other roots, other than `daemon`, that have proven themselves: in those where a client with
/// another environment would look, and in those of `sockets`, where some process listens.
pub(super) fn places(
    service: &Service,
    daemon: Option<u32>,
    sockets: &[ServiceSocket],
    deadline: Instant,
) -> Vec<Elsewhere> {
    // The look at its own place tells the reason if there is no place.
    let mut services = service.elsewhere().unwrap_or_default();
    services.extend(sockets.iter().filter_map(|socket| of_socket(service, &socket.path)));
    let mut found: Vec<Elsewhere> = Vec::new();
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
    found
}

/// Returns the service in the root of `socket`, if it has a directory of the service's name in another root than the service's own.
fn of_socket(service: &Service, socket: &Path) -> Option<Service> {
    let (own, directory) = (service.directory().ok()?, socket.parent()?);
    let is_other = directory.file_name() == own.file_name() && directory != own;
    let elsewhere = is_other.then(|| service.clone().below(directory.parent().unwrap_or(directory)))?;
    elsewhere.directory().is_ok_and(|found| found == directory).then_some(elsewhere)
}

/// Returns the daemons of the service's name, other than `daemon`, that have proven themselves by an identity file in a directory
/// where programs that know no services keep them.
pub(super) fn identity_files(service: &Service, daemon: Option<u32>, deadline: Instant) -> Vec<IdentityFile> {
    let mut found: Vec<IdentityFile> = Vec::new();
    for path in directories().iter().flat_map(|directory| candidates(directory, service.name())) {
        // Most are not there, and to read one costs more than to see that.
        let identity = path.exists().then(|| try_read_daemon_identity_file(&path));
        let Some(Ok(Some(identity))) = identity else { continue };
        let is_known = Some(identity.pid) == daemon || found.iter().any(|found| found.pid == identity.pid);
        if !is_known && BackendHandle::verify(&identity, Policy::default(), deadline).is_ok() {
            found.push(IdentityFile { path, pid: identity.pid });
        }
    }
    found
}

/// Returns the directories, which depend on the environment: that is why a second daemon may be there.
fn directories() -> BTreeSet<PathBuf> {
    let variables = ["XDG_RUNTIME_DIR", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME"];
    let mut directories: BTreeSet<PathBuf> = variables
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .collect();
    directories.insert(std::env::temp_dir());
    #[cfg(unix)]
    {
        directories.insert(PathBuf::from("/tmp"));
        directories.insert(PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw())));
    }
    directories
}

/// Returns the files that may be identity files of `name`: `NAME.json`, and those in a directory of that name.
fn candidates(directory: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = vec![directory.join(format!("{name}.json"))];
    let inner = [directory.join(name), directory.join("running-process").join(name)];
    for entries in inner.iter().filter_map(|directory| directory.read_dir().ok()) {
        let files = entries.flatten().map(|entry| entry.path());
        found.extend(files.filter(|path| path.extension() == Some(OsStr::new("json"))).take(MAX_FILES));
    }
    found
}
