#!/usr/bin/env bash
# Writes the components of the library and of the command as CycloneDX files to DIRECTORY. The Python packages for that are kept in
# ${SBOM_DIR:-$HOME/.cache/sbom}.
#   sbom.sh DIRECTORY
source "$(dirname "$0")/begin.sh"
[ $# -eq 1 ] && [[ $1 != -* ]] || usage
need cargo git python3
out=$(path "$1"); mkdir -p "$out"
tools=${SBOM_DIR:-$HOME/.cache/sbom}
# An installation that was interrupted is made again.
if ! "$tools/bin/python" -c 'import cyclonedx.validation.json' 2>/dev/null; then
  python3 -m venv "$tools"
  "$tools/bin/pip" -q --disable-pip-version-check install --force-reinstall 'cyclonedx-python-lib[json-validation]==11.*'
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}; export SOURCE_DATE_EPOCH
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
for package in running-process running-process-cli; do
  "$tools/bin/python" ci/sbom.py "$package" "$out/$package-$version.cdx.json"
done
