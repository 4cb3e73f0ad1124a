#!/usr/bin/env bash
# Runs the library's tests under ThreadSanitizer, with a standard library that is built for it.
#   sanitize.sh [cargo test arguments; after -- test names and options]
# Without arguments it runs the tests that use several threads: the unit tests, and both servers and all clients over sockets.
# Caches the source of the standard library in ${CROSS_DIR:-$HOME/.cache/cross}, and has a target directory of its own.
#
# Tests that cannot run under it are skipped by name below. False reports are in tsan.supp.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); cd "$here/.."
skip=(
  # Measure a process, to which the sanitizer adds memory and a thread of its own.
  memory:: idle::
  # Send signals, whose handler the sanitizer defers until a thread calls a function that it intercepts.
  signals::
  # Start processes that share memory, by clone(2), which the sanitizer replaces by a function that cannot.
  tests::spawn
  # Limits the memory of its process, of which the sanitizer reserves terabytes.
  a_huge_file_is_refused_in_little_memory
  # Each round is tens of thousands of requests, which take longer here than the drain timeout of the server.
  under_load_every_request_that_was_received_is_answered
  # Depend on handlers that take microseconds.
  quick_requests_of_a_lone_connection_are_served_by_the_thread_that_reads
  in_a_runtime_of_one_thread_only_a_handler_that_waits_has_a_task_of_its_own
)
printf 'skipped, as said in %s: %s\n' "$0" "${skip[*]}"

library=$("$here/cross/rust-src.sh" "$(realpath -m "${CROSS_DIR:-$HOME/.cache/cross}")/src")
target=$(rustc -vV | sed -n 's/^host: //p')
# A stable compiler has the sanitizer only with RUSTC_BOOTSTRAP.
export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=$library
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=thread" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/tsan"
# Reports need lines; the backtraces of panics that tests expect would take seconds each.
export CARGO_PROFILE_DEV_DEBUG=line-tables-only RUST_BACKTRACE=0
# A server that a test stops without waiting for it may end with the process.
export TSAN_OPTIONS="suppressions=$here/tsan.supp report_thread_leaks=0 ${TSAN_OPTIONS:-}"
cargo_arguments=(); while [ $# -gt 0 ] && [ "$1" != -- ]; do cargo_arguments+=("$1"); shift; done
[ $# -eq 0 ] || shift
[ ${#cargo_arguments[@]} -gt 0 ] || cargo_arguments=(--lib --test host --test observed)
cargo test --locked -p running-process --features tokio,tracing,metrics -Zbuild-std --target "$target" \
  "${cargo_arguments[@]}" -- "${skip[@]/#/--skip=}" "$@"
