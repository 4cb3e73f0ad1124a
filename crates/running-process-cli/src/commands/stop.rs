//! `stop`: stops the daemon of a service, if it runs.

use super::install::started_by::StartedBy;
use super::status::key;
use crate::cli::StopArgs;
use crate::failure::Failure;
use crate::failure::advice::service as advice;
use crate::output::Output;
use crate::services;
use crate::text::safe;
use crate::verdict::Verdict;
use crate::wire::counted;
use running_process::broker::protocol::ServerStatus;
use running_process::broker::service::{Deadline, ServiceState, Stopped};
use serde_json::json;
use std::fmt;
use std::time::{Duration, Instant};

/// Longest time for which the daemon is asked what it does before it is stopped.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn run(arguments: &StopArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let selected = services::select(&arguments.service)?;
    let service = &selected.service;
    let name = selected.title();
    let began = Instant::now();
    // An error is told by the stop.
    let until = began + arguments.deadline.min(QUESTION_TIMEOUT);
    let state = service.find(until).ok();
    let was_starting = matches!(state, Some(ServiceState::Starting { .. }));
    let activity = Activity::of(state, until);
    let stopped = service.stop(Deadline::from(began + arguments.deadline)).map_err(|error| {
        let advice = advice::stop(&error, &selected.argument);
        Failure::new(error, advice).context(format!("{name} was not stopped"))
    })?;
    let took = began.elapsed();
    let (outcome, pid) = match stopped {
        Stopped::NotRunning => ("not_running", None),
        Stopped::Ended { pid } => ("ended", Some(pid)),
        Stopped::Killed { pid } => ("killed", Some(pid)),
        _ => ("other", None),
    };
    let activity = activity.filter(|activity| Some(activity.pid) == pid);
    let served = if was_starting { "was to serve" } else { "served" };
    match (stopped, pid) {
        (Stopped::Killed { .. }, Some(pid)) => output.line(format_args!(
            "killed: process {pid} {served} {name} and did not end when it was asked, after {took:.0?}"
        ))?,
        (_, Some(pid)) => {
            output.line(format_args!(
                "stopped: process {pid} {served} {name} and has ended, after {took:.0?}"
            ))?;
        }
        (_, None) => output.line(format_args!("not running: {name} had no daemon"))?,
    }
    if pid.is_some() {
        let lost = Lost { activity: activity.as_ref(), is_killed: outcome == "killed" };
        if was_starting {
            output.line("  it had not begun to serve when it was looked at")?;
        } else {
            output.line(format_args!("  {lost}"))?;
        }
    }
    let started_by = StartedBy::of(service, Instant::now() + QUESTION_TIMEOUT);
    if let Some(StartedBy { activation, listens, command }) = &started_by {
        let (activation, command) = (safe(activation), safe(command));
        output.line(if *listens {
            format!("  {activation} starts it again with the next connection; to prevent that: {command}")
        } else {
            format!(
                "  {activation} is installed and does not listen: clients start it; to enable it: {command}"
            )
        })?;
    }
    output.object(json!({
        "activation": started_by.as_ref().map(|started_by| &started_by.activation.unit),
        "activation_listens": started_by.as_ref().map(|started_by| started_by.listens),
        "service": service.name(),
        "key": key(service),
        "outcome": outcome,
        "pid": pid,
        "connections_open": activity.as_ref().map(|activity| activity.status.connections_open),
        "requests_in_flight": activity.as_ref().map(|activity| activity.status.requests_in_flight),
        "took_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    }))?;
    Ok(Verdict::Yes)
}

/// The activity of a daemon right before it is stopped.
struct Activity {
    pid: u32,
    status: ServerStatus,
}

impl Activity {
    /// Asks the daemon of a service in this state; `None` if none has proven itself, or it does not tell.
    fn of(state: Option<ServiceState>, until: Instant) -> Option<Self> {
        let Some(ServiceState::Live(daemon)) = state else { return None };
        Some(Self { pid: daemon.daemon_process.pid, status: services::status(&daemon, until)? })
    }
}

/// The end of the connections and requests of a daemon, for people.
struct Lost<'a> {
    activity: Option<&'a Activity>,
    is_killed: bool,
}

impl fmt::Display for Lost<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Activity { status, .. }) = self.activity else {
            return formatter.write_str(if self.is_killed {
                "lost: all of its connections and requests, which it did not tell"
            } else {
                "drained: it ended by itself, and did not tell its connections and requests"
            });
        };
        let connections = counted(status.connections_open, "connection");
        let requests = counted(status.requests_in_flight, "request");
        if self.is_killed {
            write!(formatter, "lost: {requests} in flight on {connections} when it was asked to end")
        } else if status.requests_in_flight > 0 {
            write!(formatter, "drained: it had {requests} in flight on {connections}, and ended by itself")
        } else if status.connections_open > 0 {
            write!(formatter, "nothing was lost: no request was in flight on its {connections}")
        } else {
            formatter.write_str("nothing was lost: it had no connections")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_tells_what_was_lost() {
        let lost = |activity: Option<(u64, u64)>, is_killed| {
            let activity = activity.map(|(connections, requests)| {
                let mut status = ServerStatus::default();
                (status.connections_open, status.requests_in_flight) = (connections, requests);
                Activity { pid: 7, status }
            });
            Lost { activity: activity.as_ref(), is_killed }.to_string()
        };
        assert_eq!(
            lost(Some((3, 2)), true),
            "lost: 2 requests in flight on 3 connections when it was asked to end"
        );
        assert_eq!(
            lost(Some((1, 1)), false),
            "drained: it had 1 request in flight on 1 connection, and ended by itself"
        );
        assert_eq!(
            lost(Some((1, 0)), false),
            "nothing was lost: no request was in flight on its 1 connection"
        );
        assert_eq!(lost(Some((0, 0)), false), "nothing was lost: it had no connections");
        assert!(lost(None, true).starts_with("lost: all"));
        assert!(lost(None, false).starts_with("drained: it ended by itself"));
    }
}
