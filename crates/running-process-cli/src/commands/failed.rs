//! The failures of commands that start a daemon or replace it.

use super::found::foreign_listener;
use crate::failure::Failure;
use crate::failure::advice::{impostor, service as advice};
use crate::failure::start::{FailedStart, until};
use crate::services::Selected;
use crate::text::safe;
use running_process::broker::service::{
    EnsureError, FindError, RefuseReason, ReplaceError, ServiceSocket, StartFailure,
};
use std::time::{Duration, Instant, SystemTime};

/// Longest look at the sockets of the machine.
const LISTENER_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the failure of a start, with the end of the daemon's log if the daemon has failed.
pub(super) fn start(error: EnsureError, selected: &Selected) -> Failure {
    let (advice, message) = (advice::ensure(&error, &selected.argument), error.to_string());
    let name = selected.title();
    let hint = |failure: &StartFailure| hint_of(failure, selected);
    match error {
        EnsureError::StartFailed(failure) => {
            let start = FailedStart::from(&failure);
            Failure::new(start.message(), advice)
                .context(format!("{name} did not start"))
                .start(Some(start))
                .hint(hint(&failure))
        }
        EnsureError::BackingOff { until: moment, failure: last } => {
            let start = last.as_ref().map(FailedStart::from);
            let paused =
                format!("{name} has failed several times: it is not started before {}", until(moment));
            let failure = match &start {
                Some(start) => Failure::new(start.message(), advice).context(paused),
                None => Failure::new(paused, advice),
            };
            let hint = last.as_ref().map_or_else(|| "wait until then".to_owned(), hint);
            failure.start(start).until(moment).hint(hint)
        }
        EnsureError::ReplacementFailed { source, .. } => replacement(*source, selected).context(message),
        EnsureError::ReplacementRefused { ref reason, .. } => {
            let until = match **reason {
                RefuseReason::TooMany { retry_after, .. } => SystemTime::now().checked_add(retry_after),
                _ => None,
            };
            let failure =
                Failure::new(error, advice).context(format!("the daemon of {name} is of another version"));
            if let Some(until) = until { failure.until(until) } else { failure }
        }
        EnsureError::NotInspectable(_) | EnsureError::Find(FindError::Probe(_)) => {
            Failure::new(error, advice).context(format!("it cannot be told whether {name} runs"))
        }
        error => {
            let stopped = selected.service.stopped_process();
            let advice = match (&error, stopped) {
                (EnsureError::TimedOut { state: "busy", .. }, Some(pid)) => advice.hint(advice::stopped(pid)),
                (EnsureError::Impostor(_), stopped) => impostor(stopped),
                _ => advice,
            };
            Failure::new(error, advice).context(format!("{name} has no daemon"))
        }
    }
}

/// Returns the hint about a daemon that failed to start, which names its log.
fn hint_of(failure: &StartFailure, selected: &Selected) -> String {
    let cause = listener(selected).unwrap_or_else(|| advice::failed_start(failure, selected.file.as_deref()));
    let log = selected.service.log_file().unwrap_or_default();
    let log = safe(log.display());
    if failure.log.is_empty() {
        format!("{cause}; it has written nothing to its log {log}")
    } else {
        format!("{cause}; the whole log is {log}")
    }
}

/// Returns the hint about another process that listens at the service's socket, where the system tells.
fn listener(selected: &Selected) -> Option<String> {
    let (service, deadline) = (&selected.service, Instant::now() + LISTENER_TIMEOUT);
    let sockets = ServiceSocket::all(deadline).ok()?;
    let state = service.find(deadline).ok()?;
    let owner =
        foreign_listener(service, &service.examine().ok()?.socket, &state, &sockets)?.owners.first()?;
    let program =
        owner.program.as_ref().map_or_else(String::new, |program| format!(" ({})", safe(program.display())));
    let pid = owner.pid;
    Some(format!("process {pid}{program} listens at its socket: look at it and end it, then start again"))
}

/// Returns the failure of a replacement, with the end of the next daemon's log if that has failed.
pub(super) fn replacement(error: ReplaceError, selected: &Selected) -> Failure {
    let (advice, message) = (advice::replace(&error, &selected.argument), error.to_string());
    match error {
        ReplaceError::NotHandedOver { pid, failure } => {
            let start = FailedStart::from(&failure);
            let name = selected.title();
            Failure::new(start.message(), advice)
                .context(format!("process {pid} serves {name} as before, and its successor did not start"))
                .start(Some(start))
                .hint(hint_of(&failure, selected))
        }
        ReplaceError::NotReady { pid, source } => Failure::new(source, advice)
            .context(format!("process {pid} serves {} until its successor is ready", selected.title())),
        // It was told before the daemon was looked at, which may well run.
        ReplaceError::NotStarted {
            former_pid: None,
            source: source @ (EnsureError::NoCommand | EnsureError::NoProgram { .. }),
        } => Failure::new(source, advice)
            .context(format!("{} was not restarted, and nothing was stopped", selected.title())),
        ReplaceError::NotStarted { former_pid: None, source } => {
            start(source, selected).context(format!("{} was not restarted", selected.title()))
        }
        ReplaceError::NotStarted { source, .. } => start(source, selected).context(message),
        error => Failure::new(error, advice).context(format!("{} was not restarted", selected.title())),
    }
}
