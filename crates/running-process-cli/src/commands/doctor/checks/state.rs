//! The state of the daemon.

use crate::commands::doctor::facts::Facts;
use crate::commands::doctor::finding::Finding;
use crate::commands::doctor::kinds;
use crate::failure::start::until;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_sdk::ConnectError;
use running_process::broker::service::{
    Examination, FindError, ReplacingHolder, ServiceState, StartEnd, StartFailure,
};
use std::error::Error;

/// Failures in a row from which on starts are paused.
const MANY_FAILURES: u32 = 3;
/// A part of what a daemon of this library says where it cannot make a socket.
const NO_SOCKETS: &str = "has no sockets; choose a directory on a local file system";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    match &facts.state {
        // A stopped daemon answers nobody, which explains that.
        Ok(ServiceState::Busy { pid }) if facts.stopped == Some(*pid) => {}
        Ok(state) => found.extend(of_state(facts, state)),
        Err(error) => found.extend(of_error(facts, error)),
    }
    found.extend(stopped(facts));
    found.extend(foreign_listener(facts));
    found.extend(fronted(facts));
    if let Ok(examination) = &facts.examination {
        found.extend(failed_starts(facts, examination));
        found.extend(leftovers(facts, examination));
        found.extend(replacing(facts, examination));
    }
    found
}

fn of_state(facts: &Facts, state: &ServiceState) -> Option<Finding> {
    Some(match state {
        ServiceState::Starting { by, .. } => starting(facts, *by)?,
        ServiceState::Busy { pid } => busy(facts, *pid),
        ServiceState::Draining { pid } => {
            facts.finding(&kinds::DRAINING, format!("{} drains", process(*pid))).pid(*pid)
        }
        ServiceState::HeldByOrphan { pid } => orphan(facts, "its lock", *pid),
        ServiceState::Impostor(error) => {
            let pid = facts.impostor();
            let details = pid.map(|pid| facts.details(pid)).unwrap_or_default();
            let what = format!("{}{details}", sentence(error));
            let finding = facts.finding(&kinds::IMPOSTOR, what).pid(pid);
            match pid {
                Some(pid) => finding.remedy(format_args!("kill {pid}")),
                None => finding,
            }
        }
        ServiceState::NotInspectable(error) => {
            let kind = match error {
                ProbeError::OtherNamespace { .. } => &kinds::OTHER_NAMESPACE,
                _ => &kinds::NOT_INSPECTABLE,
            };
            let pid = facts.identity.as_ref().map(|identity| identity.pid);
            let finding = facts.finding(kind, format!("{}{}", sentence(error), facts.barrier)).pid(pid);
            match pid {
                // It shows whose the process is. In another namespace the number means another one.
                Some(pid) if kind == &kinds::NOT_INSPECTABLE => finding.remedy(format_args!("ps -fp {pid}")),
                _ => finding,
            }
        }
        // Those without a daemon are told by what is left of it, and a live one by all that follows.
        _ => return None,
    })
}

fn starting(facts: &Facts, by: Option<u32>) -> Option<Finding> {
    let examination = facts.examination.as_ref().ok()?;
    if matches!(examination.replacing, Ok(Some(_))) {
        return None;
    }
    if examination.start_is_watched || by.is_none() || by != examination.started {
        return Some(facts.finding(&kinds::STARTING, format!("{} starts the daemon", process(by))).pid(by));
    }
    let what = format!("{} was started as the daemon and does not serve yet", process(by));
    let finding = facts.finding(&kinds::START_HANGS, what).pid(by);
    Some(finding.remedy(format_args!("running-process stop {}", facts.selected.argument)))
}

fn busy(facts: &Facts, pid: u32) -> Finding {
    let restart = facts.selected.stop_and_start();
    match &facts.examination {
        Ok(examination) if !facts.has_socket => {
            let what = format!(
                "{} is the daemon, and its socket {} is gone",
                facts.process(pid),
                examination.socket.display()
            );
            facts
                .finding(&kinds::SOCKET_REMOVED, what)
                .pid(Some(pid))
                .path(&examination.socket)
                .remedy(restart)
        }
        _ => {
            let what = format!("{} lives and did not prove itself in time", facts.process(pid));
            facts.finding(&kinds::BUSY, what).pid(Some(pid)).remedy(restart)
        }
    }
}

fn stopped(facts: &Facts) -> Option<Finding> {
    let pid = facts.stopped?;
    let order = match facts.impostor() {
        Some(impostor) if impostor != pid => {
            format!("; 1. end process {impostor}, which is in its place, 2. let the daemon go on")
        }
        _ => String::new(),
    };
    let what = format!("{}, the daemon, is stopped by a signal{order}", facts.process(pid));
    Some(
        facts
            .finding(&kinds::STOPPED_BY_SIGNAL, what)
            .pid(Some(pid))
            .remedy(format_args!("kill -CONT {pid}")),
    )
}

fn foreign_listener(facts: &Facts) -> Option<Finding> {
    let socket = facts.foreign.as_ref()?;
    let pid = socket.owners.first().map(|owner| owner.pid);
    let who =
        pid.map_or_else(|| "a process that the system does not name".to_owned(), |pid| facts.process(pid));
    let what = format!(
        "{who} listens at {}, and no identity file names it{}",
        socket.path.display(),
        pid.map(|pid| facts.details(pid)).unwrap_or_default()
    );
    let finding = facts.finding(&kinds::FOREIGN_LISTENER, what).pid(pid).path(&socket.path);
    Some(match pid {
        Some(pid) => finding.remedy(format_args!("kill {pid}")),
        None => finding,
    })
}

