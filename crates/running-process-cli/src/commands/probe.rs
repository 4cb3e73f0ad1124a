//! `probe`: is the daemon in an identity file the one that answers?

use super::record;
use crate::cli::ProbeArgs;
use crate::failure::{Failure, Verdict};
use crate::output::Output;
use anstyle::{AnsiColor, Style};
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::judge::{Check, compare, compare_observed};
use running_process::broker::backend_lifecycle::observe::{ProcessObservation, observe};
use running_process::broker::backend_lifecycle::probe::{ProbeError, probe_endpoint};
use running_process::broker::backend_sdk::ConnectError;
use std::time::Instant;

/// Width of the column of check names.
const NAME_WIDTH: usize = 18;

pub(super) fn run(arguments: &ProbeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let expected = record::read(&arguments.identity)?;
    let path = arguments.identity.display();
    let endpoint = &expected.ipc_endpoint;
    output.line(format_args!("record {path}: pid {} at {}\n", expected.pid, endpoint.path))?;

    let observed = observe(expected.pid).map_err(|error| {
        Failure::undecided(error).context(format!("process {} cannot be inspected", expected.pid))
    })?;
    let mut checks = compare_observed(&expected, &observed);
    let started = Instant::now();
    let answered = probe_endpoint(endpoint, started + arguments.timeout.timeout);
    let took = started.elapsed();
    let trouble = match answered {
        Ok(probed) => {
            checks.extend(compare(&expected, &probed.identity));
            None
        }
        Err(error) => Some(error),
    };
    for check in &checks {
        output.line(Row(check))?;
    }
    if let Some(image) = &observed.image {
        output.line(format_args!("  {:<8}{:<NAME_WIDTH$} {}", "", "it runs", image.display()))?;
    }
    let verdict = match &trouble {
        None if checks.iter().all(|check| check.agrees) => Verdict::Yes,
        _ => Verdict::No,
    };
    output.object(to_json(&expected, &observed, &checks, trouble.as_ref(), verdict))?;
    if let Some(error) = trouble {
        return Err(probe_failure(error).context(format!("{} did not prove itself", endpoint.path)));
    }
    let conclusion = match verdict {
        Verdict::Yes => "the recorded daemon answered",
        Verdict::No => "this is not the recorded daemon",
    };
    output.line(format_args!(
        "\n{}{conclusion}{:#} (asked and answered in {took:.0?})",
        style(verdict),
        style(verdict)
    ))?;
    if verdict == Verdict::Yes {
        output.line("what answers is public data: a process that replays it is not told apart")?;
    }
    Ok(verdict)
}

/// One check as people read it.
pub(super) struct Row<'a>(pub(super) &'a Check);

impl std::fmt::Display for Row<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Check { kind, expected, found, agrees } = self.0;
        let verdict = if *agrees { Verdict::Yes } else { Verdict::No };
        let word = if *agrees { "ok" } else { "differs" };
        let style = style(verdict);
        write!(formatter, "  {style}{word:<8}{style:#}{kind:<NAME_WIDTH$} {found}")?;
        if *agrees { Ok(()) } else { write!(formatter, ", expected {expected}") }
    }
}

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Yes => AnsiColor::Green.on_default(),
        Verdict::No => AnsiColor::Red.on_default().bold(),
    }
}

fn to_json(
    expected: &DaemonProcess,
    observed: &ProcessObservation,
    checks: &[Check],
    trouble: Option<&ProbeError>,
    verdict: Verdict,
) -> serde_json::Value {
    let checks: Vec<_> = checks
        .iter()
        .map(|check| {
            serde_json::json!({
                "check": check.kind.to_string(),
                "agrees": check.agrees,
                "expected": check.expected,
                "found": check.found,
            })
        })
        .collect();
    serde_json::json!({
        "verdict": match verdict { Verdict::Yes => "yes", Verdict::No if trouble.is_some() => "unproven", Verdict::No => "no" },
        "record": expected,
        "image": observed.image.as_ref().map(|path| path.display().to_string()),
        "checks": checks,
        "error": trouble.map(ToString::to_string),
    })
}

/// What a probe that got no usable answer means to the person who asked.
pub(super) fn probe_failure(error: ProbeError) -> Failure {
    let hint = match &error {
        ProbeError::Disabled => "unset the variable to probe",
        ProbeError::Connect(ConnectError::NotFound { .. } | ConnectError::Refused { .. })
        | ProbeError::Gone { .. }
        | ProbeError::Closed => "the daemon has ended or is ending: start it again",
        ProbeError::Connect(ConnectError::BacklogFull { .. }) => {
            "the daemon is overloaded or stopped: try again later"
        }
        ProbeError::TimedOut => {
            "the daemon is busy, stopped or not one that answers probes: try a longer --timeout"
        }
        ProbeError::Mismatch(_) => {
            "somebody else has taken the endpoint: restart the daemon, and find out who it is"
        }
        ProbeError::Framing(_) | ProbeError::Response(_) => {
            "whatever answers there does not speak this protocol: is this the right daemon?"
        }
        _ => "check that this user may talk to the daemon",
    };
    let undecided = matches!(
        error,
        ProbeError::Disabled
            | ProbeError::TimedOut
            | ProbeError::NotInspectable { .. }
            | ProbeError::Stream(_)
            | ProbeError::Connect(
                ConnectError::BacklogFull { .. }
                    | ConnectError::PermissionDenied { .. }
                    | ConnectError::Unavailable { .. }
                    | ConnectError::Io { .. }
            )
    );
    let failure = if undecided { Failure::undecided(error) } else { Failure::negative(error) };
    failure.hint(hint)
}
