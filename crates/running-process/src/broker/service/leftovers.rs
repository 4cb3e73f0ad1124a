//! Files that a daemon which has ended left behind, and their removal under the service's lock.

use super::deadline::Deadline;
use super::definition::Service;
use super::find::{Look, is_held, take_start_lock};
use super::find_error::FindError;
use super::history::History;
use super::names::Names;
use super::paths::ServicePaths;
use super::replace::replacing::Replacing;
use super::start::log;
use crate::broker::backend_lifecycle::identity::DaemonProcess;
use crate::broker::backend_lifecycle::identity_file::try_remove_daemon_identity_file;
use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::broker::backend_lifecycle::verify::recorded_process;
use crate::transport::BindError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A change by [`Service::remove_leftovers`], told before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftoverChange {
    /// The file is written: the history of starts counts the daemon that ended, or the lock file is made.
    Write(PathBuf),
    /// The file is removed.
    Remove(PathBuf),
}

/// The reason why what a daemon left was not removed, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeftoverError {
    /// The state of the service cannot be told.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A file cannot be written or removed.
    #[error("a file of the service cannot be written or removed")]
    Files(#[source] io::Error),
    /// A socket cannot be removed.
    #[error("a socket of the service cannot be removed")]
    Socket(#[source] BindError),
}

impl Service {
    /// Removes the files of a daemon that has ended without cleaning up, as the next start would. Each change is told to `step`
    /// before it is made. Returns `false`, and changes nothing, if a daemon runs, starts or is replaced.
    ///
    /// # Errors
    ///
    /// [`LeftoverError`] says what is left.
    pub fn remove_leftovers(
        &self,
        deadline: impl Into<Deadline>,
        step: &mut dyn FnMut(LeftoverChange),
    ) -> Result<bool, LeftoverError> {
        let paths = ServicePaths::of(self).map_err(FindError::from)?;
        if leftovers(&paths, &Names::of(&paths))?.is_empty() {
            return Ok(false);
        }
        paths.check().map_err(FindError::from)?;
        if !paths.start_lock().exists() {
            step(LeftoverChange::Write(paths.start_lock()));
        }
        let Some(lock) = take_start_lock(&paths)? else { return Ok(false) };
        let cleaned = self.remove_leftovers_locked(&paths, deadline.into(), step);
        lock.release();
        cleaned
    }

    fn remove_leftovers_locked(
        &self,
        paths: &ServicePaths,
        deadline: Deadline,
        step: &mut dyn FnMut(LeftoverChange),
    ) -> Result<bool, LeftoverError> {
        if Replacing::is_held(paths)? {
            return Ok(false);
        }
        let Look::NotServed { stale } = self.look_once(paths, deadline)? else { return Ok(false) };
        let mut history = History::read(paths);
        remove_identity(paths, &mut history, stale.as_deref(), step).map_err(LeftoverError::Files)?;
        #[cfg(unix)]
        for path in sockets(paths, &Names::of(paths)).filter(|path| is_stale(path)) {
            step(LeftoverChange::Remove(path.clone()));
            crate::transport::remove_stale_socket(&path).map_err(LeftoverError::Socket)?;
        }
        Ok(true)
    }
}

/// Counts a daemon or a start that ended without a trace as failed, and removes its identity file. The caller holds the lock.
pub(super) fn remove_identity(
    paths: &ServicePaths,
    history: &mut History,
    stale: Option<&DaemonProcess>,
    step: &mut dyn FnMut(LeftoverChange),
) -> io::Result<()> {
    let before = history.clone();
    let log_from = history.log_from;
    let log = || log::tail(&paths.log(), log_from);
    match stale {
        Some(_) => history.crashed(SystemTime::now(), log()),
        None => history.left_nothing(SystemTime::now(), log),
    }
    if *history != before {
        step(LeftoverChange::Write(paths.history()));
        history.write(paths)?;
    }
    if stale.is_none() {
        return Ok(());
    }
    // Only after it is counted: it is the evidence.
    step(LeftoverChange::Remove(paths.identity_file()));
    try_remove_daemon_identity_file(&paths.identity_file())
}

/// Returns the files that a daemon left which has ended; none while a process has the lock of the service, or replaces the daemon.
///
/// A process that makes such a file holds a lock before, and a daemon that ends has removed its files once it holds none. So the locks
/// are looked at on both sides of the files, if there is any such file.
pub(super) fn leftovers(paths: &ServicePaths, names: &Names) -> Result<Vec<PathBuf>, FindError> {
    leftovers_unless(paths, names, || Ok(is_held(paths)? || Replacing::is_held(paths)?))
}

/// Returns the files as [`leftovers`] does; none if `is_of_another` on either side of the look at them.
fn leftovers_unless(
    paths: &ServicePaths,
    names: &Names,
    mut is_of_another: impl FnMut() -> Result<bool, FindError>,
) -> Result<Vec<PathBuf>, FindError> {
    let has_identity = names.has(&paths.identity_file());
    let sockets: Vec<PathBuf> = sockets(paths, names).collect();
    if (!has_identity && sockets.is_empty()) || is_of_another()? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    if has_identity
        && let Some(identity) = paths.identity()?
        && let Err(ProbeError::Gone { .. } | ProbeError::ReusedPid { .. } | ProbeError::OtherBoot { .. }) =
            recorded_process(&identity)
    {
        found.push(paths.identity_file());
    }
    found.extend(sockets.into_iter().filter(|path| is_stale(path)));
    if found.is_empty() || is_of_another()? {
        return Ok(Vec::new());
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    Ok(found)
}

/// Returns the sockets of the service that are there. That of a service manager is its own: to connect there would have it start the
/// daemon.
fn sockets(paths: &ServicePaths, names: &Names) -> impl Iterator<Item = PathBuf> {
    let own = (!names.has(&paths.activation())).then(|| paths.socket_path());
    let others = [paths.starting(), paths.draining(), paths.replacing_announced()];
    #[cfg(unix)]
    let others = others.into_iter().chain([paths.control()]);
    own.into_iter().chain(others).filter(|path| names.has(path))
}

/// Returns whether no process listens at the socket.
#[cfg(unix)]
fn is_stale(socket: &Path) -> bool {
    crate::transport::is_stale_socket(socket)
}

/// Returns `false`: a pipe ends with its process.
#[cfg(not(unix))]
fn is_stale(_: &Path) -> bool {
    false
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::broker::backend_lifecycle::identity_file::write_daemon_identity_file;
    use crate::broker::protocol::Endpoint;
    use crate::broker::service::operation::Operation;
    use crate::broker::service::scratch::ScratchService;
    use crate::transport::InstanceLock;
    use std::os::unix::net::UnixListener;

    /// Writes the identity file of a daemon that has ended, whose pid is this process's now.
    fn write_stale_identity(paths: &ServicePaths) -> DaemonProcess {
        let socket = paths.socket_path();
        let endpoint = Endpoint::unix_socket("left", socket.to_str().unwrap()).unwrap();
        let mut daemon = DaemonProcess::current_process(endpoint, None).unwrap();
        "another boot".clone_into(&mut daemon.boot_id);
        write_daemon_identity_file(&paths.identity_file(), &daemon).unwrap();
        daemon
    }

    fn found(paths: &ServicePaths) -> Vec<PathBuf> {
        leftovers(paths, &Names::of(paths)).unwrap()
    }

    #[test]
    fn files_are_left_only_while_no_process_holds_a_lock() {
        let ScratchService { paths, .. } = &ScratchService::new("left");
        assert!(found(paths).is_empty());
        write_stale_identity(paths);
        assert_eq!(found(paths), [paths.identity_file()]);
        for lock in [paths.lock(), paths.replacing()] {
            let held = InstanceLock::try_take(&lock).unwrap().unwrap();
            assert!(found(paths).is_empty(), "{lock:?}");
            held.release();
        }
        assert_eq!(found(paths), [paths.identity_file()]);
        for looks in [[true, false], [false, true]] {
            let mut looks = looks.into_iter();
            let found = leftovers_unless(paths, &Names::of(paths), || Ok(looks.next().unwrap_or_default()));
            assert!(found.unwrap().is_empty(), "a process has a lock on one side of the look");
        }
    }

    #[test]
    fn a_socket_at_which_no_process_listens_is_left_unless_it_is_a_service_managers() {
        let ScratchService { paths, .. } = &ScratchService::new("left");
        let sockets = [
            paths.socket_path(),
            paths.starting(),
            paths.draining(),
            paths.replacing_announced(),
            paths.control(),
        ];
        for socket in &sockets {
            drop(UnixListener::bind(socket).unwrap());
        }
        assert_eq!(found(paths), sockets);
        std::fs::write(paths.activation(), "").unwrap();
        assert_eq!(found(paths), sockets[1..]);
    }

    #[test]
    fn a_socket_at_which_a_process_listens_is_not_left() {
        let ScratchService { paths, .. } = &ScratchService::new("left");
        std::fs::write(paths.starting(), "no socket").unwrap();
        let drain = Operation::announce(paths.draining()).unwrap();
        assert!(found(paths).is_empty());
        drain.withdraw();
    }

    #[test]
    fn a_crash_is_counted_before_its_evidence_is_removed() {
        let ScratchService { paths, .. } = &ScratchService::new("left");
        let mut steps = Vec::new();
        let mut history = History::default();
        remove_identity(paths, &mut history, None, &mut |step| steps.push(step)).unwrap();
        assert_eq!(steps, [], "there was no start");
        history.begin(SystemTime::now());
        history.serves();
        let daemon = write_stale_identity(paths);
        remove_identity(paths, &mut history, Some(&daemon), &mut |step| steps.push(step)).unwrap();
        let changes = [LeftoverChange::Write(paths.history()), LeftoverChange::Remove(paths.identity_file())];
        assert_eq!(steps, changes);
        assert_eq!(History::read(paths).failures, 1);
        assert!(!paths.identity_file().exists());
        // It is counted once.
        remove_identity(paths, &mut history, Some(&daemon), &mut |step| steps.push(step)).unwrap();
        assert_eq!((History::read(paths).failures, steps.len()), (1, 3));
    }
}
