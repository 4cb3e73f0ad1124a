#!/usr/bin/env bash
# Builds for Windows and runs the tests under Wine, whose named pipes and process handles behave as on Windows.
#   wine-test.sh [cargo test arguments; after -- test names and options]
# Needs wine64 and mingw's gcc; installs them from Debian (about 250 MB) if they are missing and this is root.
# Caches in ${CROSS_DIR:-$HOME/.cache/cross}.
#
# Tests of behaviour that Wine 8 does not share with Windows are skipped by name below.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); cd "$here/../.."
cache=$(realpath -m "${CROSS_DIR:-$HOME/.cache/cross}"); mkdir -p "$cache"
target=x86_64-pc-windows-gnu
skip=(
  # Wine does not refuse a second first instance of a pipe.
  a_name_has_one_owner
  an_endpoint_has_one_server
  # Unlocking a file returns a lock violation while other threads lock it.
  asking_for_the_holder_keeps_nobody_from_the_lock
  # A request takes longer here than a handler that counts as quick.
  quick_requests_of_a_lone_connection_are_served_by_the_thread_that_reads
)

wine() { command -v wine64 || { [ -x /usr/lib/wine/wine64 ] && echo /usr/lib/wine/wine64; }; }
if ! command -v x86_64-w64-mingw32-gcc >/dev/null || ! wine >/dev/null; then
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends wine64 gcc-mingw-w64-x86-64-win32 >/dev/null
fi
wine=$(wine)

# The standard library imports ProcessPrng, which Wine 8 lacks.
if [ ! -e "$cache/bcryptprimitives.dll" ]; then
  cat > "$cache/bcryptprimitives.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T length) {
    return SystemFunction036(bytes, (ULONG)length);
}
C
  x86_64-w64-mingw32-gcc -O1 -shared -o "$cache/bcryptprimitives.dll" "$cache/bcryptprimitives.c" -ladvapi32
fi
cat > "$cache/run-exe" <<RUN
#!/bin/sh
# The test's folder, and the folder above it with the programs that the test starts.
dir=\$(dirname "\$1")
for dir in "\$dir" "\$dir/.."; do [ -e "\$dir/bcryptprimitives.dll" ] || cp "$cache/bcryptprimitives.dll" "\$dir/"; done
WINEDEBUG=\${WINEDEBUG:--all} exec "$wine" "\$@"
RUN
chmod +x "$cache/run-exe"

# One server for all tests: a server that ends with a test's last process may meet the next test's first process.
server=$(command -v wineserver64 wineserver /usr/lib/wine/wineserver64 | head -1)
mkdir -p "${WINEPREFIX:-$HOME/.wine}" # which the server wants to find
"$server" -p
trap '"$server" -k || true' EXIT

flags=$(env -u RUSTFLAGS "$here/std.sh" "$cache" $target); unset RUSTFLAGS
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER="$cache/run-exe"
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS="$flags" CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTDOCFLAGS="$flags"
cargo_arguments=(); while [ $# -gt 0 ] && [ "$1" != -- ]; do cargo_arguments+=("$1"); shift; done
[ $# -eq 0 ] || shift
cargo test --target $target "${cargo_arguments[@]}" -- "${skip[@]/#/--skip=}" "$@"
