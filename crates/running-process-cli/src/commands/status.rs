//! `status`: shows the state of a service.

use super::found::{Found, stopped};
use crate::cli::StatusArgs;
use crate::failure::Failure;
use crate::failure::advice::service as advice;
use crate::failure::start::{FailedStart, ago, unix_ms, until};
use crate::output::Output;
use crate::services::{self, no_place};
use crate::text::safe;
use crate::verdict::Verdict;
use anstyle::AnsiColor;
use running_process::broker::service::{
    Deadline, Decision, KeepReason, ReplaceReason, Service, ServiceState,
};
use serde_json::{Value, json};

pub(super) fn run(arguments: &StatusArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let selected = services::select(&arguments.service)?;
    let service = &selected.service;
    let directory = service.directory().map_err(no_place)?;
    let log = service.log_file().map_err(no_place)?;
    // An unusable record is told by `doctor`.
    let activation = service.activation().ok().flatten();
    let identity_file = service.identity_file().map_err(no_place)?;
    let state = service.find(Deadline::after(arguments.deadline)).map_err(|error| {
        let advice = advice::find(&error, &selected.argument);
        Failure::new(error, advice).context(format!("the state of {} cannot be told", selected.title()))
    })?;
    let title = state.name();
    let decision = match &state {
        ServiceState::Live(daemon) => Some(service.decide(&daemon.daemon_process).map_err(no_place)?),
        _ => None,
    };
    let stopped = stopped(service, &state);
    let mut found = Found::of(state, &selected.argument, stopped);
    let last_failure = service.last_failure().map_err(no_place)?;
    let last_failure = last_failure.filter(|_| matches!(found.state, "absent" | "backing_off"));
    if let Some(last) = &last_failure {
        found.start_failure = Some(FailedStart::from(&last.failure));
    }
    let failed_at = last_failure.and_then(|last| last.at);

    let color = if found.verdict == Verdict::Yes { AnsiColor::Green } else { AnsiColor::Yellow };
    let style = color.on_default();
    output.line(format_args!("{}: {style}{title}{style:#}", selected.title()))?;
    let mut row = |name: &str, value: Option<String>| match value {
        Some(value) => output.line(format_args!("  {name:<14} {value}")),
        None => Ok(()),
    };
    row("process", found.pid.map(|pid| pid.to_string()))?;
    row("version", found.release.as_ref().map(|release| safe(release).to_string()))?;
    row(
        "next start",
        decision
            .as_ref()
            .filter(|decision| tells(decision))
            .map(|decision| safe(outlook(decision)).to_string()),
    )?;
    row("since", found.since.map(|since| humantime::format_rfc3339_seconds(since).to_string()))?;
    row("paused until", found.until.map(until))?;
    row(
        "last failure",
        found.start_failure.as_ref().map(|start| {
            let at = failed_at.map(|at| format!("{}: ", ago(at))).unwrap_or_default();
            format!("{at}{}", safe(start.message()))
        }),
    )?;
    row("socket", found.socket.as_ref().map(|socket| safe(socket).to_string()))?;
    row("directory", Some(safe(directory.display()).to_string()))?;
    row("started by", activation.as_ref().map(|activation| safe(activation).to_string()))?;
    row("identity file", Some(safe(identity_file.display()).to_string()))?;
    row("log", Some(safe(log.display()).to_string()))?;
    if matches!(decision, Some(Decision::Replace { .. })) {
        output.line(format_args!("    running-process restart {}", selected.argument))?;
    }
    if let Some(start) = &found.start_failure {
        output.part(start.log_lines("    | "))?;
        output.flush()?;
    }
    let object = json!({
        "service": service.name(),
        "key": key(service),
        "state": found.state,
        "verdict": found.verdict.name(),
        "pid": found.pid,
        "version": found.version,
        "build": found.build,
        "decision": decision.as_ref().map(decision_json),
        "since_unix_ms": found.since.map(unix_ms),
        "until_unix_ms": found.until.map(unix_ms),
        "start_failure": found.start_failure,
        "failed_unix_ms": failed_at.map(unix_ms),
        "socket": found.socket,
        "directory": directory.display().to_string(),
        "identity_file": identity_file.display().to_string(),
        "activation": activation.map(|activation| activation.unit),
        "log_file": log.display().to_string(),
    });
    match found.failure {
        Some(failure) => output.negative(object, failure),
        None => {
            output.object(object)?;
            Ok(found.verdict)
        }
    }
}

/// The key of the service in JSON; null if it has none.
pub(super) fn key(service: &Service) -> Option<String> {
    service.key().map(|key| key.to_string_lossy().into_owned())
}

/// Returns whether people want to know the decision: it is not what they expect anyway.
pub(super) fn tells(decision: &Decision) -> bool {
    !matches!(decision, Decision::Keep { reason: KeepReason::Same | KeepReason::ClientWithoutVersion, .. })
}

/// Returns what the next start with the service's file does with the daemon that runs, for people.
pub(super) fn outlook(decision: &Decision) -> String {
    let Decision::Replace { running, wanted, reason } = decision else { return decision.to_string() };
    match reason {
        ReplaceReason::Older => {
            format!("replaces it: {running} is older than {wanted}, which the file wants")
        }
        ReplaceReason::WithoutVersion => {
            format!("replaces it: it tells no version, and the file wants {wanted}")
        }
        _ => format!("replaces it: {running} runs, and the file wants exactly {wanted}"),
    }
}

/// The decision of a client with the service's file about the daemon that runs, in JSON.
pub(super) fn decision_json(decision: &Decision) -> Value {
    let choice = match decision {
        Decision::Keep { .. } => "keep",
        Decision::Replace { .. } => "replace",
        Decision::Refuse { .. } => "refuse",
        _ => "other",
    };
    json!({ "choice": choice, "message": decision.to_string() })
}
