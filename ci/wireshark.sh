#!/usr/bin/env bash
# Compares what tshark shows of a recorded session, dissected by wireshark/running_process.lua, with wireshark/session.txt.
#   RECORD=1 wireshark.sh    writes session.txt
set -euo pipefail
cd "$(dirname "$0")/../wireshark"
if ! command -v tshark >/dev/null; then
  echo "skipped: tshark is not installed"
  exit
fi
shown=$(mktemp)
trap 'rm -f "$shown" "$shown.errors"' EXIT
# The layout of the text changes between versions.
version=$(tshark --version 2>/dev/null | sed -nE '1s/^[^0-9]*([0-9]+\.[0-9]+).*/tshark \1/p')
# Names and values of all fields, in UTC. tshark says what is wrong with a script on standard error, and goes on.
{
  echo "$version"
  TZ=UTC tshark -X lua_script:running_process.lua -r session.pcap -o tcp.check_checksum:FALSE -t e
  TZ=UTC tshark -X lua_script:running_process.lua -r session.pcap -Y rp -O rp
} > "$shown" 2> "$shown.errors"
grep -v 'Running as user' "$shown.errors" && exit 1
grep -q 'Lua Error' "$shown" && { grep -m1 -B5 'Lua Error' "$shown"; exit 1; }
if [ -n "${RECORD:-}" ]; then
  cp "$shown" session.txt
  echo "recorded $(wc -l < session.txt) lines"
  exit
fi
if [ "$(head -1 session.txt)" != "$version" ]; then
  echo "NOT COMPARED: this is $version, the record is of $(head -1 session.txt); the dissector ran without an error"
  exit
fi
diff -u session.txt "$shown"
echo "$version: $(wc -l < session.txt) lines as recorded"
