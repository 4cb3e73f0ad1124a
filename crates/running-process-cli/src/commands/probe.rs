//! `probe`: is the daemon in an identity file the one that answers?

use super::record;
use crate::cli::{PolicyName, ProbeArgs};
use crate::failure::{Failure, Verdict};
use crate::output::Output;
use anstyle::{AnsiColor, Style};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{
    ImageState, Listener, Policy, Proof, Step, StepVerdict, Unverified, verify,
};
use running_process::broker::backend_sdk::ConnectError;
use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

impl PolicyName {
    pub(super) fn policy(self) -> Policy {
        match self {
            Self::Default => Policy::default(),
            Self::Strict => Policy::strict(),
            Self::Lenient => Policy::lenient(),
        }
    }
}

pub(super) fn run(arguments: &ProbeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let expected = record::read(&arguments.identity)?;
    let endpoint = &expected.ipc_endpoint.path;
    output.line(format_args!(
        "record {}: pid {} at {endpoint}\n",
        arguments.identity.display(),
        expected.pid
    ))?;

    let started = Instant::now();
    let verified = verify(&expected, &arguments.policy.policy(), started + arguments.deadline.deadline);
    let took = started.elapsed();
    let steps = match &verified {
        Ok(proof) => &proof.steps,
        Err(unverified) => &unverified.steps,
    };
    for step in steps {
        output.line(Row(step))?;
    }
    let mut object = json!({
        "record": expected,
        "policy": arguments.policy.to_string(),
        "steps": steps.iter().map(step_json).collect::<Vec<_>>(),
        "took_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    });
    match verified {
        Ok(proof) => {
            object["verdict"] = "yes".into();
            object["proof"] = proof_json(&proof);
            output.object(object)?;
            conclude(&proof, took, output)?;
            Ok(Verdict::Yes)
        }
        Err(Unverified { error, .. }) => {
            object["verdict"] = if is_undecided(&error) { "undecided" } else { "no" }.into();
            object["error"] = error.to_string().into();
            output.object(object)?;
            Err(probe_failure(error).context(format!("{endpoint} did not prove itself")))
        }
    }
}

fn conclude(proof: &Proof, took: Duration, output: &mut Output) -> Result<(), Failure> {
    let style = style(StepVerdict::Proven);
    output.line(format_args!(
        "\n{style}the recorded daemon answers{style:#}: {}, in {took:.0?}",
        proof.level
    ))?;
    if let Listener::Inherited { .. } = proof.listener {
        output.line(
            "it listens on a socket that another process made, and was named as the writer of its answer",
        )?;
    }
    if proof.image == ImageState::ReplacedOnDisk {
        output.line("its executable was replaced on disk: restart it to run the new one")?;
    }
    if !proof.with_origin {
        output.line(
            "its record has no start time: a restart with the same pid and executable is not told apart",
        )?;
    }
    Ok(())
}

/// One step as people read it.
pub(super) struct Row<'a>(pub(super) &'a Step);

impl fmt::Display for Row<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { kind, verdict, evidence } = self.0;
        let style = style(*verdict);
        write!(formatter, "  {style}{verdict:<10}{style:#}{kind:<14} {evidence}")
    }
}

fn style(verdict: StepVerdict) -> Style {
    match verdict {
        StepVerdict::Proven => AnsiColor::Green.on_default(),
        StepVerdict::Claimed | StepVerdict::Unchecked => AnsiColor::Yellow.on_default(),
        StepVerdict::Refused => AnsiColor::Red.on_default().bold(),
    }
}

fn step_json(step: &Step) -> Value {
    json!({
        "step": step.kind.to_string(),
        "verdict": step.verdict.to_string(),
        "evidence": step.evidence,
    })
}

fn proof_json(proof: &Proof) -> Value {
    json!({
        "level": proof.level.to_string(),
        "listener": match proof.listener {
            Listener::Own => "own",
            Listener::Inherited { .. } => "inherited",
            Listener::Unknown => "unknown",
        },
        "image": match proof.image {
            ImageState::AsRecorded => "as recorded",
            ImageState::ReplacedOnDisk => "replaced on disk",
            ImageState::Unchecked => "unchecked",
        },
        "with_origin": proof.with_origin,
    })
}

/// Whether the question stays open: the daemon may well be the recorded one.
fn is_undecided(error: &ProbeError) -> bool {
    matches!(
        error,
        ProbeError::Disabled
            | ProbeError::TimedOut
            | ProbeError::Closed
            | ProbeError::NotInspectable { .. }
            | ProbeError::OtherNamespace { .. }
            | ProbeError::Policy(_)
            | ProbeError::Stream(_)
            | ProbeError::Connect(
                ConnectError::BacklogFull { .. }
                    | ConnectError::PermissionDenied { .. }
                    | ConnectError::Unavailable { .. }
                    | ConnectError::Io { .. }
            )
    )
}

/// What a verification that failed means to the person who asked.
pub(super) fn probe_failure(error: ProbeError) -> Failure {
    let hint = match &error {
        ProbeError::Disabled => "unset the variable to probe",
        ProbeError::Connect(ConnectError::NotFound { .. } | ConnectError::Refused { .. })
        | ProbeError::Gone { .. } => "the daemon has ended or is ending: start it again",
        ProbeError::Closed => {
            "the daemon's process lives and listens: it may have as many connections as it allows, or be ending; try again later"
        }
        ProbeError::ReusedPid { .. } | ProbeError::OtherBoot { .. } => {
            "the record is an old one: start the daemon again, which writes it anew"
        }
        ProbeError::Impostor { .. } => {
            "somebody else has taken the endpoint: find out who, then restart the daemon in a directory of your own (mode 700)"
        }
        ProbeError::WrongImage { .. } | ProbeError::Mismatch(_) => {
            "the record is not this daemon's: restart the daemon, which writes it anew"
        }
        ProbeError::OtherNamespace { .. } => {
            "the daemon runs in a container that this shell is not in: ask from inside, or start one here"
        }
        ProbeError::NotInspectable { .. } => {
            "ask as the daemon's own user or as root, or accept less with --policy lenient"
        }
        ProbeError::Policy(_) => "accept less with --policy default or lenient, or restart the daemon",
        ProbeError::Connect(ConnectError::BacklogFull { .. }) => {
            "the daemon is overloaded or stopped: try again later"
        }
        ProbeError::TimedOut => {
            "the daemon is busy, stopped or not one that answers probes: try a longer --deadline"
        }
        ProbeError::Framing(_) | ProbeError::Response(_) | ProbeError::Unasked { .. } => {
            "whatever answers there does not speak this protocol: is this the right daemon?"
        }
        _ => "check that this user may talk to the daemon",
    };
    let failure = if is_undecided(&error) { Failure::undecided(error) } else { Failure::negative(error) };
    failure.hint(hint)
}
