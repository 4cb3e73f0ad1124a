#!/usr/bin/env bash
# Lints the example of workers on many machines, and tests it with a real server of NATS; without one the tests say so and are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --locked --manifest-path beyond/Cargo.toml --all-targets -- -D warnings
cargo test --locked --manifest-path beyond/Cargo.toml -- --nocapture
