#!/usr/bin/env bash
# Makes the library's documentation as the builder of the public registry does: by a table of its manifest, for each target, on a
# machine that compiles C for itself only, with an unstable feature of rustdoc. Checks that items have the badges of their features.
#   pages.sh [TARGET...]    by default all targets of the table
# Caches in ${CROSS_DIR:-$HOME/.cache/cross}, as ci/cross/check.sh.
source "$(dirname "$0")/begin.sh"
[[ ${1:-} != -* ]] || usage
need cargo python3
target_directory=${CARGO_TARGET_DIR:-$PWD/target}

# table EXPRESSION: prints what a Python expression makes of the table `t`, one item a line.
table() {
  python3 -c "import tomllib; t = tomllib.load(open('crates/running-process/Cargo.toml', 'rb'))['package']['metadata']['docs']['rs']; print(*$1, sep='\n')"
}
[ $# -gt 0 ] || mapfile -t targets < <(table "t['targets']")
[ $# -eq 0 ] || targets=("$@")
[ ${#targets[@]} -gt 0 ] || fail "the table has no targets"
features=$(table "[','.join(t['features'])]")
mapfile -t arguments < <(table "t['cargo-args']")
export DOCS_RS=1 RUSTC_BOOTSTRAP=1
for target in "${targets[@]}"; do
  echo "== $target"
  flags=$(ci/cross/std.sh --check "${CROSS_DIR:-$HOME/.cache/cross}" "$target")
  RUSTFLAGS=$flags RUSTDOCFLAGS="$flags --cfg docsrs -D warnings" CARGO_TARGET_DIR=$target_directory/pages \
    cargo doc --locked --package running-process --lib --no-deps --features "$features" --target "$target" "${arguments[@]}"
  page=$target_directory/pages/$target/doc/running_process/broker/backend_sdk/struct.AsyncServer.html
  grep -q 'Available on .*<strong>crate feature <code>tokio</code></strong>' "$page" || fail "$page has no badge of the feature tokio"
done
