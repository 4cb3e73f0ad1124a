//! The start of a successor, to which the daemon that runs hands its endpoint over.

use super::abandoned;
use crate::broker::backend_handle::BackendHandle;
use crate::broker::service::deadline::Deadline;
use crate::broker::service::definition::Service;
use crate::broker::service::history::{History, StartEnd, StartFailure};
#[cfg(unix)]
use crate::broker::service::operation::OperationWait;
use crate::broker::service::paths::ServicePaths;
use crate::broker::service::start::command::Command;
use crate::broker::service::start::ensure_error::EnsureError;
use crate::broker::service::start::log;
use crate::broker::service::start::supervise::{Launch, StartEvent, Supervised, is_part_of};
use crate::transport::InstanceLock;
use std::time::SystemTime;

/// The outcome of a handover.
pub(in crate::broker::service) enum Succeeded {
    /// The successor serves and is proven.
    Serves(Box<BackendHandle>),
    /// The daemon has ended, and a process serves that this one has not started.
    Other,
    /// The successor has ended. The daemon goes on, unless it has ended as well.
    Failed(StartFailure),
}

/// Starts the successor of the daemon `predecessor` with the lock `replacing`, tells `events`, and returns once the successor is
/// proven or has ended.
pub(in crate::broker::service) fn succeed(
    service: &Service,
    paths: &ServicePaths,
    replacing: &InstanceLock,
    predecessor: u32,
    deadline: Deadline,
    events: &mut dyn FnMut(StartEvent<'_>),
) -> Result<Succeeded, EnsureError> {
    let (log, before) = log::open(paths, service.log_limit).map_err(EnsureError::Files)?;
    let predecessor = Some(predecessor);
    let launch = Launch { service, paths, lock: replacing, predecessor, log: &log, deadline };
    // The history is that of the daemon until the successor is in its place.
    let (began, mut process) = (SystemTime::now(), None);
    let mut note = |event: StartEvent<'_>| {
        if let StartEvent::Runs { process: successor } = event {
            process = Some((successor.pid(), successor.start_time().ok()));
            // Without it a successor that hangs after this process was killed is not ended.
            let _best_effort = abandoned::note(replacing, successor);
        }
        events(event);
    };
    let end = match launch.run(Command::of(service, paths), &mut note)? {
        Supervised::Serves(handle)
            if process.is_none_or(|(started, _)| !is_part_of(handle.daemon_process.pid, started)) =>
        {
            return Ok(Succeeded::Other);
        }
        Supervised::Serves(handle) => {
            let mut history = History::read(paths);
            // The daemon that has handed its endpoint over ends as it should.
            history.settled();
            history.begin(began);
            history.log_from = before;
            history.runs_program(service.program().as_deref());
            if let Some((pid, start_time)) = process {
                history.runs(pid, start_time);
            }
            history.serves();
            // Without it a crash of the successor is not counted.
            let _best_effort = history.write(paths);
            return Ok(Succeeded::Serves(handle));
        }
        Supervised::Ended { end, .. } => end,
        // The process in between was killed. If the successor runs all the same, it is found later.
        Supervised::Lost => StartEnd::Ended,
    };
    Ok(Succeeded::Failed(StartFailure { end, log: log::tail(&paths.log(), before) }))
}

/// Returns whether the daemon `pid` hands its endpoint over to a successor that asks for it.
#[cfg(unix)]
pub(in crate::broker::service) fn hands_over(paths: &ServicePaths, pid: u32) -> bool {
    OperationWait::at(&paths.control()).is_some_and(|control| control.process() == Some(pid))
}

/// Returns `false`: the system passes no endpoint on.
#[cfg(not(unix))]
pub(in crate::broker::service) fn hands_over(_: &ServicePaths, _: u32) -> bool {
    false
}