fn fronted(facts: &Facts) -> Option<Finding> {
    let fault = facts.fronted_fault.as_ref()?;
    let pid = facts.identity.as_ref()?.fronts.as_ref().map(|fronted| fronted.pid);
    let finding =
        facts.finding(&kinds::FRONTED_GONE, format!("the daemon behind the front is not there: {fault}"));
    Some(finding.pid(pid).remedy(facts.selected.stop_and_start()))
}

fn orphan(facts: &Facts, what: &str, pid: Option<u32>) -> Finding {
    let who = pid.map_or_else(|| "another process".to_owned(), |pid| facts.process(pid));
    let finding = facts
        .finding(&kinds::HELD_BY_ORPHAN, format!("the daemon has ended, and {who} keeps {what}"))
        .pid(pid);
    match pid {
        Some(pid) => finding.remedy(format_args!("kill {pid}")),
        None => finding,
    }
}

fn failed_starts(facts: &Facts, examination: &Examination) -> Option<Finding> {
    let failure = examination.failure.as_ref()?;
    if !facts.has_no_daemon() {
        return None;
    }
    if failure.log.contains(NO_SOCKETS) {
        let what = format!("the daemon could not listen in {}", facts.directory().display());
        return Some(facts.finding(&kinds::NO_SOCKETS, what).path(facts.directory()).log(&failure.log));
    }
    let count = examination.failures;
    let cause = match fatal_line(&failure.log) {
        Some(line) => format!("{line} ({})", failure.end),
        None => failure.end.to_string(),
    };
    if count >= MANY_FAILURES {
        let pause = match &facts.state {
            Ok(ServiceState::BackingOff { until: moment, .. }) => {
                format!("none begins before {}", until(*moment))
            }
            _ => "starts are not paused now".to_owned(),
        };
        let what = format!("{cause}; {count} starts in a row have failed, and {pause}");
        return Some(with_log(facts.finding(&kinds::CRASH_LOOP, what), facts, failure));
    }
    // A daemon that had served and was killed is no failed start.
    let is_failed_start = count > 0 && failure.end != StartEnd::Crashed;
    let what = format!("the last start failed: {cause}");
    is_failed_start.then(|| with_log(facts.finding(&kinds::START_FAILED, what), facts, failure))
}

/// Returns the line of the log that says why the daemon ended: its last one that is no hint.
fn fatal_line(log: &str) -> Option<&str> {
    log.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.starts_with("hint: "))
}

fn with_log(finding: Finding, facts: &Facts, failure: &StartFailure) -> Finding {
    finding
        .log(&failure.log)
        .remedy(format_args!("running-process start {}", facts.selected.start_argument()))
}

fn leftovers(facts: &Facts, examination: &Examination) -> Option<Finding> {
    // Errors of the identity file and of the lock are told by themselves.
    let leftovers = examination.leftovers.as_ref().ok().filter(|leftovers| !leftovers.is_empty())?;
    let names: Vec<_> =
        leftovers.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).collect();
    let pid = match facts.state {
        Ok(ServiceState::Stale { pid }) => Some(pid),
        _ => None,
    };
    let who = pid.map_or_else(|| "a daemon".to_owned(), |pid| format!("process {pid}, the daemon,"));
    let what = format!(
        "{who} has ended without cleaning up, and left {} in {}",
        names.join(", "),
        facts.directory().display()
    );
    let fix = format!("running-process doctor {} --fix", facts.selected.argument);
    Some(facts.finding(&kinds::STALE_FILES, what).pid(pid).path(&leftovers[0]).remedy(fix))
}

fn replacing(facts: &Facts, examination: &Examination) -> Option<Finding> {
    let stop = format!("running-process stop {}", facts.selected.argument);
    match examination.replacing.as_ref().ok()?.as_ref()? {
        ReplacingHolder::Abandoned { pid } => {
            let what =
                format!("{} was started to replace the daemon, and does not serve yet", facts.process(*pid));
            Some(facts.finding(&kinds::ABANDONED_REPLACEMENT, what).pid(Some(*pid)).remedy(stop))
        }
        ReplacingHolder::Orphan { pid } => Some(orphan(facts, "the lock of a replacement", *pid)),
        _ => None,
    }
}

/// The findings that follow from an error in place of a state, but for those of places and files.
fn of_error(facts: &Facts, error: &FindError) -> Option<Finding> {
    let kind = match error {
        FindError::Probe(ProbeError::Disabled) => &kinds::PROBES_DISABLED,
        FindError::Probe(ProbeError::Connect(
            ConnectError::Sandboxed { .. } | ConnectError::Unavailable { .. },
        )) => &kinds::SANDBOX,
        FindError::IdentityFile { .. }
        | FindError::Lock(_)
        | FindError::Place(_)
        | FindError::Activation(_) => return None,
        _ => &kinds::STATE_UNKNOWN,
    };
    let barrier = if kind == &kinds::SANDBOX { &*facts.barrier } else { "" };
    let finding = facts.finding(kind, format!("{}{barrier}", sentence(error)));
    Some(match kind.id {
        "probes_disabled" => finding.remedy("unset RUNNING_PROCESS_DISABLE"),
        _ => finding,
    })
}

/// Returns the error and its causes as one sentence.
pub(super) fn sentence(error: &dyn Error) -> String {
    crate::failure::with_causes(error)
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
