#!/usr/bin/env bash
# Builds the Python package in the dev profile and checks it: lints, types, stubs and tests.
#   python.sh [pytest arguments]
# Installs its tools into an environment below the target folder, from the package index. The tests also ask the command
# `running-process`, if RUNNING_PROCESS names it or the target folder has it.
set -euo pipefail
cd "$(dirname "$0")/../python"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../target}
command=$CARGO_TARGET_DIR/debug/running-process
[ -n "${RUNNING_PROCESS:-}" ] || [ ! -x "$command" ] || export RUNNING_PROCESS=$command

# Other versions of the tools, or of Python, get another environment.
environment=$CARGO_TARGET_DIR/python-$( (python3 -VV; cat requirements-test.txt) | cksum | cut -d ' ' -f 1)
if [ ! -e "$environment/installed" ]; then
  rm -rf "$environment"
  python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r requirements-test.txt
  touch "$environment/installed"
fi
PATH=$environment/bin:$PATH
export VIRTUAL_ENV=$environment PYTHONDONTWRITEBYTECODE=1

ruff format --quiet --check .
ruff check --quiet .
# With the whole workspace selected, its dependencies are the builds that the package uses.
cargo build --locked --workspace --bin test_daemon
rm -rf "$environment/wheels"
maturin build --locked --profile dev --quiet --out "$environment/wheels"
pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$environment"/wheels/*.whl
mypy --cache-dir "$environment/mypy" package/running_process_client examples tests bench.py
python3 -m mypy.stubtest --mypy-config-file pyproject.toml --allowlist stubtest-allowlist.txt running_process_client
RUNNING_PROCESS_TEST_DAEMON=$CARGO_TARGET_DIR/debug/test_daemon pytest --quiet -p no:cacheprovider "$@"
