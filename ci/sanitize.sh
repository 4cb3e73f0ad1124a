#!/usr/bin/env bash
# Runs the library's tests under a sanitizer.
#   sanitize.sh thread|address [cargo test arguments; after -- test names and options]
# `thread` is ThreadSanitizer, with a standard library that is built for it: its source is cached in ${CROSS_DIR:-$HOME/.cache/cross}.
# `address` is AddressSanitizer, and LeakSanitizer at the end of each process.
# Without arguments it runs the unit tests, and both servers and all clients over sockets.
# Each sanitizer has a target directory of its own.
#
# Tests that cannot run under one are skipped by name below. False reports of ThreadSanitizer are in tsan.supp, and what is leaked on
# purpose is in lsan.supp.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); cd "$here/.."
sanitizer=${1:?usage: sanitize.sh thread|address [cargo test arguments]}; shift
skip=(
  # Measure a process, to which a sanitizer adds memory and a thread of its own.
  memory:: idle::
  # Limits the memory of its process, of which a sanitizer reserves terabytes.
  a_huge_file_is_refused_in_little_memory
  # Each round is tens of thousands of requests, which take longer here than the drain timeout of the server.
  under_load_every_request_that_was_received_is_answered
  # Depend on handlers that take microseconds.
  quick_requests_of_a_lone_connection_are_served_by_the_thread_that_reads
  in_a_runtime_of_one_thread_only_a_handler_that_waits_has_a_task_of_its_own
)
# A stable compiler has sanitizers only with RUSTC_BOOTSTRAP.
export RUSTC_BOOTSTRAP=1
cargo_options=()
case $sanitizer in
  thread)
    skip+=(
      # Send signals, whose handler the sanitizer defers until a thread calls a function that it intercepts.
      signals::
      # Start processes that share memory, by clone(2), which the sanitizer replaces by a function that cannot.
      tests::spawn a_silent_daemon_is_ended_unless_it_serves
    )
    __CARGO_TESTS_ONLY_SRC_ROOT=$("$here/cross/rust-src.sh" "$(realpath -m "${CROSS_DIR:-$HOME/.cache/cross}")/src")
    export __CARGO_TESTS_ONLY_SRC_ROOT
    cargo_options=(-Zbuild-std)
    # A server that a test stops without waiting for it may end with the process.
    export TSAN_OPTIONS="suppressions=$here/tsan.supp report_thread_leaks=0 ${TSAN_OPTIONS:-}"
    directory=tsan
    ;;
  address)
    export LSAN_OPTIONS="suppressions=$here/lsan.supp print_suppressions=0 ${LSAN_OPTIONS:-}"
    directory=asan
    ;;
  *) echo "sanitize.sh: $sanitizer is neither thread nor address" >&2; exit 2 ;;
esac
printf 'skipped, as said in %s: %s\n' "$0" "${skip[*]}"

target=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=$sanitizer" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/$directory"
# Reports need lines; the backtraces of panics that tests expect would take seconds each.
export CARGO_PROFILE_DEV_DEBUG=line-tables-only RUST_BACKTRACE=0
cargo_arguments=(); while [ $# -gt 0 ] && [ "$1" != -- ]; do cargo_arguments+=("$1"); shift; done
[ $# -eq 0 ] || shift
[ ${#cargo_arguments[@]} -gt 0 ] || cargo_arguments=(--lib --test host --test observed)
cargo test --locked -p running-process --features tokio,tracing,metrics "${cargo_options[@]}" --target "$target" \
  "${cargo_arguments[@]}" -- "${skip[@]/#/--skip=}" "$@"
