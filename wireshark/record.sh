#!/usr/bin/env bash
# Records session.pcap anew: what strace sees of the daemon in C, of the demo's daemon, and of frames that neither sends. Then run
# `RECORD=1 ci/wireshark.sh`. Needs strace, a C compiler and leave to trace.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); cd "$here/.."
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
target=${CARGO_TARGET_DIR:-target}
[ -n "${RUNNING_PROCESS:-}" ] || cargo build --locked --quiet -p running-process-cli
cargo build --locked --quiet -p running-process-ffi --features host
cc -std=c11 -Iinclude examples/c/adopt.c "$target/debug/librunning_process_ffi.a" -o "$directory/adopt" -lpthread -ldl -lm
# Its path is in the recorded identity.
command=$directory/running-process
cp "${RUNNING_PROCESS:-$target/debug/running-process}" "$command"

# traced NAME COMMAND...: becomes strace, and runs the command under strace.
traced() {
  local name=$1; shift
  exec strace -f -ttt -xx -yy -s 16777221 -e trace=read,recvfrom,recvmsg,readv,write,sendto,sendmsg,writev,exit_group \
    -o "$directory/$name.trace" "$@"
}
# until_there FILE
until_there() { until [ -e "$1" ]; do sleep 0.05; done; }

traced adopt "$directory/adopt" "$directory/adopt.sock" "$directory/adopt.json" & adopt=$!
until_there "$directory/adopt.json"
python3 "$here/session.py" "$directory/adopt.sock"
pkill -TERM -P $adopt
wait $adopt

traced serve "$command" serve --socket "$directory/serve.sock" --identity "$directory/serve.json" > /dev/null & serve=$!
until_there "$directory/serve.json"
"$command" probe "$directory/serve.json" --deadline 60s > /dev/null
"$command" call "$directory/serve.json" --protocol 0xF0CA --deadline 60s PING > /dev/null
"$command" top "$directory/serve.json" --interval 200ms --count 1 --deadline 60s > /dev/null
pkill -TERM -P $serve
wait $serve

(traced rare python3 "$here/session.py" --rare)

# One after the other, as they were recorded.
cat "$directory/"{adopt,serve,rare}.trace > "$directory/all.trace"
python3 "$here/strace2pcap.py" "$directory/all.trace" "$here/session.pcap"
