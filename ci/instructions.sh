#!/usr/bin/env bash
# Counts the instructions of single operations with valgrind's callgrind, and compares them with those on record. The
# numbers are those of one compiler and one C library; with others they are shown and not compared.
#   instructions.sh [--record]
source "$(dirname "$0")/begin.sh"
[[ $# -eq 0 || $* = --record ]] || usage
cd ci/instructions
record=counts.txt
# The most that a count may be above the recorded one, in percent.
tolerance=2
# Two counts of operations: their difference leaves out the setup, which is the same for both.
few=100 many=200

compiler="rustc $(rustc -vV | sed -n 's/^release: //p') $(rustc -vV | sed -n 's/^host: //p')"
# It has malloc and memcpy, which are counted along.
libc=$(getconf GNU_LIBC_VERSION)
made_by="$compiler, $libc"
cargo build --locked --release --quiet
program=${CARGO_TARGET_DIR:-target}/release/running-process-instructions

# total OPERATION COUNT: prints the instructions of one process.
total() {
  local said
  said=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$@" 2>&1) || { echo "$said" >&2; return 1; }
  sed -nE 's/^==[0-9]+== Collected : ([0-9]+).*/\1/p' <<<"$said"
}

counts() {
  local operation first second
  for operation in $("$program"); do
    first=$(total "$operation" $few); second=$(total "$operation" $many)
    echo "$operation $(((second - first) / (many - few)))"
  done
}

if [ "${1:-}" = --record ]; then
  { echo "$made_by"; counts; } > "$record.new"
  mv "$record.new" "$record"
  cat "$record"
  exit
fi
if [ "$(head -1 "$record")" != "$made_by" ]; then
  counts | awk '{ printf "%-28s %10d\n", $1, $2 }'
  echo "NOT COMPARED: this is $made_by, the record is of $(head -1 "$record")"
  exit
fi
counts | awk -v tolerance=$tolerance '
  NR == FNR { recorded[$1] = $2; next }
  FNR == 1 { printf "%-28s %10s %10s\n", "instructions of", "recorded", "now" }
  !($1 in recorded) { printf "%-28s %10s %10d  not recorded\n", $1, "-", $2; worse = 1; next }
  {
    change = recorded[$1] ? 100 * ($2 - recorded[$1]) / recorded[$1] : 0
    note = change > tolerance ? "  MORE" : change < -tolerance ? "  less: record it with ci/instructions.sh --record" : ""
    printf "%-28s %10d %10d %+6.1f %%%s\n", $1, recorded[$1], $2, change, note
    if (change > tolerance) worse = 1
  }
  END {
    if (worse) print "an operation takes more instructions than recorded: find out why, or record that it has to"
    exit worse
  }' "$record" -
