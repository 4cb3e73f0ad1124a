#!/usr/bin/env bash
# Tests the example of workers on many machines with a real server of NATS; without one the tests say so and are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --locked --manifest-path beyond/Cargo.toml -- --nocapture
