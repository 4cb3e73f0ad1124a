#!/usr/bin/env bash
# Runs the blocking server's own code, and the asynchronous client's, in the interleavings that a model checker chooses.
#   model.sh [TEST...]
# It has a target directory of its own, since every crate sees the flag. MODEL_RUNS is the number of schedules of each kind.
set -euo pipefail
cd "$(dirname "$0")/.."
# Code that needs the system is unused there.
export RUSTFLAGS="${RUSTFLAGS:-} --cfg shuttle -A dead_code -A unused_imports"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/model"
cargo test --locked -p running-process --features tokio --lib -- ::model:: "$@"
