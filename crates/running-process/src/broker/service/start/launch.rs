//! The start of a daemon by the process that holds the service's lock.

use super::command::{Command, CommandError};
use super::ensure_error::EnsureError;
use super::log;
use super::supervise::{Launch, StartEvent, Supervised};
use crate::broker::backend_handle::BackendHandle;
use crate::broker::service::deadline::Deadline;
use crate::broker::service::definition::Service;
use crate::broker::service::find::Look;
use crate::broker::service::history::{History, StartEnd, StartFailure};
use crate::broker::service::leftovers::remove_identity;
use crate::broker::service::operation::Operation;
use crate::broker::service::paths::ServicePaths;
use crate::transport::InstanceLock;
use std::io;
use std::time::SystemTime;

/// The outcome of a start that did not fail.
pub(in crate::broker::service) enum Outcome {
    /// The daemon was started and is proven.
    Started(Box<BackendHandle>),
    /// The daemon served, and ended as it should before this process had proven it: it was stopped, or it was idle.
    Ended(StartFailure),
    /// The state is to be judged again: a daemon without a lock has appeared since, or it is unknown whether the daemon runs. Then
    /// it holds the lock, or nobody does.
    Unknown,
}

/// Starts the daemon, tells `events`, and returns once the daemon is proven.
pub(in crate::broker::service) fn start(
    service: &Service,
    paths: &ServicePaths,
    lock: InstanceLock,
    deadline: Deadline,
    events: &mut dyn FnMut(StartEvent<'_>),
) -> Result<Outcome, EnsureError> {
    // Only now nothing changes any more, but for daemons that take no lock.
    let stale = match service.look_once(paths, deadline)? {
        Look::NotServed { stale } => stale.map(|stale| *stale),
        // This process holds the lock, so the daemon that cannot be examined from here has ended.
        Look::NotInspectable(_) => paths.read_identity()?,
        _ => return Ok(Outcome::Unknown),
    };
    let mut start = Start { service, paths, history: History::read(paths), events };
    remove_identity(paths, &mut start.history, stale.as_ref(), &mut |_| {}).map_err(EnsureError::Files)?;
    if let Some(until) = start.history.backs_off(SystemTime::now()) {
        let failure = start.history.failure.map(|(_, failure)| failure);
        return Err(EnsureError::BackingOff { until, failure });
    }
    let command = Command::of(service, paths);
    if let Err(CommandError::Unknown(error)) = command {
        return Err(error);
    }
    start.history.begin(SystemTime::now());
    start.history.runs_program(service.program().as_deref());
    start.record().map_err(EnsureError::Files)?;
    // If it cannot be announced, the others look again at intervals.
    let operation = Operation::announce(paths.starting()).ok();
    let result = start.run(command, &lock, deadline);
    if let Some(operation) = &operation {
        operation.withdraw();
    }
    if matches!(result, Err(EnsureError::StartFailed(_))) {
        // No process of this start shall keep it. Otherwise the daemon has its own copy.
        lock.release();
    }
    result
}

struct Start<'a> {
    service: &'a Service,
    paths: &'a ServicePaths,
    history: History,
    events: &'a mut dyn FnMut(StartEvent<'_>),
}

impl Start<'_> {
    fn record(&self) -> io::Result<()> {
        self.history.write(self.paths)
    }

    fn run(
        &mut self,
        command: Result<Command, CommandError>,
        lock: &InstanceLock,
        deadline: Deadline,
    ) -> Result<Outcome, EnsureError> {
        let (log, before) = log::open(self.paths, self.service.log_limit).map_err(EnsureError::Files)?;
        self.history.log_from = before;
        let launch =
            Launch { service: self.service, paths: self.paths, lock, predecessor: None, log: &log, deadline };
        let (history, events) = (&mut self.history, &mut *self.events);
        let mut record = |event: StartEvent<'_>| {
            if let StartEvent::Runs { process } = event {
                history.runs(process.pid(), process.start_time().ok());
                // Without it a stop cannot end a daemon that hangs before it serves.
                let _best_effort = history.write(launch.paths);
            }
            events(event);
        };
        let end = match launch.run(command, &mut record)? {
            Supervised::Serves(handle) => {
                // A process that replaces daemons may have written it since the daemon serves.
                self.history = History::read(self.paths);
                self.history.serves();
                // Without it a crash is not counted. The daemon serves all the same.
                let _best_effort = self.record();
                return Ok(Outcome::Started(handle));
            }
            Supervised::Lost => return Ok(Outcome::Unknown),
            Supervised::Ended { end, is_ready } if is_ready && is_orderly(&end) => {
                self.history.serves();
                let _best_effort = self.record();
                return Ok(Outcome::Ended(StartFailure { end, log: log::tail(&self.paths.log(), before) }));
            }
            Supervised::Ended { end, .. } => end,
        };
        let failure = StartFailure { end, log: log::tail(&self.paths.log(), before) };
        self.history.failed(failure.clone(), SystemTime::now());
        // Without it those that waited start the daemon themselves, and no start begins that is not recorded.
        let _best_effort = self.record();
        Err(EnsureError::StartFailed(failure))
    }
}

/// Returns whether a daemon that served has ended as it should: by itself, or because it was asked to.
fn is_orderly(end: &StartEnd) -> bool {
    /// SIGTERM, which has this number on every Unix.
    const TERM: i32 = 15;
    matches!(end, StartEnd::Exited { status: 0 } | StartEnd::Signaled { signal: TERM })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_was_asked_to_end_has_not_failed() {
        for end in [StartEnd::Exited { status: 0 }, StartEnd::Signaled { signal: 15 }] {
            assert!(is_orderly(&end), "{end}");
        }
        for end in [StartEnd::Exited { status: 1 }, StartEnd::Signaled { signal: 9 }, StartEnd::Ended] {
            assert!(!is_orderly(&end), "{end}");
        }
    }
}
