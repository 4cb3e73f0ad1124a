#!/usr/bin/env bash
# Prints the folder with the source of the standard library that matches the installed rustc.
#   rust-src.sh DIR
# It is rustc's own (component rust-src) or is unpacked into DIR from Debian's package rust-src, by way of the mirror
# that apt is configured with; no system file is touched.
set -euo pipefail
dir=$(realpath -m "${1:?usage: rust-src.sh DIR}")
version=$(rustc -V | cut -d' ' -f2)
for library in "$(rustc --print sysroot)/lib/rustlib/src/rust/library" "$dir/unpacked/usr/src/rustc-$version/library"; do
  if [ -d "$library" ]; then echo "$library"; exit; fi
done

mkdir -p "$dir"/{lists/partial,cache/archives/partial,packages,unpacked}
mirror=$(grep -hoE '^URIs: *[^ ]+/debian/?$' /etc/apt/sources.list.d/*.sources | head -1 | sed 's/^URIs: *//')
[ -n "$mirror" ] || { echo "rust-src.sh: no Debian mirror; install the component rust-src" >&2; exit 1; }
printf 'Types: deb\nURIs: %s\nSuites: trixie-backports\nComponents: main\nSigned-By: %s\n' \
  "$mirror" /usr/share/keyrings/debian-archive-keyring.gpg > "$dir/backports.sources"
options=(-qq -o "Dir::Etc::sourcelist=$dir/backports.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$dir/lists"
  -o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update
package=$(apt-cache "${options[@]}" madison rust-src | awk -v v="$version+" 'index($3, v) == 1 { print $3; exit }')
[ -n "$package" ] || { echo "rust-src.sh: trixie-backports has no rust-src $version" >&2; exit 1; }
(cd "$dir/packages" && apt-get "${options[@]}" download "rust-src=$package")
dpkg-deb --fsys-tarfile "$dir"/packages/rust-src_*.deb \
  | tar -x -C "$dir/unpacked" --wildcards './usr/src/rustc-*/library*'
echo "$library"
