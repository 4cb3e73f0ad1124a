//! The files of a service: one directory for each service and key, whose path does not depend on the caller's environment.

use super::definition::Service;
use super::find_error::FindError;
use super::place_error::{PlaceError, PlaceFault};
use super::variables;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::identity_file::try_read_daemon_identity_file;
use crate::sys;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Longest path of a directory of sockets: what `sun_path` holds, less the longest name in it.
#[cfg(unix)]
const MAX_SOCKET_DIRECTORY: usize = crate::transport::MAX_PATH_BYTES - "/starting".len();

impl Service {
    /// Returns the directory of the service's files, which need not exist: lock, identity file, log and history of starts.
    ///
    /// # Errors
    ///
    /// The user has no home directory, or the root is not an absolute path.
    pub fn directory(&self) -> Result<PathBuf, PlaceError> {
        Ok(ServicePaths::of(self)?.directory().to_owned())
    }

    /// Returns the path of the daemon's log.
    ///
    /// # Errors
    ///
    /// As [`directory`](Self::directory).
    pub fn log_file(&self) -> Result<PathBuf, PlaceError> {
        Ok(ServicePaths::of(self)?.log())
    }

    /// Returns the path of the daemon's identity file.
    ///
    /// # Errors
    ///
    /// As [`directory`](Self::directory).
    pub fn identity_file(&self) -> Result<PathBuf, PlaceError> {
        Ok(ServicePaths::of(self)?.identity_file())
    }

