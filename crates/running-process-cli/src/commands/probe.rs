//! `probe`: verifies the daemon in an identity file, or the claim of the process at a socket.

pub(super) mod claim;
mod keep;
pub(super) mod socket;
pub(super) mod steps;

use self::steps::{StepLine, proof_json, report, style};
use super::identity_file;
use crate::cli::{PolicyName, ProbeArgs};
use crate::failure::advice::{Advice, service};
use crate::failure::{Failure, advice};
use crate::output::Output;
use crate::release::release;
use crate::services;
use crate::text::safe;
use crate::verdict::Verdict;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::backend_lifecycle::probe::ProbeError;
use running_process::broker::backend_lifecycle::verify::{
    ImageState, Listener, Policy, Proof, Step, StepVerdict, Unverified, stopped_process, verify,
    verify_fronted,
};
use running_process::broker::backend_sdk::ConnectError;
use serde_json::json;
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
    if arguments.socket || identity_file::is_socket(&arguments.target) {
        return socket::run(arguments, output);
    }
    if arguments.write.is_some() {
        let error =
            format!("{} is not a socket, so it makes no claim to write", safe(arguments.target.display()));
        return Err(
            Failure::usage(error).hint("name the socket, as in `running-process probe SOCKET --write FILE`")
        );
    }
    let (started, policy) = (Instant::now(), arguments.policy.policy());
    let deadline = started + arguments.deadline.deadline;
    let file = services::identity_file(&arguments.target)?;
    let (expected, verified) = identity_file::verified(
        &file,
        deadline,
        |expected| verify(expected, &policy, deadline),
        |unverified| &unverified.error,
    )?;
    let took = started.elapsed();
    let endpoint = &expected.ipc_endpoint.path;
    output.line(format_args!(
        "identity file {}: pid {} at {}{}\n",
        safe(file.display()),
        expected.pid,
        safe(endpoint),
        safe(release(&expected).map_or_else(String::new, |release| format!(", version {release}")))
    ))?;
    let steps = match &verified {
        Ok(proof) => &proof.steps,
        Err(unverified) => &unverified.steps,
    };
    let fronted = verified.is_ok().then(|| verify_fronted(&expected, deadline)).flatten();
    let steps: Vec<_> = steps.iter().chain(&fronted).cloned().collect();
    for step in &steps {
        output.line(StepLine(step))?;
    }
    let mut object = report(arguments, &steps, took);
    object["identity"] = json!(expected);
    let verified = match fronted {
        Some(step) if step.verdict == StepVerdict::Refused => Err(fronted_failure(&step)),
        _ => verified.map_err(|Unverified { error, .. }| {
            unproven(error, &expected).context(format!("the daemon at {endpoint} could not be verified"))
        }),
    };
    match verified {
        Ok(proof) => {
            object["verdict"] = "yes".into();
            object["proof"] = proof_json(&proof);
            output.object(object)?;
            print_conclusion(&proof, took, output)?;
            Ok(Verdict::Yes)
        }
        Err(failure) => output.negative(object, failure),
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

/// Returns the failure of a front that is verified, and whose fronted daemon is not.
fn fronted_failure(step: &Step) -> Failure {
    let advice =
        Advice::no("fronted_not_proven").hint("the front starts both again: stop the service, then start it");
    Failure::new(step.evidence.clone(), advice)
        .context("the front answers, and the daemon behind it could not be verified")
}

/// Returns the failure of a command whose daemon, that of `expected`, could not be verified.
pub(super) fn unproven(error: ProbeError, expected: &DaemonProcess) -> Failure {
    let is_silent = matches!(
        error,
        ProbeError::TimedOut | ProbeError::Closed | ProbeError::Connect(ConnectError::BacklogFull { .. })
    );
    match stopped_process(expected).filter(|_| is_silent) {
        Some(pid) => {
            let advice = Advice { hint: Some(service::stopped(pid).into()), ..advice::probe(&error) };
            Failure::new(error, advice).context(format!("process {pid} is stopped by a signal"))
        }
        None => failure(error),
    }
}

/// Returns the failure of a command whose daemon could not be verified.
pub(super) fn failure(error: ProbeError) -> Failure {
    let advice = advice::probe(&error);
    Failure::new(error, advice)
}
