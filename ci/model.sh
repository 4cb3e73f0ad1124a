#!/usr/bin/env bash
# Runs the blocking server's own code, and the asynchronous client's, in the interleavings that a model checker chooses.
#   model.sh [TEST...]
# With a target directory of its own, since every crate sees the flag.
set -euo pipefail
cd "$(dirname "$0")/.."
# What only the system is asked for is not used there.
export RUSTFLAGS="${RUSTFLAGS:-} --cfg shuttle -A dead_code -A unused_imports"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/model"
cargo test --locked -p running-process --features tokio --lib -- ::model:: "$@"
