#!/usr/bin/env bash
# Runs the library's tests with a standard library that checks itself: its debug assertions, and the preconditions of its unsafe functions.
#   careful.sh [cargo test arguments]     by default the unit tests, and both servers and all clients over sockets, with descriptors
# cargo-careful builds that library with a nightly toolchain, whose source it installs by rustup if it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "skipped: rustup toolchain install nightly"
  exit
fi
tool=$(ci/cargo-tool.sh cargo-careful)
[ $# -gt 0 ] || set -- --lib --test host --test descriptors --test observed
# Cargo finds its subcommands in PATH.
PATH=$(dirname "$tool"):$PATH CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/careful \
  cargo +nightly careful test --locked -p running-process --features tokio,tracing,metrics "$@"
