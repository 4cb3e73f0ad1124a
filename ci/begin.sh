# The beginning of a script that may be called in any directory and may get wrong arguments. To be sourced. The script goes on in the
# repository's folder.
set -euo pipefail
script=$(realpath "$0") called_in=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# usage: prints the lines of the script's head that say how to call it, and ends it.
usage() {
  awk 'NR > 1 && !/^#/ { exit } sub(/^#   /, "") { print (lines++ ? "       " : "usage: ") $0 }' "$script" >&2
  exit 2
}

# fail TEXT: ends the script with an error.
fail() { echo "$(basename "$script"): $*" >&2; exit 1; }

# path FILE: prints the path of a file that is named relative to the directory in which the script was called.
path() { (cd "$called_in" && realpath -m -- "$1"); }

# need PROGRAM...: ends the script if one of the programs is missing.
need() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || fail "the program $program is missing"
  done
}
