#!/bin/sh
# Builds the peer program from each published version and from this repository, installs daemons from the field and clients of
# other wires, and lets them talk to each other. What cannot be installed is skipped, unless CI is set.
set -eu
cd "$(dirname "$0")"
# One directory for all packages: they share most of their dependencies, and the tests find the peers there.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

export INTEROP_VERSIONS="${INTEROP_VERSIONS:-4.5.7 4.10.21}"
for version in $INTEROP_VERSIONS; do
    echo "== building the peer from the published version $version"
    (cd "peer-$version" && cargo build --locked)
done

if [ -z "${RUNNING_PROCESS:-}" ]; then
    echo "== building the command, which proves daemons and stands before them"
    (cd .. && cargo build --locked -p running-process-cli --target-dir target)
    export RUNNING_PROCESS="$PWD/../target/debug/running-process"
fi

# One environment for all wheels; other versions get another one.
environment="$CARGO_TARGET_DIR/wheels-$(cat field/requirements.txt clients/requirements.txt | cksum | cut -d ' ' -f 1)"
# wheels FOLDER: installs those that the folder requires.
wheels() {
    echo "== installing wheels:" $(grep -v '^#' "$1/requirements.txt")
    [ ! -e "$environment/$1" ] || return 0
    if [ ! -e "$environment/bin/pip" ]; then python3 -m venv "$environment" || return; fi
    "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        -r "$1/requirements.txt" || return
    touch "$environment/$1"
}
if wheels field; then
    export INTEROP_FIELD="$environment/bin"
else
    echo "skipped: python3 with venv and pip could not install them (no network, or no wheel for this system)"
fi
if wheels clients; then
    export INTEROP_CLIENTS="$environment/bin"
else
    echo "skipped: python3 with venv and pip could not install them (no network, or no wheel for this system)"
fi

echo "== testing the library of this repository against them"
cd ours && exec cargo test --locked "$@"
