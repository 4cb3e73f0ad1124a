#!/usr/bin/env bash
# Runs the blocking server's own code in the interleavings of its threads that a model checker chooses.
#   model.sh [TEST...]
# With a target directory of its own, since every crate sees the flag.
set -euo pipefail
cd "$(dirname "$0")/.."
# What only the system is asked for is not used there.
export RUSTFLAGS="${RUSTFLAGS:-} --cfg shuttle -A dead_code"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/model"
cargo test --locked -p running-process --lib -- server::model "$@"
