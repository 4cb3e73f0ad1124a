#!/usr/bin/env bash
# Checks the text for paths of one machine, history and deferred work, files for their length, and links for their targets.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0

# refuse WHAT PATTERN [PATHSPEC...]: no tracked line matches. The patterns are written so as not to match themselves.
refuse() {
  local what=$1 pattern=$2; shift 2
  local found status=0
  found=$(git grep -InE -e "$pattern" -- "$@" ':!*Cargo.lock' ':!LICENSE-*') || status=$?
  [ $status -le 1 ] || exit $status
  [ -z "$found" ] && return
  printf 'hygiene: %s:\n%s\n' "$what" "$found"
  failed=1
}

refuse "a path of one machine" '(^|[^[:alnum:]_.*~-])/(work|root|home)(/|[^[:alnum:]_/.-]|$)' .
# The table of a manifest has the name of a host.
refuse "a registry's host" '(crates\.io|(^|[^.])docs\.rs|npmjs\.(org|com)|pypi\.org|deb\.debian\.org)' .
refuse "deferred work" '\b(TOD[O]|FIXM[E]|XX[X]|HAC[K])\b' .
refuse "a number of an issue or a phase" '\b([Ii]ssue|[Tt]icket|[Pp]ull request|PR|[Pp]hase) #?[0-9]+' .
refuse "a number of an issue" '//.*#[0-9]{2,}' '*.rs'
refuse "a date in the code" '\b20[0-9]{2}-[01][0-9]-[0-3][0-9]\b' '*.rs'
refuse "history in a comment" '//.*\b([Pp]reviously|[Uu]sed to (be|have|do)|[Ff]ormerly|was renamed)\b' '*.rs'

long=$(git ls-files -z '*.rs' ':!*generated.rs' | xargs -0 wc -l | awk '$2 != "total" && $1 > 500 { print $2 ": " $1 " lines" }')
if [ -n "$long" ]; then
  printf 'hygiene: more than 500 lines:\n%s\n' "$long"
  failed=1
fi
# Every relative link of a document leads to a file.
while IFS=: read -r file link; do
  target=$(dirname "$file")/${link%%#*}
  [ -e "$target" ] && continue
  echo "hygiene: $file links to $link, which is not there"
  failed=1
done < <(git grep -oE '\]\([^)#: ][^): ]*\)' -- '*.md' | sed -E 's/\]\((.*)\)$/\1/')

# A file that a package includes is in its tarball.
while IFS=: read -r file included; do
  target=$(realpath -sm --relative-to=. "$(dirname "$file")/$included")
  [[ $target == "$(cut -d/ -f1,2 <<<"$file")"/* ]] && continue
  echo "hygiene: $file includes $included, which its package has not"
  failed=1
done < <(git grep -oE 'include_(str|bytes)!\("[^"]+' -- 'crates/*.rs' | sed -E 's/include_[a-z]+!\("//')

exit $failed
