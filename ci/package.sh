#!/usr/bin/env bash
# Makes the tarballs that a registry gets, builds each package from its tarball alone, and runs tests in the unpacked tarballs.
#   package.sh [--name NAME] [--tests all|some|none] [DIRECTORY]
#   package.sh [--name NAME] --publish [OPTION...]     runs `cargo publish` for all packages, with its options, such as --dry-run
# The tarballs go to DIRECTORY if it is given. NAME replaces the name in [workspace.metadata.release] of Cargo.toml. Under another name than
# running-process, packages are made from a copy of the repository in which only manifests differ. By default some tests run: those that
# read files of the package, and the examples in its documentation; the gate runs all of them in the repository.
source "$(dirname "$0")/begin.sh"
name='' tests=some directory='' publish=()
while [ $# -gt 0 ]; do
  case $1 in
    --name) name=${2:-}; [[ $name =~ ^[a-zA-Z][a-zA-Z0-9_-]*$ ]] || usage; shift 2 ;;
    --tests) tests=${2:-}; [[ $tests =~ ^(all|some|none)$ ]] || usage; shift 2 ;;
    --publish) publish=(publish "${@:2}"); set -- ;;
    -*) usage ;;
    *) [ -z "$directory" ] || usage; directory=$(path "$1"); shift ;;
  esac
done
need cargo git python3

# field EXPRESSION: prints what a Python expression makes of the workspace's metadata `m`, one item a line.
field() {
  cargo metadata --locked --no-deps --format-version 1 | python3 -c "import json, sys; m = json.load(sys.stdin); print(*$1, sep='\n')"
}

[ ${#publish[@]} -eq 0 ] || [[ " ${publish[*]} " == *" --allow-dirty "* ]] || [ -z "$(git status --porcelain)" ] || fail "there are local changes"
name=${name:-$(field "[m['metadata']['release']['name']]")}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

if [ "$name" != running-process ]; then
  git ls-files -z | tar --null --create --files-from=- | tar --extract --directory="$scratch" --one-top-level=renamed
  cd "$scratch/renamed"
  # The names of packages and of what they depend on; the command's own name is a later one in its manifest.
  sed -i -e "0,/^name = \"running-process/s//name = \"$name/" -e "s/package = \"running-process/package = \"$name/" \
    -e "s/^running-process = { path/running-process = { package = \"$name\", path/" crates/*/Cargo.toml
  sed -i "s/package = \"running-process/package = \"$name/" Cargo.toml
  cargo metadata --offline --format-version 1 >/dev/null
fi

# Cargo wants the packages that are not published named, and finds the order of the others.
mapfile -t private < <(field "[p['name'] for p in m['packages'] if p['publish'] == []]")
mapfile -t public < <(field "[p['name'] for p in m['packages'] if p['publish'] is None]")
version=$(field "[p['version'] for p in m['packages'] if p['name'] == '$name']")
echo "packages of version $version: ${public[*]}"
if [ ${#publish[@]} -gt 0 ]; then
  cargo "${publish[@]}" --locked --workspace "${private[@]/#/--exclude=}"
  exit
fi
# A copy is no repository, and in the gate files may have changed.
cargo package --quiet --locked --allow-dirty --workspace "${private[@]/#/--exclude=}"

patches=()
for package in "${public[@]}"; do
  tarball=$CARGO_TARGET_DIR/package/$package-$version.crate
  tar --extract --file="$tarball" --directory="$scratch"
  unpacked=$scratch/$package-$version
  for file in README.md LICENSE-MIT LICENSE-APACHE; do
    [ -f "$unpacked/$file" ] || fail "$tarball has no $file"
  done
  patches+=(--config "patch.crates-io.$package.path=\"$unpacked\"")
  if [ -n "$directory" ]; then mkdir -p "$directory"; cp "$tarball" "$directory"; fi
done
[ "$tests" != none ] || exit 0

# The packages depend on each other in a version that no registry has: each gets the unpacked ones in their place.
for package in "${public[@]}"; do
  echo "== tests of $package, from its tarball"
  cd "$scratch/$package-$version"
  arguments=()
  case $tests:${package#"$name"} in
    some:) arguments=(--test core --test server_session) ;;
    some:-cli) arguments=(--bins) ;;
  esac
  cargo test --quiet "${patches[@]}" "${arguments[@]}"
  [ "$tests:$package" != "some:$name" ] || cargo test --quiet "${patches[@]}" --doc
done
