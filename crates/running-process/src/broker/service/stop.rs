//! The end of a service's daemon, through the handle of the proven process.

use super::deadline::Deadline;
use super::definition::Service;
use super::find::{Look, ORPHAN_GRACE, holder, is_held, take_start_lock};
use super::find_error::FindError;
use super::history::{History, Stage};
use super::operation::OperationWait;
use super::paths::ServicePaths;
use super::replace::abandoned;
use super::state::{ServiceState, named};
use crate::broker::backend_handle::KILL_TIMEOUT;
use crate::broker::backend_lifecycle::identity_file::{
    try_read_daemon_identity_file, try_remove_daemon_identity_file,
};
use crate::broker::backend_lifecycle::probe::ProbeError;
use crate::broker::backend_lifecycle::verify::recorded_process;
use crate::sys::ProcessHandle;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Time for which a daemon that was asked to end may go on: its drain, and a little more. After that it is killed.
pub(super) const GRACE: Duration = Duration::from_secs(15);
/// Interval between two looks where the system reports no event.
const INTERVAL: Duration = Duration::from_millis(20);

/// The way in which a service came to have no daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// No daemon ran.
    NotRunning,
    /// The daemon was asked to end, and has ended.
    Ended {
        /// The process that ended.
        pid: u32,
    },
    /// The daemon did not end when it was asked, and was killed.
    Killed {
        /// The process that was killed.
        pid: u32,
    },
}

