//! The steps of a verification and its proof, for people and in JSON.

use crate::cli::ProbeArgs;
use crate::text::safe;
use anstyle::{AnsiColor, Style};
use running_process::broker::backend_lifecycle::verify::{
    ImageState, Listener, Proof, ProofLevel, Step, StepKind, StepVerdict,
};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// Returns the common part of both reports in JSON.
pub(super) fn report(arguments: &ProbeArgs, steps: &[Step], took: Duration) -> Value {
    json!({
        "policy": arguments.policy.to_string(),
        "steps": steps.iter().map(step_json).collect::<Vec<_>>(),
        "took_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    })
}

/// A step of a verification as a line of text.
pub(in crate::commands) struct StepLine<'a>(pub(crate) &'a Step);

impl fmt::Display for StepLine<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { kind, verdict, evidence, .. } = self.0;
        let style = style(*verdict);
        write!(formatter, "  {style}{verdict:<10}{style:#}{kind:<14} {}", safe(evidence))
    }
}

pub(super) fn style(verdict: StepVerdict) -> Style {
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

pub(super) fn proof_json(proof: &Proof) -> Value {
    json!({
        "level": level_name(proof.level),
        "listener": match proof.listener {
            Listener::Own => "own",
            Listener::Inherited { .. } => "inherited",
            _ => "unknown",
        },
        "image": match proof.image {
            ImageState::Unchanged => "unchanged",
            ImageState::ReplacedOnDisk => "replaced_on_disk",
            ImageState::NotComparable => "not_comparable",
            _ => "unchecked",
        },
        "with_origin": proof.with_origin,
    })
}

/// Returns the name of a level in JSON.
pub(in crate::commands) fn level_name(level: ProofLevel) -> &'static str {
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
        StepKind::Fronted => "fronted",
        _ => "other",
    }
}
