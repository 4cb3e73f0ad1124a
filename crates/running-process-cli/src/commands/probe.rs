//! `probe`: verifies the daemon in an identity file.

use super::identity_file;
use crate::cli::{PolicyName, ProbeArgs};
use crate::failure::{Failure, advice};
use crate::output::Output;
use crate::text::safe;
use crate::verdict::Verdict;
use anstyle::{AnsiColor, Style};
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{
    ImageState, Listener, Policy, Proof, ProofLevel, Step, StepKind, StepVerdict, Unverified, verify,
};
use serde_json::{Value, json};
use std::fmt;
use std::time::{Duration, Instant};

impl PolicyName {
    /// Returns the policy with that name.
    pub(super) fn policy(self) -> Policy {
        match self {
            Self::Default => Policy::default(),
            Self::Strict => Policy::strict(),
            Self::Lenient => Policy::lenient(),
        }
    }
}

pub(super) fn run(arguments: &ProbeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let expected = identity_file::read(&arguments.identity_file)?;
    let endpoint = &expected.ipc_endpoint.path;
    output.line(format_args!(
        "identity file {}: pid {} at {}\n",
        safe(arguments.identity_file.display()),
        expected.pid,
        safe(endpoint)
    ))?;

    let started = Instant::now();
    let verified = verify(&expected, &arguments.policy.policy(), started + arguments.deadline.deadline);
    let took = started.elapsed();
    let steps = match &verified {
        Ok(proof) => &proof.steps,
        Err(unverified) => &unverified.steps,
    };
    for step in steps {
        output.line(StepLine(step))?;
    }
    let mut object = json!({
        "identity": expected,
        "policy": arguments.policy.to_string(),
        "steps": steps.iter().map(step_json).collect::<Vec<_>>(),
        "took_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    });
    match verified {
        Ok(proof) => {
            object["verdict"] = "yes".into();
            object["proof"] = proof_json(&proof);
            output.object(object)?;
            print_conclusion(&proof, took, output)?;
            Ok(Verdict::Yes)
        }
        Err(Unverified { error, .. }) => {
            let failure = failure(error).context(format!("the daemon at {endpoint} could not be verified"));
            let verdict = failure.verdict();
            object["verdict"] = if verdict == Verdict::No { "no" } else { "undecided" }.into();
            object["error"] = json!(failure.report());
            output.object(object)?;
            // The JSON object has reported the failure already.
            if output.is_json() { Ok(verdict) } else { Err(failure) }
        }
    }
}

fn print_conclusion(proof: &Proof, took: Duration, output: &mut Output) -> Result<(), Failure> {
    let style = style(StepVerdict::Proven);
    output.line(format_args!(
        "\n{style}the daemon in the identity file answers{style:#}: {}, in {took:.0?}",
        proof.level
    ))?;
    if let Listener::Inherited { .. } = proof.listener {
        output.line(
            "it listens on a socket that another process created; the kernel names it as the writer of its answer",
        )?;
    }
    if proof.image == ImageState::ReplacedOnDisk {
        output.line("its executable was replaced on disk: restart it to run the new one")?;
    }
    if proof.image == ImageState::NotComparable {
        output.line("whether its executable was replaced on disk cannot be told from here")?;
    }
    if !proof.with_origin {
        output.line(
            "its identity file has no start time: a restart with the same pid and executable is not detected",
        )?;
    }
    Ok(())
}

/// A step of a verification as a line of text.
pub(super) struct StepLine<'a>(pub(super) &'a Step);

impl fmt::Display for StepLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { kind, verdict, evidence, .. } = self.0;
        let style = style(*verdict);
        write!(formatter, "  {style}{verdict:<10}{style:#}{kind:<14} {}", safe(evidence))
    }
}

fn style(verdict: StepVerdict) -> Style {
    match verdict {
        StepVerdict::Proven => AnsiColor::Green.on_default(),
        StepVerdict::Claimed | StepVerdict::Unchecked => AnsiColor::Yellow.on_default(),
        StepVerdict::Refused => AnsiColor::Red.on_default().bold(),
        _ => Style::new(),
    }
}

fn step_json(step: &Step) -> Value {
    json!({
        "step": step_name(step.kind),
        "verdict": step.verdict.to_string(),
        "evidence": step.evidence,
    })
}

fn proof_json(proof: &Proof) -> Value {
    json!({
        "level": level_name(proof.level),
        "listener": match proof.listener {
            Listener::Own => "own",
            Listener::Inherited { .. } => "inherited",
            _ => "unknown",
        },
        "image": match proof.image {
            ImageState::AsRecorded => "as_recorded",
            ImageState::ReplacedOnDisk => "replaced_on_disk",
            ImageState::NotComparable => "not_comparable",
            _ => "unchecked",
        },
        "with_origin": proof.with_origin,
    })
}

/// Returns the name of a level in JSON.
pub(super) fn level_name(level: ProofLevel) -> &'static str {
    match level {
        ProofLevel::Held => "held",
        ProofLevel::Named => "named",
        _ => "claimed",
    }
}

fn step_name(step: StepKind) -> &'static str {
    match step {
        StepKind::Process => "process",
        StepKind::Boot => "boot",
        StepKind::Namespace => "pid_namespace",
        StepKind::Connection => "connection",
        StepKind::Listener => "listener",
        StepKind::Answer => "answer",
        StepKind::Writer => "writer",
        StepKind::Image => "image",
        StepKind::Alive => "alive",
        _ => "other",
    }
}

/// Returns the failure of a command whose daemon could not be verified.
pub(super) fn failure(error: ProbeError) -> Failure {
    let advice = advice::probe(&error);
    Failure::new(error, advice)
}
