//! The lock and the socket of a service, as its daemon takes them.

use super::for_service_error::ForServiceError;
use super::lifecycle::Daemon;
use super::log_keeper::keep_log;
use super::own_start::OwnStart;
use crate::broker::backend_sdk::try_read_daemon_identity_file;
use crate::broker::protocol::Endpoint;
#[cfg(unix)]
use crate::broker::service::deadline::Deadline;
use crate::broker::service::definition::Service;
use crate::broker::service::handover::Succession;
#[cfg(unix)]
use crate::broker::service::handover::{self, Succeeded};
#[cfg(unix)]
use crate::broker::service::interval::Interval;
#[cfg(unix)]
use crate::broker::service::operation::OperationWait;
use crate::broker::service::paths::{ServicePaths, text};
#[cfg(unix)]
use crate::broker::service::variables;
#[cfg(unix)]
use crate::sys::{self, Inherited};
#[cfg(unix)]
use crate::transport::BindError;
use crate::transport::{HeldLock, InstanceLock, LocalListener};
#[cfg(unix)]
use std::io;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
#[cfg(unix)]
use std::thread;
#[cfg(unix)]
use std::time::Duration;

/// The first interval between two looks at the lock of a daemon that does not tell when it ends.
#[cfg(unix)]
const FIRST_INTERVAL: Duration = Duration::from_millis(1);

/// The lock and the socket of a service, taken by this process.
pub(in crate::broker::service) struct Place {
    pub(in crate::broker::service) listener: LocalListener,
    pub(in crate::broker::service) endpoint: Endpoint,
    pub(in crate::broker::service) identity_file: PathBuf,
    pub(in crate::broker::service) daemon: Daemon,
}

impl Place {
    pub(in crate::broker::service) fn take(service: &Service) -> Result<Self, ForServiceError> {
        let paths = ServicePaths::of_daemon(service)?;
        paths.make()?;
        let socket = text(&paths.socket()?)?;
        let endpoint = if cfg!(windows) {
            Endpoint::windows_pipe(&service.name, socket)?
        } else {
            Endpoint::unix_socket(&service.name, socket)?
        };
        #[cfg(unix)]
        if let Some(succeeded) = handover::succeed(service, &paths, &endpoint.path)? {
            return Self::of_successor(service, paths, endpoint, succeeded);
        }
        #[cfg(unix)]
        if let Some(socket) = LocalListener::take_passed(&endpoint.path)? {
            return Self::of_activated(service, paths, endpoint, socket);
        }
        let (lock, own_start) = match passed_lock(service, &paths)? {
            Some(lock) => (lock, None),
            None => {
                let lock = take_lock(&paths)?;
                let begin = || OwnStart::begin(&paths).map_err(ForServiceError::Files);
                // Where no lock can be passed, the client records the start all the same.
                let is_recorded = cfg!(not(unix)) && service.is_started();
                (lock, if is_recorded { None } else { Some(begin()?) })
            }
        };
        Self::first(service, paths, endpoint, lock, own_start, None)
    }

    /// Takes the place that the daemon before this process has passed, or has left by its end.
    #[cfg(unix)]
    fn of_successor(
        service: &Service,
        paths: ServicePaths,
        endpoint: Endpoint,
        succeeded: Succeeded,
    ) -> Result<Self, ForServiceError> {
        match succeeded {
            Succeeded::Endpoint(taken) => {
                let lock = Arc::new(Mutex::new(Some(taken.lock.clone())));
                let (succession, listener) =
                    Succession::of_successor(&paths, *taken, &lock, service.start_timeout);
                Ok(Self::with(service, paths, endpoint, listener, lock, None, succession))
            }
            Succeeded::Lock { lock, replacing } => {
                let own_start = OwnStart::begin(&paths).map_err(ForServiceError::Files)?;
                Self::first(service, paths, endpoint, lock, Some(own_start), Some(replacing))
            }
        }
    }

