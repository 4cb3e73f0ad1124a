//! The process at a socket without an identity file: who listens, what it claims to be, and whether the kernel agrees.

use super::claim::leads_to;
use super::keep;
use super::steps::{StepLine, proof_json, report, style};
use crate::amount::rough;
use crate::cli::ProbeArgs;
use crate::failure::start::unix_ms;
use crate::failure::{Failure, advice};
use crate::output::Output;
use crate::release::release;
use crate::text::safe;
use crate::verdict::Verdict;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{
    Claim, ListeningProcess, ProofLevel, StepVerdict, verify_claim,
};
use running_process::broker::local_sockets::ProcessDescription;
use running_process::broker::protocol::Endpoint;
use serde_json::{Value, json};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

pub(super) fn run(arguments: &ProbeArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let endpoint = endpoint(&arguments.target)?;
    let started = Instant::now();
    let deadline = started + arguments.deadline.deadline;
    let claim = verify_claim(&endpoint, &arguments.policy.policy(), deadline);
    let took = started.elapsed();
    print_claim(&claim, &endpoint, output)?;

    let steps = match &claim.proof {
        Ok(proof) => &proof.steps,
        Err(unverified) => &unverified.steps,
    };
    for step in steps {
        output.line(StepLine(step))?;
    }
    let mut object = report(arguments, steps, took);
    object["socket"] = json!(endpoint.path);
    object["listener"] = json!(claim.listener.as_ref().map(listener_json));
    object["identity"] = json!(claim.identity);
    object["leads_here"] = json!(claim.identity.as_ref().map(|identity| leads_to(identity, &endpoint)));
    object["written"] = Value::Null;
    let kept = match (&claim.proof, &claim.identity, &arguments.write) {
        (Ok(_), Some(identity), Some(file)) => keep::write(file, identity, &endpoint, deadline),
        _ => Ok(()),
    };
    let confirmed = claim.proof.map_err(|unverified| {
        let context = match (&unverified.error, &claim.identity) {
            (ProbeError::Connect(_), _) => "cannot be asked",
            (_, None) => "did not say what it is",
            (_, Some(_)) => "is not confirmed by the kernel to be what it claims",
        };
        unconfirmed(unverified.error).context(format!("the process at {} {context}", endpoint.path))
    });
    match confirmed.and_then(|proof| kept.map(|()| proof)) {
        Ok(proof) => {
            object["proof"] = proof_json(&proof);
            object["written"] = json!(arguments.write.as_ref().map(|file| file.display().to_string()));
            object["verdict"] = Verdict::Yes.name().into();
            output.object(object)?;
            print_conclusion(proof.level, took, arguments.write.as_deref(), output)?;
            Ok(Verdict::Yes)
        }
        Err(failure) => output.negative(object, failure),
    }
}

/// Returns the endpoint that the user names by `path`.
fn endpoint(path: &Path) -> Result<Endpoint, Failure> {
    let Some(name) = path.to_str() else {
        return Err(Failure::usage(format!("the name {} is not UTF-8", path.display())));
    };
    let endpoint = if cfg!(windows) { Endpoint::windows_pipe } else { Endpoint::unix_socket };
    endpoint("", name).map_err(Failure::usage)
}

/// Returns the failure of a process whose claim the kernel does not confirm.
pub(in crate::commands) fn unconfirmed(error: ProbeError) -> Failure {
    let advice = advice::claim(&error);
    Failure::new(error, advice)
}

fn print_claim(claim: &Claim, asked: &Endpoint, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!("socket {}", safe(&asked.path)))?;
    if let Some(listener) = &claim.listener {
        output.line(format_args!("  listens       {}", Listener(listener)))?;
    }
    if let Some(identity) = &claim.identity {
        let style = style(StepVerdict::Claimed);
        output.line(format_args!("  {style}claims to be{style:#}  {}", Claimed(identity)))?;
        if !leads_to(identity, asked) {
            let elsewhere = safe(&identity.ipc_endpoint.path);
            output.line(format_args!(
                "  {style}claims to be{style:#}  at {elsewhere}, another endpoint than this"
            ))?;
        }
    }
    output.line("")
}

fn print_conclusion(
    level: ProofLevel,
    took: Duration,
    written: Option<&Path>,
    output: &mut Output,
) -> Result<(), Failure> {
    let style = style(StepVerdict::Proven);
    output
        .line(format_args!("\n{style}the kernel confirms what it claims{style:#}: {level}, in {took:.0?}"))?;
    match written {
        Some(file) => output.line(format_args!(
            "its identity is in {0}, on your word: `running-process probe {0}` compares with it from now on",
            safe(file.display())
        )),
        None => output.line(
            "there is no identity file to compare with, so only you can tell whether it is the daemon that you expect; \
             --write FILE keeps its identity",
        ),
    }
}

/// A process that listens, for people.
struct Listener<'a>(&'a ListeningProcess);

impl fmt::Display for Listener<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProcessDescription { pid, program, started_at, .. } = &self.0.process;
        write!(formatter, "process {pid}")?;
        if let Some(uid) = self.0.uid {
            write!(formatter, " of user {uid}")?;
        }
        if let Some(program) = program {
            write!(formatter, ", {}", safe(program.display()))?;
        }
        let Some(started_at) = started_at else { return Ok(()) };
        let age = SystemTime::now().duration_since(*started_at).unwrap_or_default();
        let since = humantime::format_rfc3339_seconds(*started_at);
        write!(formatter, ", since {since} ({})", rough(age))
    }
}

/// An identity that is only claimed, for people.
struct Claimed<'a>(&'a DaemonProcess);

impl fmt::Display for Claimed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.0;
        write!(formatter, "process {}, {}", identity.pid, safe(identity.exe_path.display()))?;
        release(identity).map_or(Ok(()), |release| write!(formatter, ", version {}", safe(release)))
    }
}

fn listener_json(listener: &ListeningProcess) -> Value {
    let mut object = process_json(&listener.process);
    object["uid"] = json!(listener.uid);
    object
}

/// Returns a process as the kernel describes it, in JSON.
pub(in crate::commands) fn process_json(process: &ProcessDescription) -> Value {
    json!({
        "pid": process.pid,
        "program": process.program.as_ref().map(|program| program.display().to_string()),
        "started_unix_ms": process.started_at.map(unix_ms),
    })
}
