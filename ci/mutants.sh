#!/usr/bin/env bash
# Mutation testing: changes the library in one place at a time, and runs the tests that come by there. A mutant that passes all of them
# survives, which is a failure: a test is missing, or the code does nothing.
#   mutants.sh all [AREA...]    all areas, or those named: core, proof, start, service, drivers
#   mutants.sh changed          files of the core that differ from those of its last full run, by quick tests only: a step of the gate
#   mutants.sh record           as changed, but all of them, and records the files as tested if no mutant survives
#   mutants.sh open             those of the core that survived so far, by quick tests only: after new tests
#   mutants.sh list             the number of mutants of each area
# cargo-mutants lists the mutants. It would build the library once for each; here all are in one build, each behind a switch
# (ci/mutants/src), and cargo-mutants itself tries only those that cannot have one, such as those of constants.
#
# ci/mutants/equivalent.txt lists the mutants that no test can kill, each with its reason. An entry without a mutant is a failure.
# ci/mutants/open.txt lists those that survive until a test is written, and slow.txt those of the core that survive the tests of `changed`
# only. One that survives and is in no list is a failure.
# A mutant may signal any process and write to any path, so tests run in namespaces of processes and of mounts, where they can write to a
# /tmp of their own only. That needs root on Linux. MUTANT_WORKERS is the number of workers, MUTANT_TESTS the most tests that a mutant meets (60),
# the likeliest first, and MUTANT_LIMIT the most mutants of `changed`: it tries one of two, or of three, and so on, if there are more.
source "$(dirname "$0")/begin.sh"
here=$PWD/ci/mutants
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
work=$(realpath -m "${CARGO_TARGET_DIR:-target}")/mutants
tree=$work/tree
export CARGO_TARGET_DIR=$work/build
encodings=running-process/lz4,running-process/snappy,running-process/zstd
features=$encodings,running-process/tokio,running-process/tracing,running-process/metrics
workers=${MUTANT_WORKERS:-$(nproc)}

# Copies the files that git tracks or would. The build stays, which is beside them.
copy() {
  rm -rf "$1"
  mkdir -p "$1"
  git ls-files -z --cached --others --exclude-standard | tar --null --create --files-from=- | tar --extract --directory="$1"
}