    /// Serves `socket`, which a service manager has passed. A daemon that still has the lock is waited for: it ends, because its
    /// own socket has lost its name, or drains. The service manager would start this process again and again otherwise.
    #[cfg(unix)]
    fn of_activated(
        service: &Service,
        paths: ServicePaths,
        endpoint: Endpoint,
        socket: OwnedFd,
    ) -> Result<Self, ForServiceError> {
        let lock = HeldLock::new(wait_for_lock(&paths, Deadline::after(service.start_timeout))?);
        let own_start = OwnStart::begin(&paths).map_err(ForServiceError::Files)?;
        let listener = LocalListener::from_service_manager(&endpoint.path, socket, lock.clone())?;
        let lock = Arc::new(Mutex::new(Some(lock)));
        let succession = Succession::first(&paths, &listener, &lock, service.start_timeout, None);
        Ok(Self::with(service, paths, endpoint, listener, lock, Some(own_start), succession))
    }

    /// Binds the socket under `lock`.
    fn first(
        service: &Service,
        paths: ServicePaths,
        endpoint: Endpoint,
        lock: InstanceLock,
        own_start: Option<OwnStart>,
        replacing: Option<InstanceLock>,
    ) -> Result<Self, ForServiceError> {
        let lock = HeldLock::new(lock);
        let listener = LocalListener::bind_locked(&endpoint.path, lock.clone())?;
        let lock = Arc::new(Mutex::new(Some(lock)));
        let succession = Succession::first(&paths, &listener, &lock, service.start_timeout, replacing);
        Ok(Self::with(service, paths, endpoint, listener, lock, own_start, succession))
    }

    fn with(
        service: &Service,
        paths: ServicePaths,
        endpoint: Endpoint,
        listener: LocalListener,
        lock: Arc<Mutex<Option<HeldLock>>>,
        own_start: Option<OwnStart>,
        succession: Succession,
    ) -> Self {
        // Without a watch the log is bounded by the next start.
        let _best_effort = keep_log(&paths.log(), service.log_limit);
        let identity_file = paths.identity_file();
        let (own_start, drain) = (Mutex::new(own_start), Mutex::default());
        let daemon = Daemon { paths, own_start, drain, lock, succession, at_end: Mutex::default() };
        Self { listener, endpoint, identity_file, daemon }
    }
}

/// Returns `None`: the system passes no lock to a child.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on the other systems")]
fn passed_lock(_: &Service, _: &ServicePaths) -> Result<Option<InstanceLock>, ForServiceError> {
    Ok(None)
}

