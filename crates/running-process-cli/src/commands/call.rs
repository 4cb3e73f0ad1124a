//! `call`: one request to the daemon in an identity file.

use super::target::{Target, payload_from_stdin};
use crate::cli::CallArgs;
use crate::failure::{Failure, Verdict};
use crate::output::Output;
use running_process::broker::backend_sdk::FrameClientError;
use running_process::broker::protocol::RefusalReason;
use std::time::Instant;

pub(super) fn run(arguments: CallArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let target = Target::find(&arguments.target)?;
    let payload = match arguments.payload {
        Some(payload) => payload.into_bytes(),
        None => payload_from_stdin()?,
    };

    let deadline = Instant::now() + arguments.deadline.deadline;
    let mut client = target.prove(deadline)?.into_client();
    client.set_timeout(Some(deadline.saturating_duration_since(Instant::now())));
    let started = Instant::now();
    let response =
        client.request(target.protocol, payload).map_err(|error| request_failure(&target, error))?;
    let took = started.elapsed();
    if output.is_json() {
        output.object(serde_json::json!({
            "payload_protocol": response.payload_protocol,
            "payload_text": std::str::from_utf8(&response.payload).ok(),
            "payload": response.payload,
            "elapsed_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }))?;
    } else {
        output.bytes(&response.payload)?;
    }
    Ok(Verdict::Yes)
}

fn request_failure(target: &Target, error: FrameClientError) -> Failure {
    let hint = target.hint(&error, "--deadline");
    let failure = match error {
        FrameClientError::Refused(ref refusal) if refusal.reason() == RefusalReason::Overloaded => {
            Failure::undecided(error)
        }
        FrameClientError::Closed | FrameClientError::Refused(_) | FrameClientError::Connection(_) => {
            Failure::negative(error)
        }
        _ => Failure::undecided(error),
    };
    failure.hint(hint)
}
