//! What the models of the drivers share: how interleavings are tried, and connections in memory. Run by `ci/model.sh`.

pub(super) mod wire;

use std::sync::Arc;

/// The number of interleavings that each test tries with each scheduler, unless `MODEL_RUNS` says another.
const RUNS: usize = 2_000;
/// How many changes of thread the second scheduler is free to make.
const CHANGES: usize = 3;

/// Tries `model` in random interleavings, and in those with few changes of thread, which random ones seldom are.
pub(super) fn check(model: impl Fn() + Send + Sync + 'static) {
    let runs = std::env::var("MODEL_RUNS").map_or(RUNS, |runs| runs.parse().expect("MODEL_RUNS is a number"));
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    shuttle::check_random(move || model(), runs);
    shuttle::check_pct(move || again(), runs, CHANGES);
}
