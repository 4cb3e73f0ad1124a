//! `start`: starts the daemon of a service, unless it runs.

use super::failed;
use super::status::{decision_json, key, tells};
use crate::cli::StartArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::release::process;
use crate::services;
use crate::text::safe;
use crate::verdict::Verdict;
use running_process::broker::service::{Deadline, EndsWith, Started};
use serde_json::{Value, json};
use std::time::Instant;

pub(super) fn run(arguments: &StartArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let selected = services::select(&arguments.service)?;
    let service = &selected.service;
    let began = Instant::now();
    let started = service
        .start(Deadline::after(arguments.deadline))
        .map_err(|error| failed::start(error, &selected))?;
    let took = began.elapsed();
    let Started { daemon, is_new, replaced, ends_with, .. } = started;
    // Without it the daemon serves all the same.
    let decision = service.decide(&daemon.daemon_process).ok();
    let told = replaced.as_ref().or(decision.as_ref()).filter(|decision| tells(decision));
    let socket = &daemon.daemon_process.ipc_endpoint.path;
    output.line(format_args!(
        "{}: {} serves {} at {}, {} {took:.0?}",
        match (is_new, &replaced) {
            (_, Some(_)) => "replaced",
            (true, None) => "started",
            (false, None) => "runs already",
        },
        safe(process(&daemon.daemon_process)),
        selected.title(),
        safe(socket),
        if is_new { "ready after" } else { "found in" },
    ))?;
    if let Some(told) = told {
        output.line(format_args!("  {}", safe(told)))?;
    }
    for end in &ends_with {
        output.line(format_args!("  it ends with {}", safe(end)))?;
    }
    output.object(json!({
        "service": service.name(),
        "key": key(service),
        "started": is_new,
        "pid": daemon.daemon_process.pid,
        "version": daemon.daemon_process.version(),
        "build": daemon.daemon_process.build(),
        "replaced": replaced.as_ref().map(decision_json),
        "decision": decision.as_ref().map(decision_json),
        "socket": socket,
        "ends_with": ends_with.iter().map(ends_with_json).collect::<Vec<_>>(),
        "took_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    }))?;
    Ok(Verdict::Yes)
}

fn ends_with_json(end: &EndsWith) -> Value {
    let (kind, path) = match end {
        EndsWith::ControlGroup { path } => ("control_group", Some(path)),
        EndsWith::LoginSession { scope } => ("login_session", Some(scope)),
        EndsWith::UserManager => ("user_manager", None),
        EndsWith::PidNamespace => ("pid_namespace", None),
        EndsWith::Terminal { path } => ("terminal", Some(path)),
        _ => ("other", None),
    };
    json!({ "kind": kind, "path": path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_name_in_the_schema() {
        let schema = include_str!("../../docs/json.schema.json");
        for (end, kind, path) in [
            (EndsWith::ControlGroup { path: "/build".to_owned() }, "control_group", Some("/build")),
            (
                EndsWith::LoginSession { scope: "/session-2.scope".to_owned() },
                "login_session",
                Some("/session-2.scope"),
            ),
            (EndsWith::UserManager, "user_manager", None),
            (EndsWith::PidNamespace, "pid_namespace", None),
            (EndsWith::Terminal { path: "/dev/pts/3".to_owned() }, "terminal", Some("/dev/pts/3")),
        ] {
            assert_eq!(ends_with_json(&end), json!({ "kind": kind, "path": path }));
            assert!(schema.contains(&format!("\"{kind}\"")), "{kind}");
        }
    }
}