/// The reason why a daemon was not stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// The state of the service cannot be told.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The process could not be signalled or waited for.
    #[error("the daemon could not be stopped")]
    Process(#[source] io::Error),
    /// It is not proven which process is the daemon, so none was signalled.
    #[error("it is not proven which process is the daemon, so none was stopped")]
    NotProven(#[source] ProbeError),
    /// A process that got the descriptors of a daemon that has ended holds its lock. It is no daemon, and was not signalled.
    /// The daemon may have been ended by this call.
    #[error("no daemon runs, and {} holds its lock: end that process", named(*pid))]
    HeldByOrphan {
        /// The process that holds the lock; `None` if the system does not tell.
        pid: Option<u32>,
    },
    /// The deadline passed first.
    #[error("the daemon was not stopped in time: it is {state}")]
    TimedOut {
        /// The name of the state at that moment, as [`ServiceState::name`](crate::broker::service::ServiceState::name) tells it.
        state: &'static str,
    },
}

impl Service {
    /// Stops the daemon of the service: asks it to end (SIGTERM), and kills it if it still runs after 15 seconds or at the
    /// deadline, whichever comes first. Returns once it has ended and its lock is free.
    ///
    /// The signals go through a handle to the proven process, so it is certain who is stopped, or nobody is. A daemon that is
    /// starting is waited for and then stopped. A client that asks for the daemon at the same time gets it before, or a new
    /// one after.
    ///
    /// # Errors
    ///
    /// [`StopError`] says why no daemon was stopped.
    ///
    /// # Platform-specific behavior
    ///
    /// Windows has no request to end for a process without a console: the daemon is killed at once.
    pub fn stop(&self, deadline: impl Into<Deadline>) -> Result<Stopped, StopError> {
        let deadline = deadline.into();
        let paths = ServicePaths::of(self).map_err(FindError::from)?;
        let mut predecessor = None;
        loop {
            let state = match self.look(&paths, deadline)? {
                Look::Live(handle) => {
                    let successor = abandoned::noted(&paths);
                    let stopped = self.end(handle.process(), &paths, deadline)?;
                    // Its successor may have taken over before it was asked to end. A daemon that was started since is a new one.
                    if let Some(successor) = successor
                        && let Look::Live(daemon) = self.look(&paths, deadline)?
                        && is_process(daemon.process(), successor)
                    {
                        predecessor = Some(stopped);
                        continue;
                    }
                    return Ok(stopped);
                }
                Look::Busy { pid } => {
                    if let Some(process) = recorded(&paths, pid)? {
                        return self.end(&process, &paths, deadline);
                    }
                    "busy"
                }
                Look::Impostor(error) | Look::NotInspectable(error) => {
                    return Err(StopError::NotProven(error));
                }
                Look::NotServed { .. } => match self.state(&paths, deadline)? {
                    ServiceState::HeldByOrphan { pid } => return Err(StopError::HeldByOrphan { pid }),
                    state @ (ServiceState::Starting { .. } | ServiceState::Draining { .. }) => {
                        if let Some(process) = unwatched(&paths)? {
                            return self.end(&process, &paths, deadline);
                        }
                        wait(&paths, deadline);
                        state.name()
                    }
                    ServiceState::Absent | ServiceState::Stale { .. } | ServiceState::BackingOff { .. } => {
                        return Ok(predecessor.unwrap_or(Stopped::NotRunning));
                    }
                    // The daemon serves since.
                    state => state.name(),
                },
            };
            if deadline.has_passed() {
                return Err(StopError::TimedOut { state });
            }
        }
    }

    /// Ends the process of the daemon, and waits until its lock is free.
    fn end(
        &self,
        process: &ProcessHandle,
        paths: &ServicePaths,
        deadline: Deadline,
    ) -> Result<Stopped, StopError> {
        let stopped = end(process, deadline).map_err(StopError::Process)?;
        if let Some(successor) = abandoned::find(paths)? {
            // It would take the place of the daemon that has ended.
            end(&successor.process, deadline).map_err(StopError::Process)?;
        }
        self.after_end(stopped, process.pid(), paths, deadline)
    }

    /// Ends the process of the daemon so that the next one can be started: asks it to end, and kills it only if it still runs after
    /// 15 seconds, because it finishes what it has accepted.
    pub(super) fn end_for_successor(
        &self,
        process: &ProcessHandle,
        paths: &ServicePaths,
        deadline: Deadline,
    ) -> Result<Stopped, StopError> {
        let stopped = end_unless_late(process, deadline).map_err(StopError::Process)?;
        let Some(stopped) = stopped else { return Err(StopError::TimedOut { state: "draining" }) };
        self.after_end(stopped, process.pid(), paths, deadline)
    }

    /// Waits until the lock of the process that has ended is free.
    fn after_end(
        &self,
        stopped: Stopped,
        pid: u32,
        paths: &ServicePaths,
        deadline: Deadline,
    ) -> Result<Stopped, StopError> {
        self.freed(paths, deadline)?;
        if matches!(stopped, Stopped::Killed { .. }) {
            Self::clean_up(paths, pid);
        }
        Ok(stopped)
    }

    /// Removes what the killed process `pid` left, unless another process has the lock by now: it was no crash.
    fn clean_up(paths: &ServicePaths, pid: u32) {
        let Ok(Some(_lock)) = take_start_lock(paths) else { return };
        let identity = try_read_daemon_identity_file(&paths.identity_file()).ok().flatten();
        if identity.is_some_and(|identity| identity.pid == pid) {
            let mut history = History::read(paths);
            history.settled();
            // The next start does it otherwise, and counts a crash.
            let _best_effort = history.write(paths);
            let _best_effort = try_remove_daemon_identity_file(&paths.identity_file());
        }
    }

    /// Waits until the lock of the daemon that has ended is free, or a client has taken it for the next daemon, which is not
    /// stopped.
    fn freed(&self, paths: &ServicePaths, deadline: Deadline) -> Result<(), StopError> {
        let orphaned_after = deadline.within(ORPHAN_GRACE);
        while is_held(paths)? {
            if Instant::now() < orphaned_after
                && matches!(self.look(paths, deadline)?, Look::NotServed { .. })
            {
                thread::sleep(INTERVAL);
                continue;
            }
            return match self.state(paths, deadline)? {
                ServiceState::HeldByOrphan { pid } => Err(StopError::HeldByOrphan { pid }),
                _ => Ok(()),
            };
        }
        Ok(())
    }
}

/// Returns the process in the identity file, if that still names `pid`. It did not answer in time, but the kernel says that it
/// is the recorded process, and that is enough to end it.
pub(super) fn recorded(paths: &ServicePaths, pid: u32) -> Result<Option<ProcessHandle>, StopError> {
    let identity = paths.read_identity()?;
    match identity.filter(|identity| identity.pid == pid).map(|identity| recorded_process(&identity)) {
        None | Some(Err(ProbeError::Gone { .. } | ProbeError::ReusedPid { .. })) => Ok(None),
        Some(Ok(process)) => Ok(Some(process)),
        Some(Err(error)) => Err(StopError::NotProven(error)),
    }
}

/// Returns whether the process has this id and start time.
fn is_process(process: &ProcessHandle, (pid, start_time): (u32, u64)) -> bool {
    process.pid() == pid && process.start_time().is_ok_and(|found| found == start_time)
}

/// Returns the process of a start or of a replacement that no client watches any more. It holds the lock, and has the recorded start
/// time.
fn unwatched(paths: &ServicePaths) -> Result<Option<ProcessHandle>, StopError> {
    if OperationWait::at(&paths.starting()).is_some() {
        return Ok(None);
    }
    if let Some(successor) = abandoned::find(paths)? {
        return Ok(Some(successor.process));
    }
    let history = History::read(paths);
    let Some((pid, start_time)) = history.process.filter(|_| history.stage == Stage::Starting) else {
        return Ok(None);
    };
    if !holder(paths)?.is_some_and(|holder| holder.pids().contains(&pid)) {
        return Ok(None);
    }
    let process = ProcessHandle::open(pid).map_err(StopError::Process)?;
    Ok(process.filter(|process| process.start_time().is_ok_and(|found| found == start_time)))
}

/// Asks the process to end, and kills it if it does not in time.
fn end(process: &ProcessHandle, deadline: Deadline) -> io::Result<Stopped> {
    if ask(process, deadline.within(GRACE))? {
        return Ok(Stopped::Ended { pid: process.pid() });
    }
    kill(process)
}

/// Asks the process to end, and kills it if it does not; `None` if `deadline` passes before it may be killed.
fn end_unless_late(process: &ProcessHandle, deadline: Deadline) -> io::Result<Option<Stopped>> {
    let grace = Deadline::after(GRACE);
    let until = deadline.within(GRACE);
    if ask(process, until)? {
        return Ok(Some(Stopped::Ended { pid: process.pid() }));
    }
    // A process that cannot be asked is killed at once.
    if deadline.has_passed() && !grace.has_passed() { Ok(None) } else { kill(process).map(Some) }
}

/// Asks the process to end, and returns whether it has ended at `until`; at once if the system has no such request.
fn ask(process: &ProcessHandle, until: Instant) -> io::Result<bool> {
    match process.terminate() {
        Ok(()) => process.wait_exit(Some(until)),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error),
    }
}