/// Returns the lock that the starter has passed to this process; `None` if there is none.
///
/// The lock of another service is an error: its starter would wait in vain.
#[cfg(unix)]
fn passed_lock(service: &Service, paths: &ServicePaths) -> Result<Option<InstanceLock>, ForServiceError> {
    use std::os::unix::fs::MetadataExt;
    let Some(number) = std::env::var(variables::LOCK).ok().and_then(|number| number.parse().ok()) else {
        return Ok(None);
    };
    let path = paths.lock();
    // Without a lock here, the one that was passed is another: no file has this identity.
    let identity = match path.symlink_metadata() {
        Ok(found) => (found.dev(), found.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (0, 0),
        Err(error) => return Err(ForServiceError::Files(error)),
    };
    match sys::inherited_lock(number, identity).map_err(ForServiceError::Files)? {
        Inherited::Lock(file) => match InstanceLock::from_file(file, &path) {
            Ok(lock) => Ok(Some(lock)),
            // Another process has the lock, or the file is another one by now.
            Err(BindError::InUse { .. } | BindError::Lock { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        },
        Inherited::Other => is_started_for(service).map(|()| None),
        // A program in between has closed it, or it is that of a service that this process serves as well.
        Inherited::Nothing => Ok(None),
    }
}

/// Checks that the starter of this process has started this service.
#[cfg(unix)]
fn is_started_for(service: &Service) -> Result<(), ForServiceError> {
    let Ok(started) = std::env::var(variables::SERVICE) else { return Ok(()) };
    if service.is_started() {
        return Ok(());
    }
    let started_key = std::env::var_os(variables::KEY);
    let (own, own_key) = (service.name.clone(), service.key.clone());
    Err(ForServiceError::StartedForAnother { service: started, started_key, own, own_key })
}

/// Takes the lock once no other process has it.
///
/// # Errors
///
/// Another process has it at `deadline`.
#[cfg(unix)]
fn wait_for_lock(paths: &ServicePaths, deadline: Deadline) -> Result<InstanceLock, ForServiceError> {
    let mut interval = Interval::from(FIRST_INTERVAL);
    loop {
        match take_lock(paths) {
            Err(ForServiceError::Runs { .. }) if !deadline.has_passed() => {}
            taken => return taken,
        }
        match OperationWait::at(&paths.draining()) {
            Some(drain) => drop(drain.ends(deadline)),
            None => thread::sleep(interval.next()),
        }
    }
}

fn take_lock(paths: &ServicePaths) -> Result<InstanceLock, ForServiceError> {
    if let Some(lock) = InstanceLock::try_take(&paths.lock())? {
        return Ok(lock);
    }
    let identity = try_read_daemon_identity_file(&paths.identity_file()).ok().flatten();
    let holder = || InstanceLock::holder(&paths.lock()).ok().flatten().and_then(|holder| holder.pid());
    Err(ForServiceError::Runs { pid: identity.map(|identity| identity.pid).or_else(holder) })
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::broker::service::scratch::{ScratchService, released};
    use crate::own_process;
    use std::path::Path;

    /// The variable that has the root of the service.
    const ROOT: &str = "TEST_ROOT";
    const NAME: &str = "alone";

    #[test]
    #[ignore = "run by a test below in a process of its own"]
    fn taker() {
        let Ok(root) = std::env::var(ROOT) else { return };
        let service = Service::new(NAME).unwrap().below(root);
        let place = Place::take(&service).unwrap();
        let start = OperationWait::at(&place.daemon.paths.starting()).unwrap();
        assert_eq!(start.process(), Some(std::process::id()));
    }

    #[test]
    #[ignore = "run by a test below in a process of its own"]
    fn asker() {
        let Ok(root) = std::env::var(ROOT) else { return };
        let service = Service::new(NAME).unwrap().below(root);
        let asked = passed_lock(&service, &ServicePaths::of(&service).unwrap());
        assert!(matches!(asked, Err(ForServiceError::Files(_))), "{asked:?}");
    }

    /// Runs a test of this module as a daemon that was started for the service `started`, with the number of a descriptor that it
    /// does not have.
    fn run_without_lock(test: impl Fn(), root: &Path, started: &str) {
        let mut daemon = own_process::command(test);
        daemon.env(ROOT, root).env(variables::SERVICE, started).env(variables::LOCK, i32::MAX.to_string());
        own_process::assert_passed(&daemon.output().unwrap());
    }

    #[test]
    fn a_daemon_that_no_lock_reaches_takes_it_and_announces_its_own_start() {
        let ScratchService { paths, .. } = &ScratchService::new(NAME);
        // A daemon of another service starts this one by hand, with its own environment.
        for started in [NAME, "other"] {
            run_without_lock(taker, paths.root(), started);
        }
    }

    #[test]
    fn a_daemon_that_cannot_look_at_the_lock_tells_why() {
        let ScratchService { paths, .. } = &ScratchService::new(NAME);
        std::fs::remove_dir(paths.directory()).unwrap();
        std::fs::write(paths.directory(), "a file in the way").unwrap();
        run_without_lock(asker, paths.root(), NAME);
    }

    #[test]
    fn a_daemon_that_a_service_manager_starts_waits_for_the_lock_until_its_deadline() {
        let ScratchService { paths, .. } = &ScratchService::new("waits");
        let before = take_lock(paths).unwrap();
        let late = wait_for_lock(paths, Deadline::after(Duration::from_millis(50)));
        assert!(matches!(late, Err(ForServiceError::Runs { .. })), "{late:?}");
        let taken =
            released(|| wait_for_lock(paths, Deadline::after(Duration::from_mins(1))), || before.release());
        taken.unwrap().release();
    }
}
