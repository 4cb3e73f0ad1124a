#!/usr/bin/env bash
# Runs everything at once against real daemons for a long time: clients of every kind, the legacy wire, probes, hostile peers, handovers,
# stops and kills. Checks each answer, that one daemon serves, and the memory, descriptors and threads of processes that live as long as
# the run. Prints a summary; fails on any violation. Ctrl-C ends it in order.
#   soak.sh HOURS|SECONDSs [options]   such as 1, 0.5 or 30s; --seed N repeats the choices of a run, --rate N sets the load (600 requests
#                                      a second, half a processor); `soak.sh --help` lists all options
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --locked -p running-process-acceptance --bin soak
work=$(mktemp -d) soak=
trap 'rm -rf "$work"' EXIT
# The program ends in order.
trap '[ -z "$soak" ] || kill -TERM "$soak" 2>/dev/null || :' INT TERM
# A copy, so that a build does not replace what the daemons run. Its digests do not stay in the user's cache.
cp "${CARGO_TARGET_DIR:-target}/debug/soak" "$work/soak"
# An arena for each group of threads, and caches in each thread, fill for hours: without them memory that grows is memory of the library.
export MALLOC_ARENA_MAX=1 GLIBC_TUNABLES=glibc.malloc.tcache_count=0
XDG_CACHE_HOME=$work/cache nice -n 5 "$work/soak" "$@" --directory "$work" &
soak=$!
status=0
wait "$soak" || status=$?
# A signal ends the wait, and not the run.
while kill -0 "$soak" 2>/dev/null; do status=0; wait "$soak" || status=$?; done
exit "$status"
