#!/usr/bin/env bash
# Makes the standard library for each TARGET available, and prints the rustc flags that find it: none if all are
# installed, else --sysroot=DIR/sysroot, built with the installed stable compiler (a minute and 100 MB for each, once).
# With --check it is only what a check needs, metadata without code, in DIR/sysroot-check and in less than half the time.
#   std.sh [--check] DIR TARGET...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sysroot=sysroot build=(build --release) profile=release libraries=rlib
if [ "${1:-}" = --check ]; then sysroot=sysroot-check build=(check) profile=debug libraries=rmeta; shift; fi
dir=$(realpath -m "${1:?usage: std.sh [--check] DIR TARGET...}"); shift
installed() { compgen -G "$(rustc --print target-libdir --target "$1")/libstd-*.rlib" >/dev/null; }
missing=0
for target in "$@"; do installed "$target" || missing=1; done
[ $missing = 1 ] || exit 0

library=$("$here/rust-src.sh" "$dir/src")
seed=$(mktemp -d); trap 'rm -rf "$seed"' EXIT
mkdir "$seed/src"; : > "$seed/src/lib.rs"
printf '[package]\nname = "seed"\nversion = "0.1.0"\nedition = "2024"\n' > "$seed/Cargo.toml"
for target in "$@"; do
  libs=$dir/$sysroot/lib/rustlib/$target/lib
  [ -d "$libs" ] && continue
  (cd "$seed" && env -u RUSTFLAGS RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$library" CARGO_INCREMENTAL=0 \
    CARGO_PROFILE_RELEASE_DEBUG=0 cargo "${build[@]}" -q -Z build-std=std,panic_abort,panic_unwind,proc_macro,test \
    --target "$target" --target-dir "$seed/target" >&2)
  # Complete or absent: an interrupted copy must not look like a library.
  mkdir -p "${libs%/lib}"; rm -rf "$libs.partial"; mkdir "$libs.partial"
  cp "$seed/target/$target/$profile/deps/"*.$libraries "$libs.partial/"; rm -f "$libs.partial/"libseed*
  mv "$libs.partial" "$libs"
done
echo "--sysroot=$dir/$sysroot"
