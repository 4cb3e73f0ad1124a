#!/usr/bin/env bash
# Runs fuzz targets under libFuzzer, and prints the number of inputs, their speed and the covered edges of each. Needs no cargo-fuzz.
#   fuzz.sh HOURS [TARGET...]      splits so many hours, such as 0.5, over all targets or those that are named
#   fuzz.sh SECONDSs [TARGET...]   runs each target for so many seconds, such as 300s
#   fuzz.sh keep [TARGET...]       keeps the fewest inputs that cover all edges found so far: fuzz/corpus/TARGET.hex, which the gate runs
# SANITIZER=address builds with the address sanitizer, at half the speed. The targets are safe code but for the decoder of Zstandard, so
# the default is none; overflows and debug assertions are checked in any case.
# Inputs and failures stay in the target directory, and a later run goes on with them.
source "$(dirname "$0")/begin.sh"
# libFuzzer takes no seconds at all for no limit.
[[ ${1:-} =~ ^([0-9]+(\.[0-9]+)?|[1-9][0-9]*s|keep)$ ]] || usage
time=$1; shift
cd fuzz
sanitizer=${SANITIZER:-none}
target=${CARGO_TARGET_DIR:-$PWD/../target}
# Builds from the repository's lock file, without libFuzzer.
corpus() { cargo run --quiet --locked --bin corpus -- "$@"; }
export CARGO_TARGET_DIR=$target
targets=$(corpus targets)
for name in "$@"; do
  grep -qxF -e "$name" <<<"$targets" || fail "there is no target $name, but:" $targets
done
[ $# -gt 0 ] || set -- $targets
host=$(rustc -vV | sed -n 's/^host: //p')
# libFuzzer needs the coverage of edges and comparisons. A stable compiler has sanitizers only with RUSTC_BOOTSTRAP.
flags="${RUSTFLAGS:-} -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 --cfg fuzzing"
[ "$sanitizer" = none ] || flags+=" -Zsanitizer=$sanitizer"
RUSTC_BOOTSTRAP=1 RUSTFLAGS=${flags//$'\n'/} CARGO_TARGET_DIR=$target/fuzz/$sanitizer \
  cargo build --locked --release --features fuzzer --bin fuzz --target "$host"
# A copy, so that a build does not replace what runs.
work=$target/fuzz/work
mkdir -p "$work"
cp --remove-destination "$target/fuzz/$sanitizer/$host/release/fuzz" "$work/fuzz-$sanitizer"

case $time in
  keep) ;;
  *s) seconds=${time%s} ;;
  *) seconds=$(awk -v hours="$time" -v targets=$# 'BEGIN { print int(hours * 3600 / targets) }')
     [ "$seconds" -gt 0 ] || fail "$time hours are less than a second for each of $# targets" ;;
esac
for name in "$@"; do
  mkdir -p "$work/$name/corpus" "$work/$name/failures"
  rm -rf "$work/$name/kept"; mkdir "$work/$name/kept"
  corpus unpack "$name" "$work/$name/kept"
  fuzz=(env FUZZ_TARGET="$name" "$work/fuzz-$sanitizer" -max_len=2048 -timeout=60 -artifact_prefix="$work/$name/failures/")
  if [ "$time" = keep ]; then
    rm -rf "$work/$name/merged"; mkdir "$work/$name/merged"
    "${fuzz[@]}" -merge=1 -use_counters=0 "$work/$name/merged" "$work/$name/kept" "$work/$name/corpus" 2>"$work/$name/log"
    corpus pack "$name" "$work/$name/merged"
    continue
  fi
  if ! "${fuzz[@]}" -max_total_time="$seconds" -print_final_stats=1 "$work/$name/corpus" "$work/$name/kept" >"$work/$name/log" 2>&1; then
    tail -n 40 "$work/$name/log"
    echo "$name failed; its inputs are in $work/$name/failures"
    exit 1
  fi
  awk -v name="$name" '
    /^stat::number_of_executed_units/ { inputs = $2 }
    /^stat::average_exec_per_sec/ { speed = $2 }
    match($0, /cov: [0-9]+/) { edges = substr($0, RSTART + 5, RLENGTH - 5) }
    END { printf "%-16s %12d inputs %9d a second %6d edges\n", name, inputs, speed, edges }' "$work/$name/log"
done
