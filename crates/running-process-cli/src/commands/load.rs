//! `load`: many requests to the daemon in an identity file, and how long they take.

mod connections;
mod histogram;
mod phase;
mod report;
mod schedule;
mod tally;

use super::target::{Target, payload_from_stdin, too_large};
use crate::cli::LoadArgs;
use crate::failure::{Failure, Verdict};
use crate::output::text::cut;
use crate::output::{DEFAULT_COLUMNS, Output};
use phase::{Extent, Outcome, Plan, Progress};
use report::Report;
use running_process::broker::backend_sdk::{AsyncFrameClient, LocalStream, OnTermination};
use running_process::broker::protocol::FrameRef;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Without a number of requests.
const DEFAULT_DURATION: Duration = Duration::from_secs(5);

/// How many requests are in flight at most, over all connections; each has a task.
const MAX_LANES: u64 = 1_000_000;

/// What payloads are made of that nobody chose.
const FILLER: u8 = b'x';

pub(super) fn run(arguments: &LoadArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let lanes = u64::from(arguments.connections) * u64::from(arguments.in_flight);
    if lanes > MAX_LANES {
        return Err(Failure::usage(format!("{lanes} requests in flight are more than {MAX_LANES}"))
            .hint("ask for fewer --connections or less --in-flight"));
    }
    let target = Target::find(&arguments.target)?;
    let payload = match arguments.payload.as_deref() {
        None => vec![FILLER; arguments.size],
        Some("-") => payload_from_stdin()?,
        Some(text) => text.as_bytes().to_vec(),
    };
    fit_frame(target.protocol, &payload)?;
    connections::allow(arguments.connections)?;

    let deadline = Instant::now() + arguments.deadline;
    let handle = target.prove(deadline)?;
    let streams = connections::open(handle, arguments.connections, deadline)?;
    let plan = Arc::new(Plan::new(arguments, target, payload));
    let report = Report { arguments, plan: &plan };
    report.begin(output)?;
    let measured = measure(arguments, &plan, streams)?;
    report.end(&measured, output)
}

/// What was measured, or the warm-up's outcome where that failed.
struct Measured {
    outcome: Outcome,
    /// Nothing was measured.
    only_warm_up: bool,
    lost_connections: usize,
}

fn measure(arguments: &LoadArgs, plan: &Arc<Plan>, streams: Vec<LocalStream>) -> Result<Measured, Failure> {
    // Threads enough that it is the daemon that is measured; one alone for one connection, which needs no other's help.
    let threads = available_parallelism()?.get().min(streams.len());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let interrupt = Arc::new(Notify::new());
    let interrupted = Arc::clone(&interrupt);
    // An ignored signal, as under nohup, stays ignored.
    let _interrupts = match OnTermination::new(move || interrupted.notify_one()) {
        Ok(interrupts) => Some(interrupts),
        // Without handlers a signal ends the command before it prints its figures.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
        Err(error) => return Err(Failure::from(error).context("signals cannot be handled")),
    };
    runtime.block_on(async {
        let clients: Result<Vec<_>, _> = streams.into_iter().map(AsyncFrameClient::from_stream).collect();
        let clients = clients.map_err(Failure::undecided)?;
        let mut progress = ProgressLine::on_terminal();
        let measured = phases(arguments, plan, &clients, &interrupt, &mut progress).await;
        progress.clear();
        Ok(measured)
    })
}

async fn phases(
    arguments: &LoadArgs,
    plan: &Arc<Plan>,
    clients: &[AsyncFrameClient],
    interrupt: &Notify,
    progress: &mut ProgressLine,
) -> Measured {
    let lost = || clients.iter().filter(|client| !client.is_usable()).count();
    if !arguments.warm_up.is_zero() {
        let extent = Extent { duration: Some(arguments.warm_up), requests: None, ends_at_failure: true };
        let outcome = phase::run(plan, clients, extent, interrupt, |at| progress.show("warm-up", at)).await;
        if outcome.interrupted || outcome.failures.count() > 0 {
            return Measured { outcome, only_warm_up: true, lost_connections: lost() };
        }
    }
    let extent = extent(arguments);
    let outcome = phase::run(plan, clients, extent, interrupt, |at| progress.show("measuring", at)).await;
    Measured { outcome, only_warm_up: false, lost_connections: lost() }
}

fn extent(arguments: &LoadArgs) -> Extent {
    let LoadArgs { duration, requests, .. } = *arguments;
    Extent {
        duration: duration.or(requests.is_none().then_some(DEFAULT_DURATION)),
        requests,
        ends_at_failure: false,
    }
}

/// Whether a frame carries the payload, whichever request it is.
fn fit_frame(protocol: u32, payload: &[u8]) -> Result<(), Failure> {
    let request = FrameRef::request(protocol, u64::MAX, payload);
    let request = FrameRef { deadline_unix_ms: u64::MAX, ..request };
    request.encode_framed(&mut Vec::new()).map_err(too_large)
}

/// How far the load is, on one line of the terminal that is written over.
struct ProgressLine {
    is_on: bool,
}

impl ProgressLine {
    fn on_terminal() -> Self {
        Self { is_on: io::stderr().is_terminal() }
    }

    fn show(&mut self, phase: &str, Progress { elapsed, answered, failed }: Progress) {
        let seconds = elapsed.as_secs_f64();
        self.write(format_args!("{phase} {seconds:.1} s: {answered} answered, {failed} failed"));
    }

    fn clear(&mut self) {
        self.write(format_args!(""));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        if self.is_on {
            // A line that fills the terminal would be continued on the next one, where it cannot be written over.
            let columns = terminal_size::terminal_size_of(io::stderr())
                .map_or(DEFAULT_COLUMNS, |(width, _)| usize::from(width.0));
            let line = cut(&text.to_string(), columns.saturating_sub(1));
            // A terminal that is gone needs no progress.
            self.is_on = write!(io::stderr(), "\r\x1b[K{line}").is_ok();
        }
    }
}
