#!/usr/bin/env bash
# Prints the path of a Cargo tool in the version that is pinned here. Compiles it first if it is missing: minutes, once, so it is nothing
# for the gate. The tools are kept in ${CARGO_TOOLS:-$HOME/.cache/cargo-tools}.
#   cargo-tool.sh NAME
#   cargo-tool.sh NAME --installed    fails if it is missing
set -euo pipefail
declare -A versions=([cargo-careful]=0.4.10 [cargo-deny]=0.20.2 [cargo-mutants]=27.1.0 [cargo-semver-checks]=0.51.0)
name=${1:?usage: cargo-tool.sh NAME}
version=${versions[$name]:?no version of it is pinned}
root=${CARGO_TOOLS:-$HOME/.cache/cargo-tools}/$name-$version
if [ ! -x "$root/bin/$name" ]; then
  [ "${2:-}" != --installed ] || exit 1
  # Neither the flags nor the folder of this repository's build are the tool's.
  env -u RUSTFLAGS -u CARGO_TARGET_DIR cargo install --quiet --locked --root "$root" "$name@$version" >&2
fi
echo "$root/bin/$name"
