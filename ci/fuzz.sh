#!/usr/bin/env bash
# Runs each fuzz target, or those that are named, for SECONDS, and keeps the corpus in fuzz/corpus. Needs no cargo-fuzz.
#   fuzz.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${1:?usage: fuzz.sh SECONDS [TARGET...]}; shift
[ $# -gt 0 ] || set -- $(sed -nE 's/^name = "(.*)"$/\1/p' Cargo.toml | tail -n +2)
host=$(rustc -vV | sed -n 's/^host: //p')
# libFuzzer needs the coverage of edges and comparisons; the address sanitizer finds reads out of bounds. A stable compiler has
# sanitizers only with RUSTC_BOOTSTRAP.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../target}/fuzz"
RUSTFLAGS="${RUSTFLAGS:-} -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
  --cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Coverflow-checks"
export RUSTFLAGS=${RUSTFLAGS//$'\n'/}
cargo build --locked --release --target "$host" "${@/#/--bin=}"
for target in "$@"; do
  echo "fuzzing $target for $seconds s"
  mkdir -p "corpus/$target" "artifacts/$target"
  "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="artifacts/$target/" "corpus/$target"
done
