#!/usr/bin/env bash
# Builds the C interface and its programs, and runs them under AddressSanitizer and UBSan: hostile input to each function, and the
# example daemon, which our command proves, calls and judges.
#   c.sh [ROUNDS]    of hostile input; 200000 by default. RUNNING_PROCESS is the command to use; without it, it is built.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
directory=$(mktemp -d)
daemon=
cleanup() {
  [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
  rm -rf "$directory"
}
trap cleanup EXIT

[ -n "${RUNNING_PROCESS:-}" ] || cargo build --locked --quiet -p running-process-cli
command=${RUNNING_PROCESS:-$target/debug/running-process}
# A build of its own: the library with its features, and nothing that other members switch on.
cargo build --locked --quiet -p running-process-ffi --features host
library=$target/debug/librunning_process_ffi.a

compile() {
  "${CC:-cc}" -std=c11 -Wall -Wextra -Werror -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -Iinclude \
    "$1" "$library" -o "$2" -lpthread -ldl -lm
}
compile crates/running-process-ffi/tests/hostile.c "$directory/hostile"
compile examples/c/adopt.c "$directory/adopt"

# The header alone: in C without the functions of the feature, and in C++.
echo '#include "running_process.h"' > "$directory/header.c"
"${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only "$directory/header.c"
if command -v "${CXX:-c++}" >/dev/null; then
  printf '%s\n' '#define RP_HOST' '#include "running_process.h"' \
    'int main() { return rp_abi_version() == RP_ABI_VERSION && *rp_status_message(RP_STATUS_OK) == 111 ? 0 : 1; }' > "$directory/header.cpp"
  "${CXX:-c++}" -Wall -Wextra -Wpedantic -Werror -Iinclude "$directory/header.cpp" "$library" -o "$directory/header" -lpthread -ldl -lm
  "$directory/header"
else
  echo "skipped: the header in C++, since there is no C++ compiler"
fi

"$directory/hostile" "${1:-200000}"

socket=$directory/socket identity=$directory/identity.json
# The identity file is the daemon's last step, so whoever waits for it finds a daemon that serves.
"$directory/adopt" "$socket" "$identity" & daemon=$!
until [ -e "$identity" ]; do
  kill -0 "$daemon" 2>/dev/null || { wait "$daemon"; echo "the daemon ended before it served"; exit 1; }
  sleep 0.05
done

# is WHAT EXPECTED FOUND
is() {
  [ "$2" = "$3" ] || { printf 'adopt: %s: expected %q, found %q\n' "$1" "$2" "$3"; exit 1; }
  echo "adopt: $1"
}
# call DEADLINE [PAYLOAD]
call() { "$command" call "$identity" --protocol 0xF0C0 --deadline "$@"; }

"$command" probe "$identity" --deadline 60s > "$directory/proof"
echo "adopt: proven"
is "answers a request" "hello" "$(call 60s 'echo hello')"
is "answers an empty one" "" "$(call 60s 'echo ')"
head -c 16000000 /dev/zero | tr '\0' x > "$directory/large"
{ printf 'echo '; cat "$directory/large"; } | call 60s > "$directory/answer"
cmp "$directory/large" "$directory/answer"
echo "adopt: answers 16 MB"
is "answers the old wire" "SHOUT" "$(echo shout | socat -t 60 - "UNIX-CONNECT:$socket")"
# The client gives up, and its cancel or the end of its connection reaches the daemon.
call 1s 'wait one' 2> "$directory/refusal" && { echo "a request that waits was answered"; exit 1; }
for _ in $(seq 600); do
  state=$(call 60s 'ended one')
  [ "$state" != cancelled ] || break
  sleep 0.05
done
is "its cancel arrives" cancelled "$state"
status=0; call 60s 'fail on purpose' 2> "$directory/refusal" || status=$?
is "a failed request is refused" 1 "$status"
grep -q 'on purpose' "$directory/refusal"

status=0
"$command" conform --socket "$socket" --identity "$identity" --protocol 0xF0C0 --timeout 60s > "$directory/judged" || status=$?
[ $status -eq 0 ] || cat "$directory/judged"
is "$(tail -1 "$directory/judged")" 0 $status

kill "$daemon"
status=0; wait "$daemon" || status=$?
is "ends when asked to" 0 "$status"
daemon=
[ ! -e "$socket" ] && [ ! -e "$identity" ] || { echo "the daemon left its files"; exit 1; }
echo "adopt: leaves no files"