    /// Returns the name of the directory: that of the service, and a hash of its key.
    pub(super) fn directory_name(&self) -> String {
        let hash = self.key.as_ref().map(|key| short_hash(&[key.as_encoded_bytes()]));
        match hash.as_ref().or(self.key_hash.as_ref()) {
            Some(hash) => format!("{}.{hash}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Length of the hash of a key in the name of a directory.
pub(super) const KEY_HASH_DIGITS: usize = 16;

/// The paths of one service and key.
#[derive(Clone, Debug)]
pub(super) struct ServicePaths {
    root: PathBuf,
    directory: PathBuf,
    /// The key as text, for people who read the files.
    key: Option<String>,
}

impl ServicePaths {
    /// Returns the paths, and touches no file of the service.
    pub(super) fn of(service: &Service) -> Result<Self, PlaceError> {
        Self::below(service.root.as_deref(), service)
    }

    /// Returns the paths for the daemon of `service`: those of the client that has started this process for it, if one has.
    pub(super) fn of_daemon(service: &Service) -> Result<Self, PlaceError> {
        let started = if service.is_started() { std::env::var_os(variables::STARTED_ROOT) } else { None };
        Self::below(service.root.as_deref().or(started.as_ref().map(Path::new)), service)
    }

    fn below(root: Option<&Path>, service: &Service) -> Result<Self, PlaceError> {
        let root = Self::root_of(root)?;
        let key = service.key.as_ref().map(|key| key.to_string_lossy().into_owned());
        Ok(Self { directory: root.join(service.directory_name()), root, key })
    }

    /// Returns the root of all services: `root` if there is one, else that of the variable or of this user.
    pub(super) fn root_of(root: Option<&Path>) -> Result<PathBuf, PlaceError> {
        Self::root_or(root, std::env::var_os(variables::ROOT))
    }

    /// Returns the root; `variable` is the value of the variable. An empty one is none.
    fn root_or(root: Option<&Path>, variable: Option<OsString>) -> Result<PathBuf, PlaceError> {
        match (root, variable) {
            (Some(root), _) => absolute(root.to_owned()),
            (None, Some(root)) if !root.is_empty() => absolute(PathBuf::from(root)),
            _ => default_root().map(Path::to_owned),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Returns the lock of the process that starts the daemon: the same, which it passes on, or another one where a child cannot
    /// get it.
    pub(super) fn start_lock(&self) -> PathBuf {
        if cfg!(unix) { self.lock() } else { self.directory.join("start.lock") }
    }

    /// Returns the lock of the daemon, and that of the starter if it is another one.
    pub(super) fn locks(&self) -> Vec<PathBuf> {
        let mut locks = vec![self.lock(), self.start_lock()];
        locks.dedup();
        locks
    }

    /// Returns the lock of the process that replaces the daemon. A successor gets it from that process.
    pub(super) fn replacing(&self) -> PathBuf {
        self.directory.join("replacing")
    }

    pub(super) fn identity_file(&self) -> PathBuf {
        self.directory.join("identity.json")
    }

    pub(super) fn history(&self) -> PathBuf {
        self.directory.join("starts.json")
    }

    /// Returns the record of the service manager that starts the daemon.
    pub(super) fn activation(&self) -> PathBuf {
        self.directory.join("activation")
    }

    /// Returns the directory of private copies of the program.
    pub(super) fn copies(&self) -> PathBuf {
        self.directory.join("bin")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Makes the directory, and verifies that it is this user's alone.
    pub(super) fn make(&self) -> Result<(), PlaceError> {
        make_private(&self.root)?;
        make_private(&self.directory)?;
        // The directory of the sockets as well.
        self.socket().map(drop)
    }

    /// Verifies that the directory is this user's alone, if there is one.
    pub(super) fn check(&self) -> Result<(), PlaceError> {
        unless_missing(check_private(&self.root).and_then(|()| check_private(&self.directory)))
    }

    /// Verifies that the directory of the sockets is this user's alone, if there is one.
    pub(super) fn check_sockets(&self) -> Result<(), PlaceError> {
        let sockets = self.sockets();
        if sockets == self.directory {
            return Ok(());
        }
        unless_missing(sockets.parent().map_or(Ok(()), check_private).and_then(|()| check_private(&sockets)))
    }

    /// Reads the identity file; `None` if there is none.
    pub(super) fn identity(&self) -> Result<Option<DaemonProcess>, FindError> {
        self.read_identity().map_err(|error| {
            // A fault of the directory explains it better.
            self.check().map_or_else(FindError::Place, |()| error)
        })
    }

    /// Reads the identity file, whatever the directory is.
    pub(super) fn read_identity(&self) -> Result<Option<DaemonProcess>, FindError> {
        let path = self.identity_file();
        try_read_daemon_identity_file(&path).map_err(|source| FindError::IdentityFile { path, source })
    }

    /// Returns the directory of the sockets: that of the service, or a short one if its path is too long for a socket.
    #[cfg(unix)]
    fn sockets(&self) -> PathBuf {
        if self.directory.as_os_str().len() <= MAX_SOCKET_DIRECTORY {
            return self.directory.clone();
        }
        let user = rustix::process::geteuid().as_raw();
        let name = short_hash(&[self.directory.as_os_str().as_encoded_bytes()]);
        // Published versions of this library make `running-process-{user}`, which other users may enter.
        PathBuf::from(format!("/tmp/running-process-services-{user}")).join(name)
    }

    #[cfg(not(unix))]
    fn sockets(&self) -> PathBuf {
        self.directory.clone()
    }

    /// Returns the path of the socket, whose directory is made if it is not that of the service.
    #[cfg(unix)]
    pub(super) fn socket(&self) -> Result<PathBuf, PlaceError> {
        let sockets = self.sockets();
        if sockets != self.directory {
            if let Some(parent) = sockets.parent() {
                make_private(parent)?;
            }
            make_private(&sockets)?;
        }
        Ok(self.socket_path())
    }

    /// Returns the path of the socket, and makes no directory.
    #[cfg(unix)]
    pub(super) fn socket_path(&self) -> PathBuf {
        self.sockets().join("socket")
    }

    /// Returns the name of the pipe.
    #[cfg(windows)]
    #[expect(clippy::unnecessary_wraps, reason = "as on the other systems")]
    pub(super) fn socket(&self) -> Result<PathBuf, PlaceError> {
        Ok(self.socket_path())
    }

    /// Returns the name of the pipe.
    #[cfg(windows)]
    pub(super) fn socket_path(&self) -> PathBuf {
        format!("running-process-{}", short_hash(&[self.directory.as_os_str().as_encoded_bytes()])).into()
    }

    /// Returns the path of the socket of the process that starts the daemon.
    pub(super) fn starting(&self) -> PathBuf {
        self.sockets().join("starting")
    }

    /// Returns the path of the socket of a daemon that drains.
    pub(super) fn draining(&self) -> PathBuf {
        self.sockets().join("draining")
    }

    /// Returns the path of the socket of the process that replaces the daemon.
    pub(super) fn replacing_announced(&self) -> PathBuf {
        self.sockets().join("renewing")
    }

    /// Returns the path of the socket at which the daemon hands its endpoint over to its successor.
    #[cfg(unix)]
    pub(super) fn control(&self) -> PathBuf {
        self.sockets().join("control")
    }

    /// Returns the path of the pipe at which the daemon reports to its starter.
    #[cfg(windows)]
    pub(super) fn notifications(&self, _is_successor: bool) -> PathBuf {
        let name = short_hash(&[self.directory.as_os_str().as_encoded_bytes()]);
        format!(r"\\.\pipe\running-process-notify-{name}").into()
    }

    /// Returns the path of the socket at which the daemon reports to its starter. A successor has another one: the client that
    /// started the daemon before it may still be about to remove its own.
    #[cfg(not(windows))]
    pub(super) fn notifications(&self, is_successor: bool) -> PathBuf {
        self.sockets().join(if is_successor { "reports" } else { "notify" })
    }
}

fn absolute(root: PathBuf) -> Result<PathBuf, PlaceError> {
    if root.is_absolute() { Ok(root) } else { Err(PlaceFault::NotAbsolute.at(root)) }
}

/// Returns the root for this user on this machine. The user database names it, so no variable of the caller matters; a home
/// directory that several machines share has one for each.
pub(super) fn default_root() -> Result<&'static Path, PlaceError> {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(root) = ROOT.get() {
        return Ok(root);
    }
    let home = sys::home_directory().map_err(|error| PlaceFault::NoHome(error).at(""))?;
    let machine = sys::machine_id().map_err(|error| PlaceFault::NoMachine(error).at(&home))?;
    let base =
        if cfg!(windows) { home.join("running-process") } else { home.join(".local/state/running-process") };
    Ok(ROOT.get_or_init(|| base.join(short_hash(&[b"running-process", &machine]))))
}

/// Returns the first 16 hexadecimal digits of the SHA-256 of `parts`, each followed by NUL.
pub(super) fn short_hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Makes the directory with its parents, all of them for this user alone, and verifies it.
fn make_private(path: &Path) -> Result<(), PlaceError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => {}
        // Another process may have made it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(PlaceFault::Unusable(error).at(path)),
    }
    check_private(path)
}

/// Returns the result of a check, which a directory passes that does not exist.
pub(super) fn unless_missing(checked: Result<(), PlaceError>) -> Result<(), PlaceError> {
    match checked {
        Err(PlaceError { fault: PlaceFault::Unusable(error), .. })
            if error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        checked => checked,
    }
}

/// Verifies that the directory is this user's alone.
#[cfg(unix)]
pub(super) fn check_private(path: &Path) -> Result<(), PlaceError> {
    use std::os::unix::fs::MetadataExt;
    let found = path.symlink_metadata().map_err(|error| PlaceFault::Unusable(error).at(path))?;
    let fault = if !found.is_dir() {
        PlaceFault::NotADirectory
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        PlaceFault::ForeignOwner { owner: found.uid() }
    } else if found.mode() & 0o077 != 0 {
        PlaceFault::NotPrivate { mode: found.mode() & 0o7777 }
    } else {
        return Ok(());
    };
    Err(fault.at(path))
}

/// Verifies that it is a directory. The access to it is that of the user's profile, which only this user and administrators have.
#[cfg(not(unix))]
pub(super) fn check_private(path: &Path) -> Result<(), PlaceError> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(PlaceFault::NotADirectory.at(path)),
        Err(error) => Err(PlaceFault::Unusable(error).at(path)),
    }
}

/// Returns `path` as text, as an identity file needs it.
pub(super) fn text(path: &Path) -> Result<String, PlaceError> {
    let text = path.as_os_str().to_str().map(str::to_owned);
    text.ok_or_else(|| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8");
        PlaceFault::Unusable(source).at(path)
    })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    fn paths_below(root: &Path) -> ServicePaths {
        ServicePaths::of(&Service::new("placed").unwrap().below(root)).unwrap()
    }

