//! `load`: sends many requests to the daemon in an identity file and measures their latencies.

mod connections;
mod measurement;
mod phase;
mod progress;
mod report;
mod schedule;
mod tally;

use super::target::{Target, payload_from_stdin, too_large};
use crate::cli::LoadArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::verdict::Verdict;
use measurement::measure;
use phase::Plan;
use report::Report;
use running_process::broker::protocol::FrameRef;
use std::sync::Arc;
use std::time::Instant;

/// Largest number of requests in flight over all connections. Each has a task.
const MAX_IN_FLIGHT: u64 = 1_000_000;

/// The byte that fills payloads of `--size`.
const FILLER: u8 = b'x';

pub(super) fn run(arguments: &LoadArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let in_flight = u64::from(arguments.connections) * u64::from(arguments.in_flight);
    if in_flight > MAX_IN_FLIGHT {
        return Err(Failure::usage(format!(
            "{in_flight} requests in flight exceed the limit of {MAX_IN_FLIGHT}"
        ))
        .hint("choose fewer --connections or a smaller --in-flight"));
    }
    let mut target = Target::find(&arguments.target)?;
    let payload = match arguments.payload.as_deref() {
        None => vec![FILLER; arguments.size],
        Some("-") => payload_from_stdin()?,
        Some(text) => text.as_bytes().to_vec(),
    };
    fit_frame(target.protocol, &payload)?;
    connections::raise_file_limit(arguments.connections)?;

    let deadline = Instant::now() + arguments.deadline;
    let handle = target.prove(deadline)?;
    let streams = connections::open(handle, arguments.connections, deadline)?;
    let plan = Arc::new(Plan::new(arguments, target, payload));
    output.draw_with(arguments.chart.glyphs());
    let report = Report { arguments, plan: &plan };
    report.begin(output)?;
    let measured = measure(arguments, &plan, streams)?;
    report.end(&measured, output)
}

/// Checks that a frame can carry the payload with any request id and deadline.
fn fit_frame(protocol: u32, payload: &[u8]) -> Result<(), Failure> {
    let request = FrameRef::request(protocol, u64::MAX, payload);
    let request = FrameRef { deadline_unix_ms: u64::MAX, ..request };
    request.encode_framed(&mut Vec::new()).map_err(too_large)
}
