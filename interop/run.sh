#!/bin/sh
# Builds the peer program from each published version and from this repository, and lets them talk to each other.
set -eu
cd "$(dirname "$0")"
# One directory for all packages: they share most of their dependencies, and the tests find the peers there.
export CARGO_TARGET_DIR="$PWD/target"

for version in 4.5.7 4.10.21; do
    echo "== building the peer from the published version $version"
    (cd "peer-$version" && cargo build --locked)
done
echo "== testing the library of this repository against them"
cd ours && exec cargo test "$@"
