# Steps of .ci/run and ci/nightly.sh, with a table of the time that each took. To be sourced after ci/begin.sh.
# Everything is built once and thrown away: without debug information and incremental builds that takes less time.
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
# One folder for the packages outside the workspace too: a dependency in the same version and features is built once.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
times=() failed=() keep_going=

# begin [STEP...]: names the steps to run; all if there are none. Ends the script if it has no such step, which would pass unnoticed.
begin() {
  local name steps
  steps=$(sed -nE 's/^step ([^ ]+).*/\1/p' "$script")
  for name in "$@"; do
    [[ $name != -* ]] || usage
    grep -qxF -e "$name" <<<"$steps" || fail "there is no step $name, but:" $steps
  done
  wanted=("$@")
  trap table EXIT
}

# step NAME [COMMAND...]: runs the command, or the function of that name. A failure ends the script, unless keep_going is set.
step() {
  local name=$1; shift
  if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
  printf '\n== %s\n' "$name"
  local start=$SECONDS cpu status=0 note=
  cpu=$(cpu_seconds)
  # Not in a condition, where a function would go on after an error.
  set +e
  (set -e; "${@:-$name}")
  status=$?
  set -e
  if [ $status -ne 0 ]; then failed+=("$name"); note=' FAILED'; fi
  times+=("$(printf '%-14s %6d %6d%s' "$name" $((SECONDS - start)) $(($(cpu_seconds) - cpu)) "$note")")
  [ $status -eq 0 ] || [ -n "$keep_going" ] || exit $status
}

# Prints the processor time of this shell's children that have ended, in seconds.
cpu_seconds() {
  awk '{ sub(/^.*\) /, ""); print int(($14 + $15) / 100) }' /proc/$$/stat
}

# Prints the seconds of each step so far: by the clock, and of the processors.
table() {
  trap - EXIT
  printf '\n%-14s %6s %6s\n' step clock cpu
  [ ${#times[@]} -eq 0 ] || printf '%s\n' "${times[@]}"
  printf '%-14s %6d %6d\n' together $SECONDS "$(cpu_seconds)"
}