fn kill(process: &ProcessHandle) -> io::Result<Stopped> {
    let pid = process.pid();
    process.kill()?;
    // Only a process in uninterruptible sleep takes longer than an instant.
    if process.wait_exit(Some(Instant::now() + KILL_TIMEOUT))? {
        Ok(Stopped::Killed { pid })
    } else {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {pid} was killed and has not ended")))
    }
}

/// Waits until the process that starts, drains or replaces the daemon has done so, or a little while.
fn wait(paths: &ServicePaths, deadline: Deadline) {
    let operations = [paths.starting(), paths.draining(), paths.replacing_announced()];
    match operations.iter().find_map(|path| OperationWait::at(path)) {
        Some(waiting) => drop(waiting.ends(deadline)),
        None => thread::sleep(deadline.left().unwrap_or(INTERVAL).min(INTERVAL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::broker::service::operation::Operation;
    #[cfg(unix)]
    use crate::broker::service::scratch::{ScratchService, released};
    #[cfg(unix)]
    use crate::transport::InstanceLock;

    #[test]
    fn a_process_is_the_recorded_one_only_with_the_same_start_time() {
        let process = ProcessHandle::open(std::process::id()).unwrap().unwrap();
        let (pid, start_time) = (process.pid(), process.start_time().unwrap());
        assert!(is_process(&process, (pid, start_time)));
        assert!(!is_process(&process, (pid, start_time + 1)), "the pid was used again");
        assert!(!is_process(&process, (pid + 1, start_time)));
    }

    #[cfg(unix)]
    #[test]
    fn the_lock_of_a_daemon_that_has_ended_is_waited_for() {
        let ScratchService { service, paths, .. } = &ScratchService::new("stopped");
        let lock = InstanceLock::try_take(&paths.lock()).unwrap().unwrap();
        let freed = || service.freed(paths, Deadline::after(Duration::from_mins(1)));
        released(freed, || lock.release()).unwrap();
        assert!(!is_held(paths).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn the_end_of_an_announced_operation_is_waited_for() {
        let ScratchService { paths, .. } = &ScratchService::new("stopped");
        for path in [paths.starting(), paths.draining(), paths.replacing_announced()] {
            let announced = Operation::announce(path.clone()).unwrap();
            released(
                || wait(paths, Deadline::after(Duration::from_mins(1))),
                || {
                    announced.await_waiter();
                    announced.withdraw();
                    drop(announced);
                },
            );
            assert!(!path.exists(), "{path:?} was withdrawn before it ended");
        }
    }
}
