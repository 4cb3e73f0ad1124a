#!/bin/sh
# Builds the peer program from each published version and from this repository, installs daemons from the field, and lets
# them talk to each other.
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

# Installs the wheels into an environment of their own; other versions get another one.
install_field() {
    environment="$CARGO_TARGET_DIR/field-$(cksum < field/requirements.txt | cut -d ' ' -f 1)"
    if [ ! -e "$environment/installed" ]; then
        rm -rf "$environment"
        python3 -m venv "$environment" || return
        "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
            -r field/requirements.txt || return
        touch "$environment/installed"
    fi
}
echo "== installing daemons from the field:" $(grep -v '^#' field/requirements.txt)
if install_field; then
    export INTEROP_FIELD="$environment/bin"
else
    echo "skipped: python3 with venv and pip could not install them (no network, or no wheel for this system)"
fi

echo "== testing the library of this repository against them"
cd ours && exec cargo test "$@"
