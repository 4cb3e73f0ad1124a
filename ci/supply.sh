#!/usr/bin/env bash
# Checks the dependencies and the public interface. The first run compiles tools for minutes, so it belongs to the nightly run.
#   supply.sh [CHECK...]     all that need no database, or those named:
#     licences    licences, banned crates and sources of all dependencies, those of the Python package included, by deny.toml
#     semver      the library's public interface against the last tag: the version number says what changed
#     compiler    this is the compiler that the library declares, with which all else is tested, and no dependency declares a newer one
#     minimal     the library builds with the least versions of the direct dependencies that its Cargo.toml allows
#     components  the list of components (CycloneDX)
#     advisories  known vulnerabilities; the database is a repository that has to be fetched, which many machines may not
source "$(dirname "$0")/begin.sh"
[ $# -gt 0 ] || set -- licences semver compiler minimal components
for check in "$@"; do
  [[ $check =~ ^(licences|semver|compiler|minimal|components|advisories)$ ]] || usage
done
need cargo git python3
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

licences() {
  tool=$(ci/cargo-tool.sh cargo-deny)
  "$tool" --locked check --hide-inclusion-graph licenses bans sources
  # The Python package is released too, and has few of the licences.
  "$tool" --locked --manifest-path python/Cargo.toml --config deny.toml check --hide-inclusion-graph --allow license-not-encountered \
    licenses bans sources
}

advisories() {
  "$(ci/cargo-tool.sh cargo-deny)" --locked check advisories
}

# compare DIRECTORY TAG: compares the library in DIRECTORY with the one at the tag.
compare() {
  "$tool" semver-checks --manifest-path "$1/crates/running-process/Cargo.toml" --baseline-rev "$2" --all-features
}

# Also shows that the comparison works, since without a tag nothing is compared: in a copy with a tag, the library is the same, and lacks a
# public method then.
semver() {
  tool=$(ci/cargo-tool.sh cargo-semver-checks)
  local tag copy=$scratch/copy
  tag=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)
  if [ -n "$tag" ]; then compare . "$tag"; else echo "there is no tag yet: nothing is compared"; fi
  git clone --quiet --shared . "$copy"
  git -C "$copy" tag v0.0.0-rehearsal
  compare "$copy" v0.0.0-rehearsal
  sed -i 's/pub fn to_frame(/pub(crate) fn to_frame(/' "$copy/crates/running-process/src/broker/protocol/frame.rs"
  git -C "$copy" diff --quiet && { echo "nothing was removed in the copy"; return 1; }
  if compare "$copy" v0.0.0-rehearsal > "$scratch/found" 2>&1; then echo "a missing method was not noticed"; return 1; fi
  grep -q to_frame "$scratch/found" || { cat "$scratch/found"; return 1; }
  echo "the same library passes, and one without the public method to_frame does not"
}

compiler() {
  cargo tree --locked --package running-process --all-features --edges normal,build --target all --prefix none --format '{p}' |
    sed -E 's/ \(.*//; s/ v/ /' | sort -u > "$scratch/built"
  cargo metadata --locked --format-version 1 --all-features | python3 -c '
import json, sys
packages = {p["name"] + " " + p["version"]: p["rust_version"] or "1.0" for p in json.load(sys.stdin)["packages"]}
order = lambda version: [int(part) for part in version.split(".")[:2]]
built = [line.strip() for line in open(sys.argv[1])]
own = next(packages[name] for name in built if name.startswith("running-process "))
newer = [f"{name} declares {packages[name]}" for name in built if order(packages[name]) > order(own)]
print(f"{len(built)} packages, the library declares {own};", "; ".join(newer) or "none declares more")
sys.exit(bool(newer))
' "$scratch/built"
  local declared
  declared=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  [[ $(rustc --version) == "rustc $declared."* ]] || fail "the declared compiler, $declared, is not tested: this is $(rustc --version)"
}

minimal() {
  local copy=$scratch/minimal
  mkdir "$copy"
  git ls-files -z | tar --null --create --files-from=- | tar --extract --directory="$copy"
  cd "$copy"
  # No user has the bounds of the other members.
  sed -i 's#^members = .*#members = ["crates/running-process"]#; /^default-members/d' Cargo.toml
  RUSTC_BOOTSTRAP=1 cargo generate-lockfile -Z direct-minimal-versions
  CARGO_TARGET_DIR=$CARGO_TARGET_DIR/minimal
  cargo check --locked --package running-process --all-features
  cargo check --locked --package running-process --no-default-features
}

components() {
  ci/sbom.sh "$scratch/components"
}

for check in "$@"; do
  printf '\n-- %s\n' "$check"
  (set -e; "$check")
done
