//! The parts that the models of the drivers share: schedulers, and connections in memory. `ci/model.sh` runs them.

pub(super) mod wire;

use std::sync::Arc;

/// The number of interleavings that each test tries with each scheduler, unless `MODEL_RUNS` says another.
const RUNS: usize = 400;
/// Number of preemptions in a schedule of the second scheduler.
const CHANGES: usize = 3;

/// Tries `model` in random interleavings, and in those with few changes of thread, which random ones seldom are.
pub(super) fn check(model: impl Fn() + Send + Sync + 'static) {
    let runs = std::env::var("MODEL_RUNS").map_or(RUNS, |runs| runs.parse().expect("MODEL_RUNS is a number"));
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    shuttle::check_random(move || model(), runs);
    shuttle::check_pct(move || again(), runs, CHANGES);
}
