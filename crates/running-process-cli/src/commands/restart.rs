//! `restart`: replaces the daemon of a service by a new one.

use super::failed;
use super::status::key;
use crate::cli::RestartArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::services;
use crate::text::safe;
use crate::verdict::Verdict;
use running_process::broker::service::{Deadline, Replaced, Replacement, ReplacementStep, Stopped};
use serde_json::{Value, json};
use std::time::Instant;

pub(super) fn run(arguments: &RestartArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let selected = services::select(&arguments.service)?;
    let service = &selected.service;
    let began = Instant::now();
    // The first step that cannot be printed ends the command, once the replacement is over.
    let mut printed = Ok(());
    let mut steps = |step: &ReplacementStep| {
        if printed.is_ok() {
            printed = print(step, output);
        }
    };
    let deadline = Deadline::after(arguments.deadline);
    let replaced = if arguments.stop_first {
        service.restart_by(Replacement::StopThenStart, deadline, &mut steps)
    } else {
        service.restart(deadline, &mut steps)
    };
    let Replaced { daemon, former_pid, by, is_new, .. } =
        replaced.map_err(|error| failed::replacement(error, &selected))?;
    printed?;
    let took = began.elapsed();
    let pid = daemon.daemon_process.pid;
    let socket = &daemon.daemon_process.ipc_endpoint.path;
    output.line(format_args!(
        "{}: process {pid} serves {} at {}, after {took:.0?}",
        match (former_pid, is_new) {
            (_, false) => "started by another process",
            (Some(_), true) => "replaced",
            (None, true) => "started",
        },
        selected.title(),
        safe(socket),
    ))?;
    output.object(json!({
        "service": service.name(),
        "key": key(service),
        "former_pid": former_pid,
        "by": by.map(by_json),
        "started": is_new,
        "pid": pid,
        "version": daemon.daemon_process.version(),
        "build": daemon.daemon_process.build(),
        "socket": socket,
        "took_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    }))?;
    Ok(Verdict::Yes)
}

fn print(step: &ReplacementStep, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!("  {}", safe(step)))?;
    output.object(step_json(step))
}

fn by_json(by: Replacement) -> &'static str {
    match by {
        Replacement::Handover => "handover",
        Replacement::StopThenStart => "stop_then_start",
        _ => "other",
    }
}

fn step_json(step: &ReplacementStep) -> Value {
    let (name, pid) = match step {
        ReplacementStep::Waits { by } => ("waits", *by),
        ReplacementStep::HandsOver { pid, .. } => ("hands_over", Some(*pid)),
        ReplacementStep::Stops { pid, .. } => ("stops", Some(*pid)),
        ReplacementStep::Stopped(Stopped::Killed { pid }) => ("killed", Some(*pid)),
        ReplacementStep::Stopped(Stopped::Ended { pid }) => ("ended", Some(*pid)),
        ReplacementStep::Runs { pid } => ("runs", Some(*pid)),
        ReplacementStep::Lost { pid } => ("lost", Some(*pid)),
        ReplacementStep::Status { .. } => ("status", None),
        ReplacementStep::Serves { pid, .. } => ("serves", Some(*pid)),
        ReplacementStep::Drains { pid } => ("drains", Some(*pid)),
        _ => ("other", None),
    };
    let version = match step {
        ReplacementStep::HandsOver { version, .. }
        | ReplacementStep::Stops { version, .. }
        | ReplacementStep::Serves { version, .. } => version.as_deref(),
        _ => None,
    };
    json!({ "step": name, "pid": pid, "version": version, "message": step.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use running_process::broker::service::StopReason;

    #[test]
    fn each_step_has_a_name_in_the_schema() {
        let schema = include_str!("../../docs/json.schema.json");
        let version = || Some("1.2.0".to_owned());
        let stops = ReplacementStep::Stops { pid: 7, version: version(), reason: StopReason::Busy };
        for (step, name, pid, has_version) in [
            (ReplacementStep::Waits { by: None }, "waits", None, false),
            (ReplacementStep::Waits { by: Some(7) }, "waits", Some(7), false),
            (ReplacementStep::HandsOver { pid: 7, version: version() }, "hands_over", Some(7), true),
            (stops, "stops", Some(7), true),
            (ReplacementStep::Stopped(Stopped::Ended { pid: 7 }), "ended", Some(7), false),
            (ReplacementStep::Stopped(Stopped::Killed { pid: 7 }), "killed", Some(7), false),
            (ReplacementStep::Lost { pid: 7 }, "lost", Some(7), false),
            (ReplacementStep::Runs { pid: 7 }, "runs", Some(7), false),
            (ReplacementStep::Status { text: "loading".to_owned() }, "status", None, false),
            (ReplacementStep::Serves { pid: 7, version: version() }, "serves", Some(7), true),
            (ReplacementStep::Drains { pid: 7 }, "drains", Some(7), false),
        ] {
            let version = version().filter(|_| has_version);
            let message = step.to_string();
            assert_eq!(message.contains("process 7 of version 1.2.0 serves"), has_version, "{message}");
            let expected = json!({ "step": name, "pid": pid, "version": version, "message": message });
            assert_eq!(step_json(&step), expected);
            assert!(schema.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}
