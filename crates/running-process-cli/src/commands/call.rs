//! `call`: sends one request to the daemon in an identity file.

use super::target::{Target, payload_from_stdin};
use crate::cli::CallArgs;
use crate::failure::{Failure, advice};
use crate::output::Output;
use crate::verdict::Verdict;
use running_process::broker::backend_sdk::FrameClientError;
use serde::Serialize;
use std::time::Instant;

pub(super) fn run(arguments: CallArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let mut target = Target::find(&arguments.target)?;
    let payload = match arguments.payload {
        Some(payload) => payload.into_bytes(),
        None => payload_from_stdin()?,
    };

    let timeout = arguments.deadline.deadline;
    let deadline = Instant::now() + timeout;
    let mut client = target.prove(deadline)?.into_client();
    client.set_timeout(Some(deadline.saturating_duration_since(Instant::now())));
    let started = Instant::now();
    let response = client.request(target.protocol, payload).map_err(|error| {
        let error = match error {
            // The client's own timeout is shorter, since the proof took a part of the time.
            FrameClientError::TimedOut { .. } => FrameClientError::TimedOut { timeout },
            error => error,
        };
        let advice = advice::request(&error, target.request_context("--deadline"));
        Failure::of_request(error, advice)
    })?;
    let took = started.elapsed();
    if output.is_json() {
        output.object(Response {
            payload_protocol: response.payload_protocol,
            payload_text: std::str::from_utf8(&response.payload).ok(),
            payload: &response.payload,
            elapsed_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        })?;
    } else {
        output.payload(&response.payload)?;
    }
    Ok(Verdict::Yes)
}

#[derive(Serialize)]
struct Response<'a> {
    payload_protocol: u32,
    payload_text: Option<&'a str>,
    payload: &'a [u8],
    elapsed_us: u64,
}
