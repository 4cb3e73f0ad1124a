//! The warm-up and the measured phase.

use super::phase::{self, Extent, Outcome, Plan};
use super::progress::ProgressLine;
use crate::cli::LoadArgs;
use crate::failure::Failure;
use running_process::broker::backend_sdk::{AsyncFrameClient, LocalStream, OnTermination};
use std::io;
use std::sync::Arc;
use std::thread::available_parallelism;
use tokio::sync::Notify;

/// The outcome of the measured phase, or of the warm-up if a request failed in that.
pub(super) struct Measurement {
    pub(super) outcome: Outcome,
    /// Set if the outcome is that of the warm-up.
    pub(super) only_warm_up: bool,
    pub(super) lost_connections: usize,
}

/// Runs the warm-up and the measured phase over `streams`.
pub(super) fn measure(
    arguments: &LoadArgs,
    plan: &Arc<Plan>,
    streams: Vec<LocalStream>,
) -> Result<Measurement, Failure> {
    // Enough threads that the daemon is the bottleneck. One connection keeps one thread busy.
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
        let mut progress = ProgressLine::on_terminal(arguments.chart.glyphs());
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
) -> Measurement {
    let lost = || clients.iter().filter(|client| !client.is_usable()).count();
    if !arguments.warm_up.is_zero() {
        let extent = Extent { duration: Some(arguments.warm_up), requests: None, ends_at_failure: true };
        let outcome = phase::run(plan, clients, extent, interrupt, |at| progress.show("warm-up", at)).await;
        if outcome.interrupted || outcome.failures.count() > 0 {
            return Measurement { outcome, only_warm_up: true, lost_connections: lost() };
        }
    }
    let extent = Extent::of(arguments);
    let outcome = phase::run(plan, clients, extent, interrupt, |at| progress.show("measuring", at)).await;
    Measurement { outcome, only_warm_up: false, lost_connections: lost() }
}