    #[test]
    fn the_root_is_the_callers_or_that_of_the_variable_unless_it_is_empty() {
        let root = |root: Option<&str>, variable: &str| {
            ServicePaths::root_or(root.map(Path::new), Some(variable.into())).map_err(|error| error.fault)
        };
        assert_eq!(root(Some("/a"), "/b").unwrap(), Path::new("/a"));
        assert_eq!(root(None, "/b").unwrap(), Path::new("/b"));
        assert!(matches!(root(None, "b"), Err(PlaceFault::NotAbsolute)));
        assert_eq!(root(None, "").ok().as_deref(), default_root().ok());
    }

    #[test]
    fn sockets_are_in_the_services_directory_as_long_as_the_longest_path_fits() {
        let parent = tempfile::tempdir().unwrap();
        let shortest = paths_below(&parent.path().join("r")).directory().as_os_str().len();
        let of_length = |length: usize| paths_below(&parent.path().join("r".repeat(1 + length - shortest)));
        let fits = of_length(MAX_SOCKET_DIRECTORY);
        fits.make().unwrap();
        assert_eq!(fits.starting().parent(), Some(fits.directory()));
        UnixListener::bind(fits.starting()).unwrap();
        let long = of_length(MAX_SOCKET_DIRECTORY + 1);
        assert_ne!(long.starting().parent(), Some(long.directory()));
    }

    #[test]
    fn the_short_directory_of_sockets_is_private_as_well() {
        let parent = tempfile::tempdir().unwrap();
        let paths = paths_below(&parent.path().join("long".repeat(30)));
        let starting = paths.starting();
        let sockets = starting.parent().unwrap();
        assert_ne!(sockets, paths.directory());
        paths.check_sockets().unwrap();
        paths.make().unwrap();
        paths.check_sockets().unwrap();
        std::fs::set_permissions(sockets, Permissions::from_mode(0o755)).unwrap();
        for checked in [paths.check_sockets(), paths.make()] {
            let PlaceError { path, fault } = checked.unwrap_err();
            assert_eq!(path, sockets);
            assert!(matches!(fault, PlaceFault::NotPrivate { mode: 0o755 }), "{fault:?}");
        }
        paths.check().unwrap();
        std::fs::remove_dir(sockets).unwrap();
    }

    #[test]
    fn a_missing_directory_has_no_fault_and_a_file_in_its_place_has() {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join("root");
        let paths = paths_below(&root);
        paths.check().unwrap();
        std::fs::write(&root, "").unwrap();
        for checked in [paths.check(), paths.make()] {
            let PlaceError { path, fault } = checked.unwrap_err();
            assert!(path == root && matches!(fault, PlaceFault::NotADirectory), "{path:?} {fault:?}");
        }
    }
}
