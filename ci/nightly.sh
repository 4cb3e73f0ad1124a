#!/usr/bin/env bash
# The steps that take too long for the gate: wider forms of its steps, and fuzzing and model checking, which find more the longer they run.
# All steps run, also after one that failed; the exit code says whether one did. Run .ci/run once before: it installs the tools.
#   nightly.sh [STEP...]    all steps, or those named; FUZZ_SECONDS=300 for each fuzz target, MODEL_RUNS=10000 for each model,
#                           STAMPEDE_ROUNDS=50 of each crowd that starts a daemon, REPLACEMENTS=100 under each load,
#                           CROWD_ROUNDS=10 of each crowd that meets a replacement, WAR_SECONDS=60 of two versions in turn,
#                           SOAK_HOURS=0.5 of everything at once
source "$(dirname "$0")/begin.sh"
source ci/steps.sh

# Tests the library without features, and with each encoding alone.
core() {
  cargo test --locked -p running-process --no-default-features
  local feature
  for feature in lz4 snappy zstd; do
    cargo test --locked -p running-process --no-default-features --features "$feature" \
      --test core --test allocations
  done
}

# Tests all of the library with all encodings, clients and servers over sockets included.
everything() {
  cargo test --locked -p running-process --all-features
}

# Passes descriptors in many requests, and counts those of the process.
descriptors() {
  DESCRIPTOR_REQUESTS=${DESCRIPTOR_REQUESTS:-100000} \
    cargo test --locked -p running-process --all-features --test descriptors leaks::
}

# Lints the benchmarks and runs each once, to see that it works. The numbers of such a run mean nothing.
benchmarks() {
  cargo clippy --locked --manifest-path benches/Cargo.toml --all-targets -- -D warnings
  cargo test --locked --manifest-path benches/Cargo.toml
  cargo run --locked --manifest-path benches/Cargo.toml -- --once --syscalls
}

# Kills daemon, starter, stopper and client at each system call of a start, a stop and a replacement, and makes those of starts and stops
# fail; the gate takes every tenth. Kills, stops and makes fail servers and clients of each driver at each of theirs; the gate takes a few.
walk() {
  SERVICE_WALK=all cargo test --locked -p running-process-acceptance --test service walk::
}

# Tries the mutants of what must not be wrong: the protocol, the proof, and what starts exactly one daemon.
mutants() {
  cargo clippy --locked --manifest-path ci/mutants/Cargo.toml -- -D warnings
  ci/mutants.sh all core proof start
}

windows() {
  ci/cross/wine-test.sh -p running-process -p running-process-cli -p running-process-resp-cache \
    --features running-process/tokio --lib --bins --tests
}

# Repeats the crowds of clients that start one daemon together.
crowds() {
  STAMPEDE_ROUNDS=${STAMPEDE_ROUNDS:-50} \
    cargo test --locked -p running-process-acceptance --test service -- --nocapture stampede
}

# Replaces daemons under load, in crowds and by clients of two versions, for longer than the gate does.
replacements() {
  REPLACEMENTS=${REPLACEMENTS:-100} CROWD_ROUNDS=${CROWD_ROUNDS:-10} WAR_SECONDS=${WAR_SECONDS:-60} \
    cargo test --locked -p running-process-acceptance --test service -- --nocapture replace::
}

# Runs all tests in the packages as a registry gets them, and shows that another name can be given to them. Installs and removes the
# Debian package of the command.
packages() {
  ci/package.sh --tests all
  ci/package.sh --name another-name --tests none
  ci/package.sh --name another-name --publish --dry-run --no-verify --allow-dirty
  cargo build --locked -p running-process-cli
  packaging/deb.sh --check "$CARGO_TARGET_DIR/debug/running-process"
}

keep_going=yes
export MODEL_RUNS=${MODEL_RUNS:-10000}
begin "$@"
step core
step everything
step descriptors
step bare ci/bare.sh
step crowds
step replacements
step soak ci/soak.sh "${SOAK_HOURS:-0.5}"
step benchmarks
step model ci/model.sh
step sanitizer ci/sanitize.sh thread
step addresses ci/sanitize.sh address
step careful ci/careful.sh
step walk
step supply ci/supply.sh
step packages
step release ci/release.sh --check
step pages ci/pages.sh
step windows
step beyond ci/beyond.sh
step c ci/c.sh 10000000
step miri ci/miri.sh
step mutants
step fuzz ci/fuzz.sh "${FUZZ_SECONDS:-300}s"
table
[ ${#failed[@]} -eq 0 ]
