#!/usr/bin/env bash
# Makes the files of a release in DIRECTORY, which must not exist: the source, the command for this machine as an archive and as a Debian
# package, the packages for a registry, the list of components, and the checksums of them all. Two runs at one commit with one compiler
# make the same bytes. RELEASING.md says what comes before and after.
#   release.sh DIRECTORY
#   release.sh --rehearse DIRECTORY    also without a tag, without a public place and with local changes
#   release.sh --check                 rehearses twice in two places, with two target directories, and compares
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "no release: $*" >&2; exit 1; }

if [ "${1:-}" = --check ]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  for run in first second; do
    git clone --quiet --shared . "$scratch/$run-source"
    CARGO_TARGET_DIR=$scratch/$run-target "$scratch/$run-source/ci/release.sh" --rehearse "$scratch/$run"
  done
  diff "$scratch/first/SHA256SUMS" "$scratch/second/SHA256SUMS" || fail "two runs made different files"
  cat "$scratch/first/SHA256SUMS"
  echo "two runs in two places made the same files"
  exit
fi

rehearsal=''
if [ "${1:-}" = --rehearse ]; then rehearsal=yes; shift; fi
[ $# -eq 1 ] || { sed -n 's/^#   /usage: /p' "$0" >&2; exit 2; }
[ ! -e "$1" ] || fail "$1 exists"
mkdir -p "$1"; out=$(realpath "$1")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
if [ -z "$rehearsal" ]; then
  [ -z "$(git status --porcelain)" ] || fail "there are local changes"
  [ "$(git tag --points-at HEAD --list "v$version")" ] || fail "the commit has no tag v$version"
  ! grep -qx 'repository = ""' Cargo.toml || fail "the field repository of Cargo.toml is empty"
  grep -qE "^## \[$version\] - [0-9-]+$" CHANGELOG.md || fail "CHANGELOG.md has no section of $version with a date"
fi

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); export SOURCE_DATE_EPOCH
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} CARGO_INCREMENTAL=0
# No path of this machine is in the binary. The lines of backtraces stay out, too: they are most of its size.
export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=. --remap-path-prefix=$CARGO_TARGET_DIR=target"
RUSTFLAGS+=" --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
export CARGO_PROFILE_RELEASE_STRIP=debuginfo CARGO_PROFILE_RELEASE_DEBUG=0
host=$(rustc -vV | sed -n 's/^host: //p')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# archive NAME DIRECTORY: packs the directory as NAME.tar.gz, in one order, with one time and no owner.
archive() {
  tar --create --directory="$(dirname "$2")" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --mode=go-w --format=ustar "$(basename "$2")" | gzip --no-name --best > "$out/$1.tar.gz"
}

cargo build --locked --release --package running-process-cli
binary=$CARGO_TARGET_DIR/release/running-process
tree=$scratch/running-process-$version-$host
packaging/install.sh "$binary" "$tree" ''
archive "running-process-$version-$host" "$tree"
packaging/deb.sh "$binary" "$out" >/dev/null

source=$scratch/running-process-$version
mkdir "$source"
git archive HEAD | tar --extract --directory="$source"
archive "running-process-$version-source" "$source"

ci/package.sh --tests none "$out"
ci/sbom.sh "$out"
(cd "$out" && LC_ALL=C sha256sum -- * > "$scratch/sums" && mv "$scratch/sums" SHA256SUMS)
echo "$out:"; cat "$out/SHA256SUMS"
