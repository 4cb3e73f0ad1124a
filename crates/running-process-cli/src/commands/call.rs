//! `call`: one request to the daemon in an identity file.

use super::{probe, record};
use crate::cli::CallArgs;
use crate::failure::{Failure, Verdict};
use crate::output::Output;
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::FrameClientError;
use running_process::broker::protocol::{MAX_FRAME_BYTES, registry};
use std::io::Read;
use std::time::Instant;

pub(super) fn run(arguments: CallArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let protocol = arguments.protocol;
    if registry::is_first_party(protocol) {
        return Err(Failure::undecided(format!(
            "payload protocol 0x{protocol:04X} belongs to the wire itself"
        ))
        .hint("name one that the daemon serves; the demo's cache is 0xF0CA"));
    }
    let expected = record::read(&arguments.identity)?;
    let payload = match arguments.payload {
        Some(payload) => payload.into_bytes(),
        None => read_stdin()?,
    };

    let deadline = Instant::now() + arguments.deadline.deadline;
    let handle = BackendHandle::verify(&expected, arguments.policy.policy(), deadline).map_err(|error| {
        probe::probe_failure(error).context("nothing was sent: the daemon did not prove itself")
    })?;
    let mut client = handle.into_client();
    client.set_timeout(Some(deadline.saturating_duration_since(Instant::now())));
    let started = Instant::now();
    let response = client.request(protocol, payload).map_err(|error| request_failure(protocol, error))?;
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

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut payload = Vec::new();
    std::io::stdin().take(MAX_FRAME_BYTES as u64 + 1).read_to_end(&mut payload).map_err(|error| {
        Failure::undecided(error).context("the payload cannot be read from standard input")
    })?;
    Ok(payload)
}

fn request_failure(protocol: u32, error: FrameClientError) -> Failure {
    match error {
        FrameClientError::Closed => Failure::negative(error)
            .hint(format!("a daemon closes the connection on a payload protocol that it does not serve: is 0x{protocol:04X} right?")),
        FrameClientError::Refused(_) => {
            let hint = if error.may_have_run() {
                "the daemon may have run the request, in whole or in part"
            } else {
                "the daemon has not run the request: it does no harm to send it again"
            };
            Failure::negative(error).hint(hint)
        }
        FrameClientError::TimedOut { .. } => {
            Failure::undecided(error).hint("the daemon may still run the request: wait longer with --deadline")
        }
        FrameClientError::Request(_) => {
            Failure::undecided(error).hint(format!("a frame carries at most {MAX_FRAME_BYTES} bytes, envelope included"))
        }
        FrameClientError::Connection(_) => {
            Failure::negative(error).hint("the daemon does not keep to the protocol: is it up to date?")
        }
        _ => Failure::undecided(error).hint("whether the daemon has run the request is not known"),
    }
}
