#!/usr/bin/env bash
# Makes the Debian package of the command from a built binary: the same bytes from the same files. Prints its path.
#   deb.sh BINARY DIRECTORY     SOURCE_DATE_EPOCH is the time of its files, by default that of the last commit
#   deb.sh --check BINARY       also installs and removes it in a root of its own, and looks at both (needs root)
source "$(dirname "$0")/../ci/begin.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
check=''
if [ "${1:-}" = --check ]; then check=yes; shift; set -- "$@" "$scratch/out"; fi
[ $# -eq 2 ] && [[ $1 != -* ]] || usage
[ -z "$check" ] || [ "$(id -u)" = 0 ] || fail "--check needs root"
need dpkg-deb dpkg-shlibdeps git strip ${check:+systemd-analyze}
binary=$(path "$1") out=$(path "$2")
[ -x "$binary" ] && [ -f "$binary" ] || fail "$1 is no program"
version=$("$binary" --version); version=${version##* }
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}; export SOURCE_DATE_EPOCH
architecture=$(dpkg --print-architecture)
umask 022

tree=$scratch/tree
packaging/install.sh "$binary" "$tree"
strip --strip-unneeded "$tree/usr/bin/running-process"
# Debian names the licences in one file and has compressed manual pages.
rm "$tree"/usr/share/doc/running-process/LICENSE-*
install -m 0644 packaging/copyright "$tree/usr/share/doc/running-process/copyright"
mv "$tree/usr/share/doc/running-process/CHANGELOG.md" "$tree/usr/share/doc/running-process/changelog"
gzip --no-name --best "$tree"/usr/share/man/man1/* "$tree/usr/share/doc/running-process/changelog"

# The libraries that the binary needs, with the least versions that have its symbols.
mkdir -p "$scratch/source/debian" "$tree/DEBIAN"
echo 'Source: running-process' > "$scratch/source/debian/control"
depends=$(cd "$scratch/source" && dpkg-shlibdeps -O "$tree/usr/bin/running-process" 2>/dev/null)
# One field of the manifest is the address of all packages; empty until there is one.
homepage=$(sed -n 's/^repository = "\(.*\)"$/\1/p' Cargo.toml)
cat > "$tree/DEBIAN/control" <<CONTROL
Package: running-process
Version: $version
Architecture: $architecture
Maintainer: the running-process contributors
Section: utils
Priority: optional
Depends: ${depends#shlibs:Depends=}
Installed-Size: $(du --apparent-size -sk "$tree/usr" | cut -f1)${homepage:+
Homepage: $homepage}
Description: shows, starts and explains local daemons
 Shows which daemons of this user run, proves by the kernel that the process
 at a socket is the one in its identity file, starts and stops the daemon of
 a service exactly once, sends requests to it, and explains what is wrong.
CONTROL
(cd "$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums)
mkdir -p "$out"
package=$out/running-process_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
echo "$package"
[ -n "$check" ] || exit 0

# A root of its own with what the package may rely on: this system's C library and the entries that dpkg has of it. Nothing else is
# there, so an undeclared library or program is missed. dpkg checks the versions.
root=$scratch/root
mkdir -p "$root"/{tmp,proc} "$root"/var/lib/dpkg/{info,updates,triggers}
entry='Package: ${Package}\nStatus: install ok installed\nMaintainer: none\nArchitecture: ${Architecture}\nVersion: ${Version}\nProvides: ${Provides}\nDescription: of this machine\n\n'
mapfile -t needed < <(sed -nE 's/^Depends: //p' "$tree/DEBIAN/control" | tr ',' '\n' | sed -E 's/ *([^ ]+).*/\1/')
for name in "${needed[@]}"; do
  dpkg-query -W -f "$entry" "$name" >> "$root/var/lib/dpkg/status"
  dpkg-query -L "$name" > "$root/var/lib/dpkg/info/$name.list"
  dpkg-query -L "$name" | while read -r file; do
    case $file in
      */ld-linux*|*/lib*.so*) mkdir -p "$root$(dirname "$file")"; cp -a "$file" "$root$file" ;;
    esac
  done
done
for link in lib lib64; do [ ! -L "/$link" ] || { mkdir -p "$root/usr/$link"; [ -e "$root/$link" ] || ln -s "usr/$link" "$root/$link"; }; done
files() { (cd "$root" && find . -path ./var/lib/dpkg -prune -o -print | LC_ALL=C sort); }
files > "$scratch/before"

dpkg --root="$root" --log="$scratch/dpkg.log" --install "$package" >/dev/null
installed=$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Status} ${Version}' running-process)
[ "$installed" = "install ok installed $version" ] || { echo "after the installation: $installed"; exit 1; }
[ "$(chroot "$root" /usr/bin/running-process --version)" = "running-process $version" ]
printf 'not a frame' | chroot "$root" /usr/bin/running-process decode >/dev/null 2>&1 || [ $? -eq 1 ]
dpkg --root="$root" --verify running-process
for file in bash-completion/completions/running-process zsh/vendor-completions/_running-process \
    fish/vendor_completions.d/running-process.fish man/man1/running-process.1.gz man/man1/running-process-probe.1.gz; do
  [ -s "$root/usr/share/$file" ] || { echo "not installed: /usr/share/$file"; exit 1; }
done
bash -n "$root/usr/share/bash-completion/completions/running-process"
# systemd looks up the program on this machine.
ln -s "$binary" "$scratch/program"
unit=$scratch/running-process@cache.service
sed "s#/usr/bin/running-process#\"$scratch/program\"#" "$root/usr/lib/systemd/user/running-process@.service" > "$unit"
XDG_RUNTIME_DIR=$scratch systemd-analyze --user --man=no verify "$unit"
installed=$(files | comm -13 "$scratch/before" - | wc -l)

dpkg --root="$root" --log="$scratch/dpkg.log" --purge running-process >/dev/null
files | diff "$scratch/before" - || { echo "left or lost by the removal"; exit 1; }
echo "installed $installed files and directories, ran, and removed all of them; needs: ${needed[*]}"
