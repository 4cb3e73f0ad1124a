//! Facts from the files of a service besides its state, for a person who looks for a fault.

use super::definition::{Service, find_program, is_program};
use super::find_error::FindError;
use super::history::{History, StartFailure};
use super::leftovers::leftovers;
use super::names::Names;
use super::operation::OperationWait;
use super::paths::ServicePaths;
use super::place_error::PlaceError;
use super::replace::abandoned;
use super::replace::replacing::Replacing;
use std::path::PathBuf;
use std::time::SystemTime;

/// Facts from the files of a service besides its [state](super::ServiceState), as [`Service::examine`] finds them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Examination {
    /// The directory of the service's files.
    pub directory: PathBuf,
    /// The path of the socket, or the name of the pipe.
    pub socket: PathBuf,
    /// The fault of a directory, if one has any.
    pub place: Result<(), PlaceError>,
    /// The program of the service's command.
    pub program: ProgramState,
    /// All starts so far, failed ones included.
    pub starts: u64,
    /// Starts in a row that have failed.
    pub failures: u32,
    /// The failure of the last start, if that has failed.
    pub failure: Option<StartFailure>,
    /// The process that the last start ran, which may have ended; `None` if no client has started one.
    pub started: Option<u32>,
    /// A process waits for the start or the replacement that is under way, and ends it if it hangs.
    pub start_is_watched: bool,
    /// The process that keeps the lock `replacing`, although no process replaces the daemon.
    pub replacing: Result<Option<ReplacingHolder>, FindError>,
    /// Files of a daemon that has ended, which the next start replaces.
    pub leftovers: Result<Vec<PathBuf>, FindError>,
    /// The limit of the log, both files together, in bytes.
    pub log_limit: u64,
}

/// The failure of the last start of a service, as [`Service::last_failure`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastFailure {
    /// The way in which the start failed.
    pub failure: StartFailure,
    /// When it failed, or when a client found the traces of a daemon that had crashed; `None` if the record does not tell.
    pub at: Option<SystemTime>,
}

/// The program of a service's command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramState {
    /// The service has no command.
    None,
    /// The program can be run.
    Found(PathBuf),
    /// There is no such file, or no program of that name in `PATH`.
    Missing(PathBuf),
    /// The file is not regular, or its mode does not allow to run it.
    NotExecutable(PathBuf),
}

/// A process that holds the lock `replacing`, although no process replaces the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplacingHolder {
    /// A successor whose starter has ended. It goes on, or is ended after the start timeout by the process that needs its place.
    Abandoned {
        /// The process of the successor.
        pid: u32,
    },
    /// A process that got the lock from a successor that has ended.
    Orphan {
        /// The process; `None` if the system does not tell.
        pid: Option<u32>,
    },
}

impl Service {
    /// Returns what the files of the service tell besides its [state](Self::find). Nothing is started or changed.
    ///
    /// # Errors
    ///
    /// As [`directory`](Self::directory).
    pub fn examine(&self) -> Result<Examination, PlaceError> {
        let paths = ServicePaths::of(self)?;
        let history = History::read(&paths);
        let names = Names::of(&paths);
        let is_announced = |path: PathBuf| names.has(&path) && OperationWait::at(&path).is_some();
        Ok(Examination {
            directory: paths.directory().to_owned(),
            socket: paths.socket_path(),
            place: paths.check().and_then(|()| paths.check_sockets()),
            program: self.program_state(),
            starts: history.start,
            failures: history.failures,
            failure: history.last_failure().cloned(),
            started: history.process.map(|(pid, _)| pid),
            start_is_watched: is_announced(paths.starting()) || is_announced(paths.replacing_announced()),
            replacing: if names.has(&paths.replacing()) { replacing_holder(&paths) } else { Ok(None) },
            leftovers: leftovers(&paths, &names),
            log_limit: self.log_limit,
        })
    }

    /// Returns the failure of the last start; `None` if that has not failed, or a daemon has served for long since.
    ///
    /// # Errors
    ///
    /// As [`directory`](Self::directory).
    pub fn last_failure(&self) -> Result<Option<LastFailure>, PlaceError> {
        let history = History::read(&ServicePaths::of(self)?);
        let failure = history.last_failure().cloned();
        Ok(failure.map(|failure| LastFailure { failure, at: history.failed_at() }))
    }

    fn program_state(&self) -> ProgramState {
        let Some((named, _)) = &self.command else { return ProgramState::None };
        match find_program(named) {
            Some(path) if is_program(&path) => ProgramState::Found(path),
            Some(path) if path.exists() => ProgramState::NotExecutable(path),
            Some(path) => ProgramState::Missing(path),
            None => ProgramState::Missing(named.clone()),
        }
    }
}

fn replacing_holder(paths: &ServicePaths) -> Result<Option<ReplacingHolder>, FindError> {
    if !Replacing::is_held(paths)? {
        return Ok(None);
    }
    if let Some(successor) = abandoned::find(paths)? {
        return Ok(Some(ReplacingHolder::Abandoned { pid: successor.process.pid() }));
    }
    Ok(abandoned::orphan(paths)?.map(|holder| ReplacingHolder::Orphan { pid: holder.pid() }))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use crate::broker::service::operation::Operation;
    use crate::broker::service::scratch::ScratchService;

    #[test]
    fn a_start_and_a_replacement_are_watched_while_they_are_announced() {
        let ScratchService { service, paths, .. } = &ScratchService::new("watched");
        let is_watched = || service.examine().unwrap().start_is_watched;
        assert!(!is_watched());
        for path in [paths.starting(), paths.replacing_announced()] {
            let announced = Operation::announce(path.clone()).unwrap();
            assert!(is_watched(), "{path:?}");
            announced.withdraw();
            assert!(!is_watched(), "{path:?} was taken away");
        }
    }
}