# Runs a command in namespaces of its own, in which only $work and empty directories in the places of /tmp and /var/tmp can be written. They are
# on the disk, since tests of remembered digests need a file system that keeps the time of a change.
inside() {
  local empty status=0
  empty=$(mktemp -d "$work/tmp.XXXXXX")
  unshare --mount --pid --fork --kill-child --mount-proc bash -c '
    set -e
    mount --make-rprivate /
    mount --bind "$1" "$1"
    mkdir -m 1777 "$2/tmp" "$2/var"
    mount --bind "$2/var" /var/tmp
    case $1 in /tmp/*)
      mkdir -p "$2$1"
      mount --bind "$1" "$2$1" ;;
    esac
    mount --rbind "$2/tmp" /tmp
    mount -o remount,bind,ro /
    shift 2
    exec "$@"' inside "$work" "$empty" "$@" || status=$?
  rm -rf "$empty"
  return $status
}

# each MODE RESULT [PLAN]: one worker for each part of the work.
each() {
  local index failed=0 started=()
  for index in $(seq 0 $((workers - 1))); do
    inside "$tree/ci/mutants/run.py" "$1" "$work/programs" "$index" "$workers" "$work/$2" "${@:3}" &
    started+=($!)
  done
  for index in "${started[@]}"; do wait "$index" || failed=1; done
  return $failed
}

# Lists the mutants of the areas that are not equivalent, and the digests of the core's files.
list() {
  copy "$tree"
  "$here/plan.py" digests > "$work/digests"
  (cd "$tree" && "$tool" mutants --list --json -p running-process \
    -e '**/tests.rs' -e '**/generated.rs' -e '**/fuzzing.rs' -e '**/model.rs' -e '**/model/**' -e '**/model_check/**') > "$work/listed"
  "$here/plan.py" select "$work/listed" "$here/equivalent.txt" "$work/list" "$@"
}

# weave FEATURES: compiles all mutants into the copy, and leaves out those that do not compile.
weave() {
  CARGO_TARGET_DIR=$work/tool cargo build --locked --quiet --manifest-path "$here/Cargo.toml"
  (cd "$tree" && "$work/tool/debug/running-process-mutants" "$work/list" "$work/woven" --locked -p running-process --lib "$@")
}

# Builds the tests that the arguments name, runs each alone to see what it comes by, and then each mutant.
run() {
  (cd "$tree" && RUSTFLAGS="${RUSTFLAGS:-} -A warnings" cargo test --locked --quiet --no-run --message-format=json "$@") > "$work/built"
  "$here/plan.py" programs "$work/built" "$work/programs"
  rm -f "$work"/traces.* "$work"/results.*
  each trace traces
  "$here/plan.py" plan "$work/woven" "$work/programs" "$work/traces" "$work/plan" "${MUTANT_TESTS:-60}"
  each mutants results "$work/plan"
}

# rest [AREA...]: lets cargo-mutants try the mutants without a switch. Those of proof and start are known to the library's unit tests.
rest() {
  local config=$work/rest.toml tests=(-C=--lib)
  if [ $# -eq 0 ] || [[ " $* " =~ \ (core|service|drivers)\  ]]; then tests+=(-C=--test=core -C=--test=server_session -C=--test=host); fi
  "$here/plan.py" rest "$work/woven" "$config" || return 0
  copy "$work/plain"
  rm -rf "$work/mutants.out"
  (cd "$work/plain" && CARGO_INCREMENTAL=1 inside "$tool" mutants --in-place --baseline skip --no-times --config "$config" --output "$work" \
    -p running-process --features "$features" --timeout 300 -C=--offline "${tests[@]}") || true
}

# Tries the mutants in the list by the core's own tests. Those in open.txt and slow.txt may survive.
quickly() {
  weave --features "$encodings,running-process/tokio"
  run -p running-process --features "$encodings,running-process/tokio" --lib --test allocations --test core --test server_session
  "$here/plan.py" report "$work" "$here/open.txt" "$here/slow.txt"
}

# Fails if no test can be shut in, and says why.
can_shut_in() {
  local why=
  if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
    why="they need namespaces of their own, which root on Linux can make"
  else
    why=$(inside true 2>&1) && return
  fi
  echo "NOT RUN: mutants can do harm: ${why:-no namespace can be made}"
  return 1
}

mode=${1:-}; [ $# -eq 0 ] || shift
mkdir -p "$work"
case $mode in
  list)
    tool=$(ci/cargo-tool.sh cargo-mutants)
    list
    ;;
  all)
    can_shut_in
    tool=$(ci/cargo-tool.sh cargo-mutants)
    list "$@"
    weave --features "$features"
    run -p running-process -p running-process-acceptance -p running-process-cli --features "$features" --lib --bins --tests
    rest "$@"
    "$here/plan.py" report "$work" "$here/open.txt"
    [ $# -gt 0 ] && [[ " $* " != *" core "* ]] || cp "$work/digests" "$here/tested.txt"
    ;;
  changed)
    "$here/plan.py" digests > "$work/digests"
    if cmp -s "$work/digests" "$here/tested.txt"; then
      echo "no file of the core differs from the tested ones"
      exit 0
    fi
    can_shut_in || exit 0
    tool=$(ci/cargo-tool.sh cargo-mutants)
    list core
    "$here/plan.py" changed "$work/list" "$work/digests" "$here/tested.txt" "${MUTANT_LIMIT:-150}" || exit 0
    quickly
    ;;
  record)
    can_shut_in
    tool=$(ci/cargo-tool.sh cargo-mutants)
    list core
    if "$here/plan.py" changed "$work/list" "$work/digests" "$here/tested.txt" 1000000; then quickly; fi
    cp "$work/digests" "$here/tested.txt"
    ;;
  open)
    can_shut_in
    tool=$(ci/cargo-tool.sh cargo-mutants)
    list core
    "$here/plan.py" open "$work/list" "$here/open.txt" "$here/slow.txt" || exit 0
    quickly
    ;;
  *) usage ;;
esac
