#!/usr/bin/env bash
# Type-checks and lints the workspace for macOS, FreeBSD and Windows on any machine with a stable rustc: nothing is
# linked, so no other system's tools are needed. Then checks the library without features, where it is sans-io.
#   check.sh [TARGET...]
# Caches in ${CROSS_DIR:-$HOME/.cache/cross}: about a minute once, then seconds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); cd "$here/../.."
cache=${CROSS_DIR:-$HOME/.cache/cross}
[ $# -gt 0 ] || set -- aarch64-apple-darwin x86_64-unknown-freebsd x86_64-pc-windows-msvc
RUSTFLAGS=$("$here/std.sh" --check "$cache" "$@"); export RUSTFLAGS
# Crates that compile C for the target would need its C compiler even for a check. Apart from zstd that is blake3, which
# has the same code in Rust; real builds, which need that compiler for linking anyway, use the faster one.
export CARGO_FEATURE_PURE=1
# All but zstd, which is C alone.
features=running-process/lz4,running-process/snappy,running-process/tokio
for target in "$@"; do
  echo "== $target"
  cargo clippy --workspace --all-targets --features "$features" --target "$target" -- -D warnings
  cargo clippy -p running-process --no-default-features --target "$target" -- -D warnings
done
