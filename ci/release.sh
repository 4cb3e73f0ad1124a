#!/usr/bin/env bash
# Makes the files of a release in DIRECTORY, which must not exist: the source, the command for this machine as an archive and as a Debian
# package, the packages for a registry, the list of components, and the checksums of them all. Two runs at one commit with one compiler
# make the same bytes. RELEASING.md says what comes before and after.
#   release.sh DIRECTORY
#   release.sh --rehearse DIRECTORY    also without a tag, without a public place and with local changes
#   release.sh --check                 rehearses twice in two places, with two target directories, and compares
source "$(dirname "$0")/begin.sh"
# Who makes the files does not show in their modes.
umask 022

if [ "$*" = --check ]; then
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
[ $# -eq 1 ] && [[ $1 != -* ]] || usage
need cargo dpkg-shlibdeps git python3
directory=$(path "$1")
[ ! -e "$directory" ] || fail "$directory exists"
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
# Each flag is an argument of its own, as paths may have spaces.
CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS:-$(tr -s ' ' '\037' <<<"${RUSTFLAGS:-}" | tr -d '\n')}
for prefix in "$PWD=." "$CARGO_TARGET_DIR=target" "${CARGO_HOME:-$HOME/.cargo}=cargo"; do
  CARGO_ENCODED_RUSTFLAGS+=${CARGO_ENCODED_RUSTFLAGS:+$'\x1f'}--remap-path-prefix=$prefix
done
export CARGO_ENCODED_RUSTFLAGS
export CARGO_PROFILE_RELEASE_STRIP=debuginfo CARGO_PROFILE_RELEASE_DEBUG=0
host=$(rustc -vV | sed -n 's/^host: //p')
# The directory appears when all of its files are made.
mkdir -p "$(dirname "$directory")"
out=$(mktemp -d "$directory.XXXXXX") scratch=$(mktemp -d)
trap 'rm -rf "$out" "$scratch"' EXIT
chmod 755 "$out"

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
mv --no-target-directory "$out" "$directory"
echo "$directory:"; cat "$directory/SHA256SUMS"
