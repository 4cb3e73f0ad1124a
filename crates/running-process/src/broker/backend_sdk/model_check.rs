//! What the models of the drivers share: how interleavings are tried, and connections in memory. Run by `ci/model.sh`.

pub(super) mod wire;

use std::sync::Arc;

/// How many interleavings each test tries with each scheduler.
const RUNS: usize = 2_000;
/// How many changes of thread the second scheduler is free to make.
const CHANGES: usize = 3;

/// Tries `model` in random interleavings, and in those with few changes of thread, which random ones seldom are.
pub(super) fn check(model: impl Fn() + Send + Sync + 'static) {
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    shuttle::check_random(move || model(), RUNS);
    shuttle::check_pct(move || again(), RUNS, CHANGES);
}
